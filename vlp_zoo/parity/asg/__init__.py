"""Recordings of ASG's released code, replayed."""

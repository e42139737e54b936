"""Recordings of IMITATE's released code, replayed."""

"""Recordings of MRM's released code, replayed."""

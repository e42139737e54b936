"""Recordings of FLAIR's released code, replayed."""

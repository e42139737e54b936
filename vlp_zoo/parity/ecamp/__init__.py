"""Recordings of ECAMP's released code, replayed."""

"""Recordings of M-FLAG's released code, replayed."""

"""Recordings of MedCLIP's released code, replayed."""

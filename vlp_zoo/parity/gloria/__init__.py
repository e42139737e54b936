"""Recordings of GLoRIA's released code, replayed."""

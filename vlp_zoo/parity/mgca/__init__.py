"""Replay of recordings of the official MGCA code."""

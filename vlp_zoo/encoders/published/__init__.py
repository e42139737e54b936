"""Encoders that others published: their files, networks and preprocessing."""

"""Frozen features: extraction on any number of devices, and their cache."""

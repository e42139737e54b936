"""Masks: a decoder on an encoder, and how overlap is judged."""

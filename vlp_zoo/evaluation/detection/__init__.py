"""Boxes of lesions: a detector on an encoder, and how boxes are judged."""

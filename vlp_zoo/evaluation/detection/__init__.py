"""Boxes of lesions: a detector on an encoder, and how boxes are judged."""

from vlp_zoo.evaluation.detection.detection import Detect

__all__ = [
    "Detect",
]

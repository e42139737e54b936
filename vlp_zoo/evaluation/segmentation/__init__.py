"""Masks: a decoder on an encoder, and how overlap is judged."""

from vlp_zoo.evaluation.segmentation.segmentation import OVERLAPS, Segment

__all__ = [
    "OVERLAPS",
    "Segment",
]

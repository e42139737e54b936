"""FLAIR: see `vlp_zoo.methods.flair.flair`."""

from vlp_zoo.methods.flair.flair import FLAIR

__all__ = ["FLAIR"]

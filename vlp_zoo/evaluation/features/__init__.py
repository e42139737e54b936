"""Frozen features: extraction on any number of devices, and their cache."""

from vlp_zoo.evaluation.features.extraction import (
    POOLINGS,
    Extraction,
    fit_image,
    weights_sha256,
)

__all__ = ["POOLINGS", "Extraction", "fit_image", "weights_sha256"]

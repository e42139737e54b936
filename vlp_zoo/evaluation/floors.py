"""Floors: what a number must beat before it says anything about pre-training.

Each floor is a module like an encoder and goes through the same probe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vlp_zoo.encoders.image import EncoderOutput, ImageEncoder

__all__ = ["PCA_WIDTH", "PixelEncoder", "Prevalence", "random_copy"]

PCA_WIDTH = 100
PIXEL_SIDE = 32
Features = npt.NDArray[np.float32]


def random_copy(encoder: ImageEncoder, seed: int = 0) -> ImageEncoder:
    """The same architecture and preprocessing with fresh weights.

    Args:
        encoder: Whose architecture.
        seed: Of the weights; the global generator is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        copy = ImageEncoder.from_spec(encoder.spec)
    return copy.eval().requires_grad_(False)


class PixelEncoder(nn.Module):
    """``pixels-pca``: principal components of the image at 32 x 32 pixels.

    What exposure, size and position alone tell. The components are those of all
    training images of the task, whatever the label fraction; no label is used.
    """

    def __init__(self) -> None:
        super().__init__()
        self.preprocessing: dict[str, Any] = {
            "image_size": PIXEL_SIDE,
            "mean": [0.0],
            "std": [1.0],
            "channels": 1,
            "interpolation": "bicubic",
        }
        self.sha256 = _named(f"pixels-pca {PIXEL_SIDE} {PCA_WIDTH} 1")

    def forward(self, images: Tensor) -> EncoderOutput:
        """(B, 1, 32, 32) to its pixels."""
        # One token, so that every pooling keeps the pixels.
        pixels = images.flatten(1)
        return EncoderOutput(pixels, pixels[:, None], (1, 1), (images,))

    def reduce(self, features: Mapping[str, Features]) -> dict[str, Features]:
        """Project pixels of each split on the leading training components."""
        mean = features["train"].mean(0, dtype=np.float64)
        centred = features["train"] - mean
        # eigh sorts ascending: the last columns vary most. Beyond the rank of the
        # training images a component is rounding, which standardising would blow up.
        strengths, axes = np.linalg.eigh(centred.T @ centred)
        width = min(PCA_WIDTH, int((strengths > 1e-8 * strengths[-1]).sum()))
        axes = axes[:, ::-1][:, : max(1, width)]
        return {
            split: ((values - mean) @ axes).astype(np.float32)
            for split, values in features.items()
        }


class Prevalence(nn.Module):
    """``prevalence``: one constant feature, so that only the intercepts are learnt.

    AUROC is exactly 0.5 and AUPRC the prevalence; Brier shows what calibration to the
    base rate is worth. No image is read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.preprocessing: dict[str, Any] = {}
        self.sha256 = _named("prevalence 1")

    def constant_features(self, studies: int) -> Features:
        """(N, 1) of zeros: what `Extraction` takes instead of a forward pass."""
        return np.zeros((studies, 1), np.float32)


def _named(name: str) -> str:
    return hashlib.sha256(f"vlp-zoo floor {name}".encode()).hexdigest()

"""Baselines: what a number must beat before it says anything about pre-training.

Each is a module like an encoder and goes through the same probe. Stored results know them
by the role ``"floor"``.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, overload

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vlp_zoo.encoders.image import EncoderOutput, ImageEncoder
from vlp_zoo.encoders.published.adapted import AdaptedEncoder
from vlp_zoo.pixels import ACQUISITION, acquisition_features

__all__ = [
    "Acquisition",
    "Baseline",
    "Described",
    "PixelEncoder",
    "Prevalence",
    "random_copy",
]

PIXEL_SIDE = 32
Features = npt.NDArray[np.float32]


@overload
def random_copy(encoder: ImageEncoder, seed: int = 0) -> ImageEncoder: ...
@overload
def random_copy(encoder: nn.Module, seed: int = 0) -> nn.Module | None: ...
def random_copy(encoder: nn.Module, seed: int = 0) -> nn.Module | None:
    """The same architecture and preprocessing with fresh weights.

    Args:
        encoder: Whose architecture.
        seed: Seed of the weights; the global generator is left alone.

    Returns:
        None for a module whose weights nothing here can draw.
    """
    if isinstance(encoder, AdaptedEncoder):
        return encoder.random_copy(seed)
    if not isinstance(encoder, ImageEncoder):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        copy = ImageEncoder.from_spec(encoder.spec)
    return copy.eval().requires_grad_(False)


class Baseline(nn.Module):
    """A stand-in for an encoder that is made and not trained.

    Attributes:
        preprocessing: What an encoder's card says of it.
        sha256: Who it is in stored results.
    """

    def __init__(self, name: str, preprocessing: Mapping[str, Any]) -> None:
        super().__init__()
        self.preprocessing: dict[str, Any] = dict(preprocessing)
        self.sha256 = hashlib.sha256(f"vlp-zoo floor {name}".encode()).hexdigest()


class Described(Baseline):
    """A baseline that is told numbers about images: no network that reads pixels."""

    @abstractmethod
    def describe(self, image: npt.NDArray[np.uint8]) -> Features:
        """What `Extraction` takes of a whole image instead of a forward pass.

        Args:
            image: uint8 (H, W) or (H, W, 3).

        Returns:
            float32 (F,).
        """


class PixelEncoder(Baseline):
    """``pixels``: the image itself at 32 x 32 pixels.

    What exposure, size and position alone tell. Ridge on all pixels was as good as or
    better than principal components of them wherever it was tried, and has no number
    of components to choose; the stronger baseline is the honest one.
    """

    def __init__(self) -> None:
        card = {"image_size": PIXEL_SIDE, "mean": [0.0], "std": [1.0], "channels": 1}
        super().__init__(f"pixels {PIXEL_SIDE} 1", {**card, "interpolation": "bicubic"})

    def forward(self, images: Tensor) -> EncoderOutput:
        """(B, 1, 32, 32) to its pixels."""
        # One token, so that every pooling keeps the pixels.
        pixels = images.flatten(1)
        return EncoderOutput(pixels, pixels[:, None], (1, 1), (images,))


class Prevalence(Described):
    """``prevalence``: one constant feature, so that only the intercepts are learnt.

    AUROC is exactly 0.5 and AUPRC the prevalence; Brier shows what calibration to the
    base rate is worth. No image is read.
    """

    def __init__(self) -> None:
        super().__init__("prevalence 1", {})

    def describe(self, image: npt.NDArray[np.uint8]) -> Features:
        """(1,) of zero, whatever the image."""
        return np.zeros(1, np.float32)


class Acquisition(Described):
    """``acquisition``: size, borders, exposure, sharpness and noise of the image file.

    What can be told from how a picture was made. Where it is high, the classes come
    from different places, and telling places apart passes for telling diseases apart.
    """

    def __init__(self) -> None:
        super().__init__("acquisition 1", {"described": list(ACQUISITION)})

    def describe(self, image: npt.NDArray[np.uint8]) -> Features:
        """What tells how the image was made, float32 (F,)."""
        if image.ndim == 3:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        return acquisition_features(image)

"""Pixels of a batch to the input of an image encoder: size and statistics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["ReadsPixels", "from_pixels"]


def from_pixels(
    images: Tensor, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor
) -> Tensor:
    """Pixels (B, 1 or 3, H, W), uint8 or float in 0..1, normalised; channels stay.

    One channel is normalised by the first mean and deviation: the caller expands it,
    without a copy.

    Example:
        >>> white = torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)
        >>> from_pixels(white, [0.5] * 3, [0.25] * 3).item()
        2.0
    """
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images
    means, stds = (
        torch.as_tensor(
            values[: images.shape[1]], dtype=pixels.dtype, device=pixels.device
        ).view(-1, 1, 1)
        for values in (mean, std)
    )
    return (pixels - means) / stds


class ReadsPixels:
    """What encoders do with the images of a batch before their network sees them."""

    image_size: int
    mean: list[float]
    std: list[float]

    def normalise(self, images: Tensor) -> Tensor:
        """Images (B, 1 or 3, H, W) by the encoder's own statistics: `from_pixels`."""
        return from_pixels(images, self.mean, self.std)

    def prepare(self, images: Tensor) -> Tensor:
        """Images of a batch as input of ``forward``.

        Takes (B, 1 or 3, H, W), uint8 or float in 0..1; gives (B, 3, S, S) float,
        resized with antialiasing where sides differ.
        """
        pixels = images.float() / 255 if images.dtype == torch.uint8 else images
        size = (self.image_size, self.image_size)
        if pixels.shape[-2:] != size:
            pixels = functional.interpolate(
                pixels, size, mode="bicubic", align_corners=False, antialias=True
            ).clamp(0, 1)
        return self.normalise(pixels.expand(-1, 3, -1, -1))

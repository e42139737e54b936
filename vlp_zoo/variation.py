"""Images of a batch varied on the device: mirrored, turned, brighter, with less contrast.

As FLAIR varies its photographs; each image by its own key, whatever batch it is in.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.noise import sample_noise

__all__ = ["Variation", "canvas", "mirror", "turn", "vary"]


def canvas(pixels: Tensor, size: int, stretch: bool = False) -> Tensor:
    """The whole image at the top left of a square, black to its right and below.

    Args:
        pixels: (C, H, W), uint8 or float.
        size: Side S of the square; the image's longer side becomes that long.
        stretch: Fill the square, whatever becomes of the proportions.

    Returns:
        (C, S, S), shrunk with antialiasing.

    Example:
        >>> canvas(torch.ones(1, 4, 8), 4)[0].sum(1)
        tensor([4., 4., 0., 0.])
    """
    height, width = pixels.shape[-2:]
    scale = max(height, width) / size
    inner = [size, size]
    if height != width and not stretch:
        inner = [max(int(height / scale), 1), max(int(width / scale), 1)]
    small = functional.interpolate(pixels[None], inner, mode="bilinear", antialias=True)
    return functional.pad(small[0], (0, size - inner[1], 0, size - inner[0]))


def mirror(images: Tensor, chosen: Tensor) -> Tensor:
    """Left and right of the chosen images swapped; chosen (B,) bool."""
    return images.flip(3).where(chosen[:, None, None, None], images)


def turn(images: Tensor, angle: Tensor, scale: Tensor) -> Tensor:
    """Images turned clockwise about their middle and scaled, black outside.

    Args:
        images: (B, C, H, W).
        angle: (B,) degrees.
        scale: (B,) factor of both sides.
    """
    height, width = images.shape[-2:]
    cos, sin = (
        f(angle.to(images.dtype).deg2rad()) / scale for f in (torch.cos, torch.sin)
    )
    ratio = (height - 1) / max(width - 1, 1)
    rows = ((cos, sin * ratio, 0 * cos), (-sin / ratio, cos, 0 * cos))
    matrix = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=True)
    return functional.grid_sample(images, grid, align_corners=True)


def vary(
    images: Tensor, brightness: Tensor, contrast: Tensor, contrast_first: Tensor
) -> Tensor:
    """Images times a factor, and mixed with their mean grey, clamped after each.

    Args:
        images: (B, 1 or 3, H, W) in 0..1.
        brightness: (B,) factor.
        contrast: (B,) share of the image; the rest is its mean grey.
        contrast_first: (B,) bool, which of the two comes first.
    """
    factor, share, early = (
        x[:, None, None, None] for x in (brightness, contrast, contrast_first)
    )
    for contrasts in (early, ~early):
        means = images.mean((2, 3), keepdim=True)
        if images.shape[1] == 3:
            red, green, blue = means[:, :1], means[:, 1:2], means[:, 2:]
            means = 0.299 * red + 0.587 * green + 0.114 * blue
        mixed = images * share + (1 - share) * means
        images = mixed.where(contrasts, images * factor).clamp(0, 1)
    return images


@dataclass(frozen=True)
class Variation:
    """How training images are varied.

    Args:
        flip: Chance of mirroring.
        chance: Chance of turning, and that of varying contrast and brightness.
        rotation: Largest angle in degrees.
        zoom: Smallest scale; the largest is 1.
        jitter: Largest relative change of contrast, and of brightness.
    """

    flip: float
    chance: float
    rotation: float
    zoom: float
    jitter: float

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        """Images (B, C, H, W) in 0..1, each varied by its own key (B,) int64."""
        noise = sample_noise(keys, 8).to(images.dtype).T
        images = mirror(images, noise[0] < self.flip)
        if self.rotation or self.zoom < 1:
            angle = self.rotation * (2 * noise[2] - 1)
            turned = turn(images, angle, self.zoom + (1 - self.zoom) * noise[3])
            images = turned.where((noise[1] < self.chance)[:, None, None, None], images)
        if self.jitter:
            brightness, contrast = 1 + self.jitter * (2 * noise[5:7] - 1)
            varied = vary(images, brightness, contrast, noise[7] < 0.5)
            images = varied.where((noise[4] < self.chance)[:, None, None, None], images)
        return images

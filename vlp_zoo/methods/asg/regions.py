"""ASG's local units as matrices: sentences of words, regions of patches.

Each is one weighted sum, so there is no index that could point at another sample, no
loop over tokens and nothing whose shape depends on the data.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["roi_weights", "sentence_means"]


def sentence_means(counts: Tensor, words: Tensor) -> Tensor:
    """Mean embedding of the words that a region's sentences consist of.

    Args:
        counts: (B, R, W) how often each word belongs to the region's sentences.
        words: (B, W, E) embeddings.

    Returns:
        (B, R, E), zero for a region without words.
    """
    weights = counts.to(words.dtype)
    weights = weights / weights.sum(2, keepdim=True).clamp(min=1)
    return weights @ words


def roi_weights(boxes: Tensor, grid: tuple[int, int], aligned: bool = True) -> Tensor:
    """RoI align with one output cell, as a matrix over the patches.

    Averages bilinear samples at ``ceil(height) * ceil(width)`` equally spaced points of
    the box. Sampling is separable, so the weights are an outer product of two axes.

    Args:
        boxes: (B, R, 4), x1, y1, x2, y2 in patches, inside the grid.
        grid: Rows and columns of the patches.
        aligned: Patch i covers i to i + 1. False has its centre at i, half a patch off,
            and makes boxes at least one patch wide: torchvision's
            ``aligned=False``, which the released code uses.

    Returns:
        (B, R, P); multiplied with patch features (B, P, E) it gives region features.
    """
    across = _axis_weights(boxes[..., 0], boxes[..., 2], grid[1], aligned)
    down = _axis_weights(boxes[..., 1], boxes[..., 3], grid[0], aligned)
    return (down[..., :, None] * across[..., None, :]).flatten(2)


def _axis_weights(low: Tensor, high: Tensor, cells: int, aligned: bool) -> Tensor:
    """(B, R) intervals to (B, R, cells): mean of the samples' bilinear weights."""
    shift = 0.5 if aligned else 0.0
    start, extent = low - shift, high - low
    if not aligned:
        extent = extent.clamp(min=1)
    # A box inside the grid needs at most as many samples as there are cells.
    number = extent.ceil().clamp(1, cells)
    steps = torch.arange(cells, device=low.device, dtype=low.dtype)
    places = start[..., None] + (steps + 0.5) * (extent / number)[..., None]
    counts = (steps < number[..., None]) & (places >= -1) & (places <= cells)
    patches = torch.arange(cells, device=low.device, dtype=low.dtype)
    distance = (places.clamp(0, cells - 1)[..., None] - patches).abs()
    hats = (1 - distance).clamp(min=0) * counts[..., None]
    return hats.sum(-2) / number[..., None]

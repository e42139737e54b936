"""Pictures of a batch that several image-report methods show: views and matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["draw_views", "heat_map"]

CELL = 24
"""Pixels of one entry of a matrix."""


def heat_map(matrix: Tensor) -> Tensor:
    """A matrix as a picture: black for its least entry, over red, to white.

    Args:
        matrix: (R, C).

    Returns:
        (3, R * CELL, C * CELL) in 0..1; black where all entries are equal.
    """
    values = matrix.float()
    span = (values.max() - values.min()).clamp(min=1e-12)
    level = (values - values.min()) / span
    # As "hot": red rises first, then green, then blue.
    colour = torch.stack([level * 3, level * 3 - 1, level * 3 - 2]).clamp(0, 1)
    return colour.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)


def draw_views(pixels: Sequence[Tensor]) -> Tensor:
    """Studies side by side, their V views below one another: (3, V*S, B*S) in 0..1."""
    rows = [torch.cat(list(view.float() / 255), dim=2) for view in pixels]
    return torch.cat(rows, dim=1).expand(3, -1, -1)

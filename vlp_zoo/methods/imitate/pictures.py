"""What IMITATE shows of a batch: views, clinical priors, similarities, texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["draw_views", "heat_map", "write_reports"]

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


def draw_views(pixels: tuple[Tensor, Tensor]) -> Tensor:
    """Studies side by side, the second views below: (3, 2S, B*S) in 0..1."""
    rows = [torch.cat(list(view.float() / 255), dim=2) for view in pixels]
    return torch.cat(rows, dim=1).expand(3, -1, -1)


def write_reports(
    uids: Sequence[str], findings: Sequence[str], impressions: Sequence[str]
) -> str:
    """Markdown: the studies of a batch by number, with the two parts of their reports."""
    rows = zip(uids, findings, impressions, strict=True)
    return "\n\n".join(
        f"{number}. **{uid}** findings: {seen} *impression*: {concluded}"
        for number, (uid, seen, concluded) in enumerate(rows)
    )

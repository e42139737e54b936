"""M-FLAG's two losses: an orthogonal image space, and alignment without negatives."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.gather import gather_rows
from vlp_zoo.losses import rank_mean

__all__ = ["alignment", "orthogonality"]


def orthogonality(
    features: Tensor,
    off_diagonal: float = 0.0051,
    divide_by: int | None = None,
    centre: bool = False,
    gather: bool = False,
) -> Tensor:
    r"""How far the image features of a batch are from orthonormal ones.

    .. math:: L = \frac{1}{2} \Big( \sum_i (C_{ii} - 1)^2
        + \lambda \sum_{i \ne j} C_{ij}^2 \Big), \qquad C = \frac{1}{b} X^T X

    A sum over features, not a mean: its size grows with their number. With fewer rows
    than features it cannot vanish. The squares of all entries of C are those of the
    B x B products of the rows, whichever of the two is smaller.

    Args:
        features: X (B, F), as the encoder pools them.
        off_diagonal: λ, the constant of Barlow Twins.
        divide_by: b; None = B.
        centre: Take each feature's mean over the batch away first.
        gather: X holds the rows of all processes.

    Returns:
        Scalar in float32 or better, under autocast too.

    Example:
        >>> float(orthogonality(torch.eye(4) * 2))
        0.0
    """
    wide = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        rows = features.to(wide)
        rows = gather_rows(rows) if gather else rows
        rows = rows - rows.mean(0) if centre else rows
        count = divide_by or len(rows)
        own = rows.square().sum(0) / count
        products = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
        others = (products / count).square().sum() - own.square().sum()
        return 0.5 * ((own - 1).square().sum() + off_diagonal * others)


def alignment(images: Tensor, texts: Tensor, present: Tensor | None = None) -> Tensor:
    r"""Squared distance of paired unit vectors, both ways; there are no negatives.

    .. math:: L = \frac{1}{N} \sum_i \left(4 - 4 \cos(u_i, v_i)\right)

    Args:
        images: u (B, E), scaled to unit length here; a zero row has cosine 0.
        texts: v (B, E).
        present: (B,) bool, which pairs count; N is their number over all processes,
            shared out equally. None = all.

    Returns:
        Scalar in float32 or better, under autocast too; 0 where nothing counts.

    Example:
        >>> alignment(torch.eye(2), torch.eye(2).flip(0))
        tensor(4.)
    """
    wide = torch.promote_types(images.dtype, torch.float32)
    pairs = (functional.normalize(rows.to(wide), dim=1) for rows in (images, texts))
    u, v = pairs
    costs = 4 - 4 * (u * v).sum(1)
    if present is None:
        return costs.mean()
    counts = present.to(costs.dtype)
    # Nothing is summed where nothing counts, so any divisor serves there.
    return (costs * counts).sum() / rank_mean(counts.sum(), costs).clamp(min=1e-6)

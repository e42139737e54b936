r"""IMITATE's clinical-informed contrastive loss (CICL).

Reports that say much the same should not be pushed apart as strangers are. The targets
of the contrastive loss are therefore not one-hot:

.. math:: T = I + \tau \, s(C), \qquad C_{ij} = \max(\rho(p_i, p_j), 0), \; C_{ii} = 0

with :math:`\rho` Pearson's correlation of the frozen text features of two reports and
``s`` a smoothing. Rows of T are not scaled to sum to 1, and the two directions of the
loss are added, both as in the released code (cheliu-computation/IMITATE-TMI2024 @
cd1c575).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.gather import gather_rows, row_offset
from vlp_zoo.losses import soft_cross_entropy

__all__ = [
    "SMOOTHINGS",
    "Rows",
    "Scores",
    "clinical_contrast",
    "clinical_scores",
    "correlation",
    "gather_each",
    "prior",
    "smooth",
]

SMOOTHINGS = ("exp", "gau", "lap", "sigmoid", "none")


class Rows(NamedTuple):
    """Rows of this process, and of all of them.

    Attributes:
        own: (B, ...).
        all: (W*B, ...), or ``own`` where negatives are local.
        start: Where the own rows start in ``all``.
    """

    own: Tensor
    all: Tensor
    start: int


def gather_each(tensors: list[Tensor], gather: bool = True) -> list[Rows]:
    """Each (B, D_i) tensor with its rows of all processes, in one exchange.

    Args:
        tensors: Floats; promoted to one dtype, at least float32.
        gather: False keeps to this process's rows.
    """
    wide = torch.float32
    for tensor in tensors:
        wide = torch.promote_types(wide, tensor.dtype)
    own = [tensor.to(wide) for tensor in tensors]
    if not gather:
        return [Rows(tensor, tensor, 0) for tensor in own]
    widths = [tensor.shape[1] for tensor in own]
    everyone = torch.split(gather_rows(torch.cat(own, dim=1)), widths, dim=1)
    start = row_offset(len(own[0]))
    return [Rows(mine, rest, start) for mine, rest in zip(own, everyone, strict=True)]


def smooth(correlation: Tensor, kind: str = "exp", ratio: float = 0.2) -> Tensor:
    """How much of a positive two reports are to each other.

    ``"exp"`` is ``1 - exp(-ratio * c)``, 0 for unrelated reports. The others of the
    released code give unrelated pairs a constant as well: ``"gau"`` (normal density)
    and ``"lap"`` (Laplace density) even fall with similarity; ``"sigmoid"`` rises from
    a half.

    Args:
        correlation: In 0..1, any shape.
        kind: ``"exp"``, ``"gau"``, ``"lap"`` or ``"sigmoid"``.
        ratio: Steepness of ``"exp"``.

    Raises:
        ValueError: If the kind is unknown.

    Example:
        >>> smooth(torch.tensor([0.0, 0.5, 1.0]))
        tensor([0.0000, 0.0952, 0.1813])
    """
    if kind == "exp":
        return 1 - torch.exp(-ratio * correlation)
    if kind == "gau":
        return torch.exp(-correlation.square() / 2) / math.sqrt(2 * math.pi)
    if kind == "lap":
        return 0.5 * torch.exp(-correlation.abs())
    if kind == "sigmoid":
        return correlation.sigmoid()
    raise ValueError(f"a smoothing among {', '.join(SMOOTHINGS)}, got {kind!r}")


def correlation(features: Rows) -> Tensor:
    """Pearson's correlation of this process's rows with all rows.

    A constant row, such as the features of an empty text, correlates with nothing.

    Args:
        features: (B, F) and (W*B, F).

    Returns:
        (B, W*B).
    """
    with torch.autocast(features.own.device.type, enabled=False):
        own, everyone = (
            functional.normalize(rows - rows.mean(1, keepdim=True), dim=1)
            for rows in features[:2]
        )
        return own @ everyone.T


@torch.no_grad()
def prior(features: Rows, kind: str = "exp", ratio: float = 0.2) -> Tensor | None:
    """Smoothed correlation of this process's reports with all reports.

    Args:
        features: Frozen text features.
        kind: A kind of `smooth`, or ``"none"``, which gives None.
        ratio: Steepness of ``"exp"``.

    Returns:
        (B, W*B).
    """
    if kind == "none":
        return None
    # Only what exceeds 1 by rounding is cut at the top.
    found = correlation(features).clamp(0, 1)
    return smooth(found.masked_fill(_diagonal(features), 0.0), kind, ratio)


def _diagonal(rows: Rows) -> Tensor:
    """(B, W*B) bool, True where a row meets itself."""
    places = torch.arange(len(rows.own), device=rows.own.device) + rows.start
    return places[:, None] == torch.arange(len(rows.all), device=rows.own.device)


class Scores(NamedTuple):
    """What the cross-entropies of `clinical_contrast` are made of.

    Attributes:
        forth: (B, W*B) logits of x against all y.
        back: (B, W*B) logits of y against all x.
        targets: (B, W*B), for both.
    """

    forth: Tensor
    back: Tensor
    targets: Tensor


def clinical_scores(
    x: Rows, y: Rows, temperature: float, similar: Tensor | None = None
) -> Scores:
    """Logits and targets; the arguments are those of `clinical_contrast`."""
    with torch.autocast(x.own.device.type, enabled=False):
        x_own, x_all, y_own, y_all = (
            functional.normalize(rows, dim=1) for rows in (*x[:2], *y[:2])
        )
        forth, back = x_own @ y_all.T / temperature, y_own @ x_all.T / temperature
    targets = _diagonal(x).to(forth.dtype)
    if similar is not None:
        targets = targets + temperature * similar.to(forth.dtype)
    return Scores(forth, back, targets)


def clinical_contrast(
    x: Rows,
    y: Rows,
    temperature: float,
    similar: Tensor | None = None,
    present: Rows | None = None,
) -> Tensor:
    r"""Contrastive loss with clinical targets, both directions added.

    .. math:: L = -\frac{1}{N} \sum_{ij} T_{ij} \left( \log \mathrm{softmax}_j
        \frac{x_i \cdot y_j}{\tau} + \log \mathrm{softmax}_j
        \frac{y_i \cdot x_j}{\tau} \right)

    Args:
        x: Embeddings (B, E), scaled to unit length here.
        y: Embeddings (B, E) of their partners.
        temperature: tau; also scales ``similar`` in the targets.
        similar: (B, W*B) from `prior`; None = one-hot targets (InfoNCE).
        present: (B, 1), 1 = the sample counts; the others are neither anchor nor
            negative, and N counts only those that count. None = all.

    Returns:
        Scalar in float32 or better; 0 with zero gradients where nobody counts.
    """
    forth, back, targets = clinical_scores(x, y, temperature, similar)
    scale: Tensor | float = 1.0
    if present is not None:
        counts, partner = present.own > 0.5, (present.all > 0.5).T
        targets = targets * (counts & partner)
        # An absent sample keeps itself, as a softmax over nothing is no number.
        outside = ~partner & ~_diagonal(x)
        forth, back = (
            logits.masked_fill(outside, -math.inf) for logits in (forth, back)
        )
        # Processes count differently, so N is that of all of them: DDP's average then
        # is the mean over the samples that count. None of them: every target is 0.
        scale = partner.numel() / partner.sum().clamp(min=1)
    return scale * (
        soft_cross_entropy(forth, targets) + soft_cross_entropy(back, targets)
    )

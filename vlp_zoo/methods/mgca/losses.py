"""MGCA's token and prototype losses as functions of embeddings (arXiv 2210.06044).

Everything here is float32 or better; the instance loss is `vlp_zoo.losses.info_nce`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vlp_zoo.gather import gather_rows, row_offset
from vlp_zoo.losses import soft_cross_entropy

__all__ = [
    "CLOSED",
    "clipped_weights",
    "prototype_loss",
    "sinkhorn",
    "token_losses",
]

CLOSED = -1e4
"""Logit of a pair that does not exist: no probability, and no 0 * inf."""


@torch.no_grad()
def clipped_weights(attention: Tensor, counted: Tensor) -> Tensor:
    """Attention as weights of tokens: without its extremes, of sum 1.

    Args:
        attention: (B, N), 0 or more.
        counted: (B, N) bool; others have weight 0. What counts is clipped to its 10 %
            and 90 % quantiles, each sample by itself.

    Returns:
        (B, N); zeros where nothing counts.

    Example:
        >>> attention = torch.tensor([[0.5, 1.0, 9.0, 0.0]])
        >>> clipped_weights(attention, attention > 0)
        tensor([[0.0667, 0.1111, 0.8222, 0.0000]])
    """
    spread = attention.masked_fill(~counted, torch.nan)
    low, high = (spread.nanquantile(q, 1, keepdim=True) for q in (0.1, 0.9))
    kept = attention.clamp(low, high).where(counted, 0.0)
    total = kept.sum(1, keepdim=True)
    return kept / total.where(total > 0, 1.0)


def token_losses(
    anchors: Tensor,
    counterparts: Tensor,
    weights: Tensor,
    temperature: float,
    present: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Each token finds its counterpart among those of its sample, and the reverse.

    .. math:: L = -\frac{1}{B} \sum_b \sum_i w_{bi} \log \frac{\exp(a_i \cdot c_i / \tau)}
        {\sum_j \exp(a_i \cdot c_j / \tau)}

    Args:
        anchors: (B, N, E) unit length.
        counterparts: (B, N, E).
        weights: (B, N) from `clipped_weights`.
        temperature: Divides similarities.
        present: (B, N) bool, tokens that are negatives of each other; None = all.

    Returns:
        The loss, and that with the sum over the anchors i in the denominator.
    """
    scores = anchors @ counterparts.transpose(1, 2) / temperature
    if present is not None:
        pairs = present[:, :, None] & present[:, None]
        scores = scores.masked_fill(~pairs, CLOSED)
    own = scores.diagonal(dim1=1, dim2=2)
    forth, back = (
        (weights * (scores.logsumexp(axis) - own)).sum(1).mean() for axis in (2, 1)
    )
    return forth, back


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Soft codes that use all prototypes alike (Sinkhorn-Knopp).

    Cuturi, arXiv 1306.0895; for clustering: Caron et al., SwAV, arXiv 2006.09882.

    Args:
        scores: (N, K) of samples and prototypes.
        epsilon: Smoothness.
        iterations: Rounds.

    Returns:
        (N, K); rows sum to 1.
    """
    # A common factor cancels; without it small epsilons would overflow.
    codes = ((scores - scores.max()) / epsilon).exp()
    for _ in range(iterations):
        codes = codes / codes.sum(0)
        codes = codes / codes.sum(1, keepdim=True)
    return codes


def prototype_loss(
    images: Tensor,
    reports: Tensor,
    prototypes: Tensor,
    temperature: float,
    epsilon: float,
    iterations: int,
    gather: bool,
) -> tuple[Tensor, Tensor]:
    """Predict the code of an image from its report, and the reverse.

    Args:
        images: (B, E) unit length.
        reports: (B, E) unit length.
        prototypes: (K, E) unit length.
        temperature: Divides the scores that are compared with codes.
        epsilon: Smoothness of the codes.
        iterations: Rounds of `sinkhorn`.
        gather: Even the codes out over the rows of all processes.

    Returns:
        Cross-entropy of the images' codes with what reports predict, and of the
        reports' codes with what images predict.
    """
    scores = [rows @ prototypes.T for rows in (images, reports)]
    codes = []
    for own in scores:
        known = own.detach()
        everyone = sinkhorn(
            gather_rows(known) if gather else known, epsilon, iterations
        )
        start = row_offset(len(own)) if gather else 0
        codes.append(everyone[start : start + len(own)])
    return (
        soft_cross_entropy(scores[1] / temperature, codes[0]),
        soft_cross_entropy(scores[0] / temperature, codes[1]),
    )

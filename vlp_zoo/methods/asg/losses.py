"""ASG's four losses as functions of embeddings (arXiv 2403.09294).

Everything here is float32 or better and has shapes that do not depend on the data.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.gather import gather_rows, row_offset

__all__ = [
    "Scores",
    "external_loss",
    "global_loss",
    "global_scores",
    "region_loss",
    "region_targets",
    "soft_labels",
]

CLOSED = -1e4
"""Logit of a pair that does not exist: no probability, and no 0 * inf."""


class Scores(NamedTuple):
    """Logarithms of the matching probabilities of images and reports."""

    image: Tensor  # (B, N) of each local image over all reports
    report: Tensor  # (B, N) of each local report over all images


def global_scores(
    images: Tensor, reports: Tensor, temperature: float, gather: bool
) -> Scores:
    """Compare images with reports.

    Args:
        images: (B, E) unit length.
        reports: (B, E) unit length.
        temperature: Divides the cosines.
        gather: Against the rows of all processes (N = W*B), else against this
            process's own (N = B).
    """
    all_images = gather_rows(images) if gather else images
    all_reports = gather_rows(reports) if gather else reports
    return Scores(
        (images @ all_reports.T / temperature).log_softmax(1),
        (reports @ all_images.T / temperature).log_softmax(1),
    )


def global_loss(scores: Scores, gather: bool) -> Tensor:
    """Image-report alignment (IRA): cross-entropy of both directions, summed."""
    batch = len(scores.image)
    first = row_offset(batch) if gather else 0
    own = torch.arange(batch, device=scores.image.device)
    both = scores.image[own, own + first] + scores.report[own, own + first]
    return -both.mean()


def soft_labels(tags: Tensor, gather: bool) -> Tensor:
    r"""Which pairs of the batch share tags, mixed with the identity.

    .. math:: L \propto 0.8\, I + 0.2\, \hat y \hat y^T + 10^{-6}

    with tag vectors of unit length (those without any tag stay zero) and rows of sum 1.

    Args:
        tags: (B, K) with 1 = present.
        gather: Compare with the rows of all processes, else with this process's own.

    Returns:
        (B, N).
    """
    unit = functional.normalize(tags, dim=1)
    columns = gather_rows(unit) if gather else unit
    batch = len(tags)
    first = row_offset(batch) if gather else 0
    own = torch.arange(batch, device=tags.device)[:, None] + first
    same = (own == torch.arange(len(columns), device=tags.device)).to(tags.dtype)
    mixed = 0.8 * same + 0.2 * (unit @ columns.T) + 1e-6
    return mixed / mixed.sum(1, keepdim=True)


def external_loss(scores: Scores, labels: Tensor) -> Tensor:
    """External representation learning (ERL): symmetric KL to the soft labels.

    Args:
        scores: Global scores of the batch, in both directions.
        labels: (B, N) from `soft_labels`, used for both directions.
    """
    target = labels.log()
    total = scores.image.new_zeros(())
    for found in scores:
        forward = (labels * (target - found)).sum(1)
        backward = (found.exp() * (found - target)).sum(1)
        total = total + (forward + backward).mean()
    return total / 4


def region_targets(groups: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Which region belongs to which sentence of the same image.

    Args:
        groups: (B, R) int64: regions of one number share their sentences; -1 = none.
        dtype: Number type of the result.

    Returns:
        (B, R, R); rows sum to 1, or to 0 for a slot without region.
    """
    valid = groups >= 0
    same = (groups[:, :, None] == groups[:, None]) & valid[:, :, None]
    shares = same.to(dtype)
    return shares / shares.sum(2, keepdim=True).clamp(min=1)


def region_loss(
    regions: Tensor, sentences: Tensor, groups: Tensor, temperature: float, gather: bool
) -> Tensor:
    """Anatomical region-sentence alignment (ARSA), contrast inside each image.

    Args:
        regions: (B, R, E) region features.
        sentences: (B, R, E) features of the regions' sentences.
        groups: (B, R) as of `region_targets`.
        temperature: Divides the products.
        gather: Divide by the number of regions of all processes, not of this one.

    Returns:
        Scalar; exactly 0, with zero gradients, where no image has a region.
    """
    valid = groups >= 0
    targets = region_targets(groups, regions.dtype)
    pairs = valid[:, :, None] & valid[:, None]
    logits = regions @ sentences.transpose(1, 2) / temperature
    logits = logits.masked_fill(~pairs, CLOSED)
    found = logits.log_softmax(2) + logits.transpose(1, 2).log_softmax(2)
    number = valid.sum().to(regions.dtype).view(1)
    number = gather_rows(number).mean() if gather else number[0]
    # Sums of log-probabilities: targets are symmetric, so one product serves both.
    loss: Tensor = -(targets * found).sum() / number.clamp(min=1e-6)
    return loss

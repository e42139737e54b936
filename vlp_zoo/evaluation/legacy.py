"""Numbers as published code computes them, where that is not what they are called.

Kept to reproduce tables, and named for what they are; none is a headline here. Each
docstring says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.box_metrics import (
    RSNA_IOUS,
    ImageBoxes,
    box_average_precision,
    match_boxes,
)

__all__ = [
    "legacy_batch_hits",
    "legacy_batch_mean",
    "legacy_column_scores",
    "legacy_detection_map",
]

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def legacy_batch_mean(values: Array, batch: int, *, drop_last: bool = False) -> float:
    """Mean of batch means, as GLoRIA and MGCA average their Dice.

    A case in a short last batch counts for more than others, or with ``drop_last``
    (MGCA's validation) for nothing, so the number depends on the batch size.

    Args:
        values: (N,) per case, in loading order.
        batch: Cases per batch.
        drop_last: Leave an incomplete last batch out.

    Returns:
        NaN if no batch is left.
    """
    parts = [values[i : i + batch] for i in range(0, len(values), batch)]
    if drop_last:
        parts = [part for part in parts if len(part) == batch]
    if not parts:
        return float("nan")
    return float(np.mean([part.mean() for part in parts]))


def legacy_detection_map(
    images: Sequence[ImageBoxes], ious: Sequence[float] = RSNA_IOUS
) -> float:
    """MGCA's and ECAMP's mAP: only images with both a true box and a detection count.

    Boxes of an image in which nothing was detected are not missed, and detections in
    an image without a box are not false: a detector that is silent on hard images
    scores 1 (HKU-MedAI/MGCA@4075a69, ``mgca/models/ssl_detector.py``).

    Args:
        images: All of them, one class.
        ious: Least overlaps of a hit.

    Returns:
        NaN if no image has both.
    """
    kept = [image for image in images if len(image.truth) and len(image.found)]
    if not kept:
        return float("nan")
    once = np.ones((len(kept), 1), np.float32)
    return float(box_average_precision(match_boxes(kept, ious), once).mean())


def legacy_batch_hits(
    scores: npt.NDArray[np.floating], relevant: Flags, k: int, batch: int
) -> tuple[float, float]:
    """Hit@k and precision@k with queries ranked against their own mini-batch.

    BenchX's retrieval: the pool is the batch, so smaller batches give more hits, and
    batches count alike whatever their size (yangzhou12/BenchX@058e592,
    ``evaluation/retrieval/zeroshot_retrieval.py``).

    Args:
        scores: (N, N), larger is better.
        relevant: (N, N).
        k: Places that count; a batch smaller than k still divides by k.
        batch: Queries and candidates per batch.
    """
    shares = []
    for first in range(0, len(scores), batch):
        part = slice(first, first + batch)
        order = np.argsort(-scores[part, part], axis=1, kind="stable")[:, :k]
        right = np.take_along_axis(relevant[part, part], order, 1)
        shares.append((right.any(1).mean(), (right.sum(1) / k).mean()))
    hit, precision = np.mean(shares, axis=0)
    return float(hit), float(precision)


def legacy_column_scores(similarities: Array) -> Array:
    """Similarities standardised per class over the images, as GLoRIA and BenchX do.

    What an image gets depends on the others that are scored with it: the prevalence
    leaks in, and one image alone cannot be classified.

    Args:
        similarities: (N, C).

    Returns:
        (N, C) with mean 0 and population deviation 1 in each column.

    Raises:
        ConfigError: If there are fewer than two images, or a column is constant.
    """
    spread = similarities.std(0) if len(similarities) else np.zeros(1)
    if len(similarities) < 2 or not (spread > 0).all():
        raise ConfigError(
            "two images or more with different similarities to standardise over",
            f"{len(similarities)} images",
            "score without standardising, which works for a single image",
        )
    scaled: Array = (similarities - similarities.mean(0)) / spread
    return scaled

"""Ranking and calibration metrics of multi-label scores, vectorised over weights.

Every metric takes case weights (N, R): column r says how often each case counts in
replicate r. A bootstrap of a thousand replicates is then a few cumulative sums, and the
plain value is the same code with one column of ones. Weights must be whole numbers
below 2**24 in sum, so that float32 sums stay exact.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = [
    "BINNED",
    "METRICS",
    "average_precision",
    "brier",
    "calibration_error",
    "label_values",
    "macro",
    "ratio",
    "roc_auc",
]

WIDE = 256
"""Replicates from which adding up whole rows is faster than `np.cumsum`."""

Array = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


def roc_auc(positive: Flags, scores: Array, weights: Weights) -> Array:
    """Area under the ROC curve: P(score of a positive > of a negative), ties half.

    Args:
        positive: (N,).
        scores: (N,), higher = more likely positive.
        weights: (N, R) whole numbers.

    Returns:
        (R,); NaN where a replicate has one class only.

    Example:
        >>> flags = np.array([True, False, True, False])
        >>> float(roc_auc(flags, np.array([3.0, 1, 2, 2]), _ones(4))[0])
        0.875
    """
    negatives = np.nonzero(~positive)[0]
    negatives = negatives[np.argsort(scores[negatives], kind="stable")]
    below = _cumulative(weights[negatives])
    sorted_scores = scores[negatives]
    left = np.searchsorted(sorted_scores, scores[positive], side="left")
    right = np.searchsorted(sorted_scores, scores[positive], side="right")
    mine = weights[positive]
    won = np.einsum("pr,pr->r", mine, below[left] + below[right], dtype=np.float64) / 2
    return ratio(won, mine.sum(0, dtype=np.float64) * below[-1].astype(np.float64))


def average_precision(positive: Flags, scores: Array, weights: Weights) -> Array:
    """Average precision (AUPRC without interpolation), tied scores as one threshold.

    Args:
        positive: (N,).
        scores: (N,), higher = more likely positive.
        weights: (N, R) whole numbers.

    Returns:
        (R,); NaN where a replicate has one class only.
    """
    ascending_negatives = np.nonzero(~positive)[0]
    order = np.argsort(scores[ascending_negatives], kind="stable")
    ascending_negatives = ascending_negatives[order]
    positives = np.nonzero(positive)[0]
    positives = positives[np.argsort(-scores[positives], kind="stable")]
    below = _cumulative(weights[ascending_negatives])
    hits = _cumulative(weights[positives])
    thresholds = scores[positives]
    # The last positive of each run of equal scores closes the threshold.
    last = np.searchsorted(-thresholds, -thresholds, side="right")
    found = hits[last].astype(np.float64)
    first = np.searchsorted(scores[ascending_negatives], thresholds, side="left")
    false = below[-1] - below[first]
    precision = ratio(found, found + false)
    mine = weights[positives]
    # A threshold that no resampled case reaches has weight 0 and precision NaN.
    total = np.einsum("pr,pr->r", mine, np.nan_to_num(precision))
    value = ratio(total, hits[-1].astype(np.float64))
    return np.where(below[-1] > 0, value, np.nan)


def brier(positive: Flags, probabilities: Array, weights: Weights) -> Array:
    """Mean squared distance of probability and truth.

    Args:
        positive: (N,).
        probabilities: (N,) in 0..1.
        weights: (N, R) whole numbers.

    Returns:
        (R,); NaN where a replicate has no case.
    """
    squared = (probabilities - positive) ** 2
    return ratio(squared @ weights, weights.sum(0, dtype=np.float64))


def calibration_error(
    positive: Flags, probabilities: Array, bins: int = 15, *, equal_width: bool = False
) -> float:
    """Expected calibration error, over bins that hold equally many cases or are as wide.

    Bins of equal mass judge where the cases are; of equal width, as most papers have
    them, a rare finding has nearly all its cases in the lowest one.

    Args:
        positive: (N,).
        probabilities: (N,) in 0..1.
        bins: Number of bins; equal probabilities are never parted.
        equal_width: Bins of 1 / ``bins`` in place of bins of equal mass.

    Returns:
        Mean absolute gap of mean probability and positive rate, weighted by cases; NaN
        without cases.
    """
    if not len(positive):
        return float("nan")
    order = np.argsort(probabilities, kind="stable")
    ranked = probabilities[order]
    if equal_width:
        place = np.minimum((ranked * bins).astype(np.int64), bins - 1)
    else:
        # Equal probabilities share a bin, or the order of the cases would matter.
        place = np.searchsorted(ranked, ranked, side="left") * bins // len(ranked)
    gaps = np.bincount(place, ranked - positive[order])
    return float(np.abs(gaps).sum() / len(ranked))


METRICS: dict[str, Callable[[Flags, Array, Weights], Array]] = {
    "macro_auroc": roc_auc,
    "macro_auprc": average_precision,
    "macro_brier": brier,
}
"""Metrics that take weights, by the name of their mean over labels."""

BINNED = {"macro_ece": False, "macro_ece_width": True}
"""Metrics of bins, to whether these are of equal width; else they hold equally many."""


def label_values(
    metric: str,
    labels: npt.NDArray[np.float32],
    scores: Array,
    weights: Weights | None = None,
) -> Array:
    """A metric of each label on the cases where the label is known.

    Args:
        metric: A name of `METRICS`, or of `BINNED` (which take no weights).
        labels: (N, K) with 1, 0 and NaN = unknown.
        scores: (N, K); a NaN column means that nothing was predicted.
        weights: (N, R) whole numbers; None counts each case once.

    Returns:
        (K, R); NaN where undefined.
    """
    cases = _ones(len(labels)) if weights is None else weights
    values = np.full((labels.shape[1], cases.shape[1]), np.nan)
    for k in range(labels.shape[1]):
        known = ~np.isnan(labels[:, k])
        if np.isnan(scores[known, k]).any() or not known.any():
            continue
        positive = labels[known, k] > 0.5
        if metric in BINNED:
            wide = BINNED[metric]
            values[k] = calibration_error(positive, scores[known, k], equal_width=wide)
        else:
            chosen = cases if known.all() else cases[known]
            values[k] = METRICS[metric](positive, scores[known, k], chosen)
    return values


def macro(values: Array) -> Array:
    """Mean over the labels that are defined: (K, R) to (R,), NaN if none is."""
    defined = ~np.isnan(values)
    counts = defined.sum(0)
    return ratio(np.where(defined, values, 0.0).sum(0), counts.astype(np.float64))


def _ones(cases: int) -> Weights:
    return np.ones((cases, 1), np.float32)


def _cumulative(weights: Weights) -> Weights:
    """(n, R) to (n + 1, R): sums of the first 0..n rows."""
    sums = np.zeros((len(weights) + 1, weights.shape[1]), np.float32)
    if weights.shape[1] < WIDE:
        np.cumsum(weights, axis=0, out=sums[1:])
        return sums
    # cumsum goes down one column after the other: several times slower here.
    for i, row in enumerate(weights):
        np.add(sums[i], row, out=sums[i + 1])
    return sums


def ratio(above: npt.NDArray[np.number], below: npt.NDArray[np.number]) -> Array:
    """Element by element, NaN where the lower number is not positive.

    Example:
        >>> ratio(np.array([1, 0]), np.array([2, 0]))
        array([0.5, nan])
    """
    out = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out

"""Metrics that need a threshold, which validation chooses and the test set never does.

A case is called positive if its score is at or above the threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.statistics.intervals import Statistic
from vlp_zoo.evaluation.statistics.metrics import ratio

__all__ = [
    "POINT_METRICS",
    "THRESHOLD_RULES",
    "choose_thresholds",
    "point_statistic",
    "point_values",
]

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float32]

Counts = tuple[Array, Array, Array, Array]
"""True positives, false positives, false negatives and true negatives."""


def _sensitivity(counts: Counts) -> Array:
    hit, _, missed, _ = counts
    return ratio(hit, hit + missed)


def _specificity(counts: Counts) -> Array:
    _, false, _, clear = counts
    return ratio(clear, clear + false)


def _f1(counts: Counts) -> Array:
    hit, false, missed, _ = counts
    return np.where(hit + missed > 0, ratio(2 * hit, 2 * hit + false + missed), np.nan)


def _mcc(counts: Counts) -> Array:
    hit, false, missed, clear = counts
    called, rest = hit + false, missed + clear
    truth, lack = hit + missed, false + clear
    value = ratio(hit * clear - false * missed, np.sqrt(called * rest * truth * lack))
    # All called alike says nothing: 0 by convention, unless the truth is alike, too.
    value = np.where((called == 0) | (rest == 0), 0.0, value)
    return np.where((truth > 0) & (lack > 0), value, np.nan)


def _accuracy(counts: Counts) -> Array:
    hit, false, missed, clear = counts
    return ratio(hit + clear, hit + false + missed + clear)


POINT_METRICS: dict[str, Callable[[Counts], Array]] = {
    "sensitivity": _sensitivity,
    "specificity": _specificity,
    "f1": _f1,
    "mcc": _mcc,
    "accuracy": _accuracy,
}
"""Metrics of a threshold; NaN where the class that they are about is missing."""


def _at_specificity(scores: Array, counts: Counts, least: float) -> float:
    """Lowest threshold, hence most sensitive, that is specific enough."""
    return float(scores[np.nonzero(_specificity(counts) >= least)[0][0]])


def _at_sensitivity(scores: Array, counts: Counts, least: float) -> float:
    """Highest threshold, hence most specific, that is sensitive enough."""
    return float(scores[np.nonzero(_sensitivity(counts) >= least)[0][-1]])


THRESHOLD_RULES: dict[str, Callable[[Array, Counts], float]] = {
    "specificity_95": lambda scores, counts: _at_specificity(scores, counts, 0.95),
    "sensitivity_95": lambda scores, counts: _at_sensitivity(scores, counts, 0.95),
    "best_f1": lambda scores, counts: float(scores[int(_f1(counts).argmax())]),
    "best_mcc": lambda scores, counts: float(scores[int(_mcc(counts).argmax())]),
}
"""How a threshold is chosen, from ascending candidates and their counts."""


def choose_thresholds(rule: str, labels: Labels, scores: Array) -> Array:
    """A threshold per label. Give validation cases; on test cases it is a leak.

    Args:
        rule: A name of `THRESHOLD_RULES`. Candidates are the scores that occur, and
            infinity (nothing is positive).
        labels: (N, K) with 1, 0 and NaN = unknown.
        scores: (N, K).

    Returns:
        (K,); NaN where a label has one class only or no scores.

    Example:
        >>> labels = np.array([[0], [0], [1], [1]], np.float32)
        >>> choose_thresholds("best_f1", labels, np.array([[0.1], [0.6], [0.4], [0.9]]))
        array([0.4])
    """
    chosen = np.full(labels.shape[1], np.nan)
    for k in range(labels.shape[1]):
        known = ~np.isnan(labels[:, k])
        positive, mine = labels[known, k] > 0.5, scores[known, k]
        if np.isnan(mine).any() or positive.all() or not positive.any():
            continue
        candidates = np.append(np.unique(mine), np.inf)
        chosen[k] = THRESHOLD_RULES[rule](
            candidates, _counts_at(positive, mine, candidates)
        )
    return chosen


def point_statistic(
    metric: str, labels: Labels, scores: Array, thresholds: Array
) -> Statistic:
    """A metric of each label at a given threshold; see `point_values`."""
    of = partial(point_values, metric, labels, scores, thresholds)
    return Statistic(of, len(labels))


def point_values(
    metric: str, labels: Labels, scores: Array, thresholds: Array, weights: Weights
) -> Array:
    """A metric of each label at a given threshold.

    Args:
        metric: A name of `POINT_METRICS`.
        labels: (N, K) with 1, 0 and NaN = unknown.
        scores: (N, K).
        thresholds: (K,) as chosen on other cases; NaN gives NaN.
        weights: (N, R) whole numbers.

    Returns:
        (K, R); NaN where undefined.
    """
    wide = weights.T.astype(np.float64)
    positive, negative = labels > 0.5, labels <= 0.5
    called = scores >= thresholds
    counts = (
        (wide @ (positive & called)).T,
        (wide @ (negative & called)).T,
        (wide @ (positive & ~called)).T,
        (wide @ (negative & ~called)).T,
    )
    missing = np.isnan(thresholds) | (np.isnan(scores) & ~np.isnan(labels)).any(0)
    return np.where(missing[:, None], np.nan, POINT_METRICS[metric](counts))


def _counts_at(positive: Flags, scores: Array, thresholds: Array) -> Counts:
    """Counts of one label at each of several thresholds."""
    parts = np.sort(scores[positive]), np.sort(scores[~positive])
    below = [np.searchsorted(part, thresholds).astype(np.float64) for part in parts]
    return (
        len(parts[0]) - below[0],
        len(parts[1]) - below[1],
        below[0],
        below[1],
    )

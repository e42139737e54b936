"""Tests of one encoder against another on the same cases, and Holm's correction.

Intervals of differences come from `vlp_zoo.evaluation.statistics.intervals`; these are the
cross-checks a reader may expect beside them. Seeds of a training are not cases: three
of them allow no test at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, rankdata

__all__ = [
    "DeLong",
    "delong_paired",
    "holm",
    "mcnemar",
]

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DeLong:
    """An AUROC, or a difference of two, with its standard error.

    Attributes:
        value: AUROC, or first minus second.
        standard_error: Standard error by DeLong's method; NaN with fewer than two cases
            in a class.
        p_value: Two-sided, of value 0.5 for one AUROC and 0 for a difference; NaN
            where the standard error is not positive.
    """

    value: float
    standard_error: float
    p_value: float


def delong_paired(positive: Flags, scores: Array, baseline: Array) -> DeLong:
    """Difference of two AUROCs on the same cases, with DeLong's test.

    Args:
        positive: (N,).
        scores: (N,).
        baseline: (N,), whose AUROC is subtracted.
    """
    aurocs, covariance = _delong(positive, np.stack([scores, baseline]))
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return _tested(float(aurocs[0] - aurocs[1]), float(variance), 0.0)


def mcnemar(correct: Flags, baseline: Flags) -> float:
    """Exact two-sided p-value of McNemar's test.

    Args:
        correct: (N,) whether one encoder was right.
        baseline: (N,) whether the other was.

    Returns:
        1 where they never differ.

    Example:
        >>> first = np.array([True] * 6 + [False])
        >>> mcnemar(first, ~first)
        0.125
    """
    gained = int((correct & ~baseline).sum())
    lost = int((~correct & baseline).sum())
    if gained == lost:
        return 1.0
    return float(binomtest(gained, gained + lost).pvalue)


def holm(p_values: Array) -> Array:
    """P-values adjusted by Holm's step-down rule for all that are given.

    Args:
        p_values: (M,); NaN (no test was made) stays NaN and does not count.

    Returns:
        (M,) at most 1.

    Example:
        >>> holm(np.array([0.01, 0.04, np.nan, 0.03]))
        array([0.03, 0.06,  nan, 0.06])
    """
    adjusted = np.full(len(p_values), np.nan)
    tested = np.nonzero(~np.isnan(p_values))[0]
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    stepped = np.maximum.accumulate(p_values[order] * factors)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _tested(value: float, variance: float, expected: float) -> DeLong:
    # Equal scores give a variance of 0, up to rounding.
    if np.isnan(variance) or variance < 1e-15:
        error = 0.0 if variance < 1e-15 else float("nan")
        return DeLong(value, error, float("nan"))
    error = float(np.sqrt(variance))
    p_value = 2 * NormalDist().cdf(-abs(value - expected) / error)
    return DeLong(value, error, p_value)


def _delong(positive: Flags, scores: Array) -> tuple[Array, Array]:
    """AUROCs (M,) and their covariance (M, M) for scores (M, N)."""
    models = len(scores)
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return np.full(models, np.nan), np.full((models, models), np.nan)
    of_positives, of_negatives = np.empty((models, m)), np.empty((models, n))
    for i, row in enumerate(scores):
        ranks = rankdata(row)
        of_positives[i] = (ranks[positive] - rankdata(row[positive])) / n
        of_negatives[i] = 1 - (ranks[~positive] - rankdata(row[~positive])) / m
    aurocs: Array = of_positives.mean(1)
    if min(m, n) < 2:
        return aurocs, np.full((models, models), np.nan)
    covariance = np.atleast_2d(np.cov(of_positives)) / m
    covariance += np.atleast_2d(np.cov(of_negatives)) / n
    return aurocs, covariance

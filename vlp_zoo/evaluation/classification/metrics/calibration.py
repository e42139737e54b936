"""Whether probabilities can be taken at their word, and what mends them.

A line for the logits of each label, one temperature for a softmax: fitted on validation
cases only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.classification.solvers.softmax import softmax

__all__ = [
    "Reliability",
    "fit_class_temperature",
    "fit_platt",
    "platt",
    "reliability",
    "rescale_classes",
]

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.float32]

EDGE = 1e-12
"""Probabilities are held this far from 0 and 1 before they become logits."""
SHARPEST = (-7.0, 7.0)
"""Bounds of the logarithm of 1 / temperature: separable data ask for infinity."""


@dataclass(frozen=True)
class Reliability:
    """Points of a reliability diagram, one per bin that holds cases.

    Attributes:
        probability: (b,) mean probability.
        rate: (b,) share of positives.
        cases: (b,) how many.
    """

    probability: Array
    rate: Array
    cases: npt.NDArray[np.int64]


def reliability(positive: Flags, probabilities: Array, bins: int = 15) -> Reliability:
    """Mean probability and positive rate in bins that hold equally many cases.

    The bins are those of `vlp_zoo.evaluation.statistics.metrics.calibration_error`, which is the
    mean gap of these points.

    Args:
        positive: (N,).
        probabilities: (N,) in 0..1.
        bins: Number of bins; equal probabilities are never parted.
    """
    order = np.argsort(probabilities, kind="stable")
    ranked = probabilities[order]
    first = np.searchsorted(ranked, ranked, side="left")
    place = first * bins // max(1, len(ranked))
    cases = np.bincount(place, minlength=1)
    held = cases > 0
    sums = [
        np.bincount(place, values, minlength=1)[held]
        for values in (ranked, positive[order].astype(np.float64))
    ]
    cases = cases[held]
    return Reliability(sums[0] / cases, sums[1] / cases, cases)


def fit_platt(positive: Flags, probabilities: Array) -> tuple[float, float]:
    """Slope and offset of the logits with least log loss, for one label.

    Platt, "Probabilistic outputs for support vector machines", 1999: a line, where one
    temperature cannot move the mean of a rare label. His targets, (n + 1) / (n + 2) for
    positives and 1 / (n + 2) for negatives, keep separable cases finite.

    Args:
        positive: (N,) of validation cases.
        probabilities: (N,) in 0..1.

    Returns:
        Slope and offset; NaN without both classes.
    """
    from sklearn.linear_model import LogisticRegression

    if positive.all() or not positive.any():
        return float("nan"), float("nan")
    logits = _logits(probabilities)
    # The solver wants a scale of about 1.
    centre, scale = float(logits.mean()), max(float(logits.std()), EDGE)
    high = (positive.sum() + 1) / (positive.sum() + 2)
    low = 1 / ((~positive).sum() + 2)
    target = np.where(positive, high, low)
    # Soft targets: each case counts as both, by its share.
    both = np.tile((logits - centre) / scale, 2)[:, None]
    classes = np.repeat([1, 0], len(target))
    fit = LogisticRegression(C=1e10, tol=1e-8, max_iter=1000)
    fit.fit(both, classes, sample_weight=np.concatenate([target, 1 - target]))
    slope = float(fit.coef_[0, 0]) / scale
    return slope, float(fit.intercept_[0]) - slope * centre


def fit_class_temperature(truth: npt.NDArray[np.int64], probabilities: Array) -> float:
    """Temperature of least log loss of a softmax.

    Args:
        truth: (N,) classes of validation cases from 0; -1 does not count.
        probabilities: (N, C).

    Returns:
        Within exp(±7); NaN without a known case.
    """
    known = truth >= 0
    if not known.any():
        return float("nan")
    logits = np.log(np.clip(probabilities[known], EDGE, 1))
    right = np.take_along_axis(logits, truth[known][:, None], 1)[:, 0]
    return _bisected(
        lambda sharpness: float(
            ((softmax(sharpness * logits) * logits).sum(1) - right).sum()
        )
    )


def _bisected(slope: Callable[[float], float]) -> float:
    """The temperature at which the slope of a loss over 1 / temperature is 0."""
    low, high = SHARPEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(np.exp(middle)) > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))


def rescale_classes(probabilities: Array, temperature: float) -> Array:
    """(N, C) with their logits divided by a temperature; NaN changes nothing.

    Example:
        >>> rescale_classes(np.array([[0.8, 0.2]]), 0.5).round(3)
        array([[0.941, 0.059]])
    """
    if np.isnan(temperature):
        return probabilities
    return softmax(np.log(np.clip(probabilities, EDGE, 1)) / temperature)


def platt(probabilities: Array, slope: float, offset: float) -> Array:
    """Probabilities with their logits on a line.

    Example:
        >>> platt(np.array([0.5, 0.9]), 0.5, 0.0)
        array([0.5 , 0.75])
    """
    return _sigmoid(slope * _logits(probabilities) + offset)


def _logits(probabilities: Array) -> Array:
    inner = np.clip(probabilities, EDGE, 1 - EDGE)
    logits: Array = np.log(inner) - np.log1p(-inner)
    return logits


def _sigmoid(logits: Array) -> Array:
    # Two branches: exp of a large logit would overflow.
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))

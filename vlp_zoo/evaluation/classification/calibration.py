"""Whether probabilities can be taken at their word, and one number that mends them.

The temperature is fitted on validation cases only. It keeps the order of the scores, so
AUROC does not move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.statistics.metrics import brier, calibration_error

__all__ = [
    "Calibration",
    "Reliability",
    "calibrate",
    "fit_class_temperature",
    "fit_temperature",
    "reliability",
    "rescale",
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


@dataclass(frozen=True)
class Calibration:
    """One label before and after temperature scaling.

    Attributes:
        temperature: Fitted on validation; NaN where that had one class only, and then
            ``after`` equals ``before``.
        before: Expected calibration error and Brier score on test.
        after: The same with the temperature.
        reliability: On test, before.
        rescaled: On test, after.
    """

    temperature: float
    before: dict[str, float]
    after: dict[str, float]
    reliability: Reliability
    rescaled: Reliability


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


def fit_temperature(positive: Flags, probabilities: Array) -> float:
    """Temperature of least log loss (Guo et al., ICML 2017), for one label.

    The loss is convex in 1 / temperature, so the zero of its slope is found by
    bisection.

    Args:
        positive: (N,) of validation cases.
        probabilities: (N,) in 0..1.

    Returns:
        Above 1 for overconfident probabilities; within exp(±7); NaN without both
        classes, which do not bound it.
    """
    if positive.all() or not positive.any():
        return float("nan")
    logits = _logits(probabilities)
    low, high = SHARPEST
    for _ in range(60):
        middle = (low + high) / 2
        slope = float(logits @ (_sigmoid(np.exp(middle) * logits) - positive))
        low, high = (low, middle) if slope > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))


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
    low, high = SHARPEST
    for _ in range(60):
        middle = (low + high) / 2
        expected = (_softmax(np.exp(middle) * logits) * logits).sum(1)
        slope = float((expected - right).sum())
        low, high = (low, middle) if slope > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))


def rescale_classes(probabilities: Array, temperature: float) -> Array:
    """(N, C) with their logits divided by a temperature; NaN changes nothing.

    Example:
        >>> rescale_classes(np.array([[0.8, 0.2]]), 0.5).round(3)
        array([[0.941, 0.059]])
    """
    if np.isnan(temperature):
        return probabilities
    return _softmax(np.log(np.clip(probabilities, EDGE, 1)) / temperature)


def rescale(probabilities: Array, temperature: float) -> Array:
    """Probabilities with their logits divided by a temperature.

    Example:
        >>> rescale(np.array([0.5, 0.9]), 2.0)
        array([0.5 , 0.75])
    """
    return _sigmoid(_logits(probabilities) / temperature)


def calibrate(
    labels: Labels, scores: Array, val_labels: Labels, val_scores: Array
) -> list[Calibration | None]:
    """Calibration of each label on test, before and after scaling fitted on val.

    Args:
        labels: (N, K) of test cases, 1, 0 and NaN = unknown.
        scores: (N, K) probabilities.
        val_labels: (M, K) of validation cases.
        val_scores: (M, K).

    Returns:
        K entries; None where test has no known case or no scores.
    """
    found: list[Calibration | None] = []
    for k in range(labels.shape[1]):
        known, fitted = ~np.isnan(labels[:, k]), ~np.isnan(val_labels[:, k])
        mine, theirs = scores[known, k], val_scores[fitted, k]
        if not known.any() or np.isnan(mine).any() or np.isnan(theirs).any():
            found.append(None)
            continue
        positive = labels[known, k] > 0.5
        temperature = fit_temperature(val_labels[fitted, k] > 0.5, theirs)
        scaled = mine if np.isnan(temperature) else rescale(mine, temperature)
        found.append(
            Calibration(
                temperature,
                _errors(positive, mine),
                _errors(positive, scaled),
                reliability(positive, mine),
                reliability(positive, scaled),
            )
        )
    return found


def _errors(positive: Flags, probabilities: Array) -> dict[str, float]:
    once = np.ones((len(positive), 1), np.float32)
    return {
        "ece": calibration_error(positive, probabilities),
        "brier": float(brier(positive, probabilities, once)[0]),
    }


def _logits(probabilities: Array) -> Array:
    inner = np.clip(probabilities, EDGE, 1 - EDGE)
    logits: Array = np.log(inner) - np.log1p(-inner)
    return logits


def _sigmoid(logits: Array) -> Array:
    # Two branches: exp of a large logit would overflow.
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))


def _softmax(logits: Array) -> Array:
    grown = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(grown / grown.sum(1, keepdims=True))

"""One class out of several; a case is called what has the highest score."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.classification.metrics.grade_metrics import (
    GRADE_METRICS,
    grade_values,
    one_vs_rest_auroc,
)
from vlp_zoo.evaluation.statistics.intervals import Statistic, case_means

__all__ = [
    "HEADLINE",
    "class_errors",
    "class_statistic",
    "decision_statistic",
    "per_class",
    "predicted_of",
    "truth_of",
]

Array = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]
Labels = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float32]

HEADLINE = "balanced_accuracy"


def truth_of(labels: Labels) -> Classes:
    """One-hot rows to classes from 0; -1 where the class is not known.

    Example:
        >>> truth_of(np.array([[0, 1], [1, 0], [np.nan, np.nan]], np.float32))
        array([ 1,  0, -1])
    """
    known = (labels == 1).any(1)
    return np.where(known, (labels == 1).argmax(1), -1).astype(np.int64)


def predicted_of(scores: Array) -> Classes:
    """The class of the highest score, of equal ones the first."""
    return np.asarray(scores.argmax(1), np.int64)


def class_statistic(metric: str, truth: Classes, scores: Array) -> Statistic:
    """A metric of one class out of several as a statistic of the case weights.

    Args:
        metric: A name of `vlp_zoo.evaluation.classification.metrics.grade_metrics.GRADE_METRICS`,
            ``"macro_auroc"`` (each class against the rest) or ``"brier"`` (summed over
            the classes).
        truth: (N,) from 0; cases of -1 do not count.
        scores: (N, C).
    """
    if metric in GRADE_METRICS:
        predicted = predicted_of(scores)
        return decision_statistic(metric, truth, predicted, scores.shape[1])
    known = truth >= 0
    if metric == "macro_auroc":
        return _known(known, partial(one_vs_rest_auroc, truth[known], scores[known]))
    errors = class_errors(truth[known], scores[known])
    return _known(known, case_means(errors))


def decision_statistic(
    metric: str, truth: Classes, predicted: Classes, classes: int
) -> Statistic:
    """A metric of decisions (N,), where `class_statistic` takes scores."""
    known = truth >= 0
    return _known(
        known, partial(grade_values, metric, truth[known], predicted[known], classes)
    )


def _known(known: npt.NDArray[np.bool_], of: Callable[[Weights], Array]) -> Statistic:
    return Statistic(lambda weights: of(weights[known]), len(known))


def class_errors(truth: Classes, probabilities: Array) -> Array:
    """Squared distance (N,) of probabilities (N, C) and truth, over the classes."""
    distance = probabilities.copy()
    distance[np.arange(len(truth)), truth] -= 1
    return np.asarray((distance**2).sum(1))


def per_class(
    metric: str, values: Array, names: Sequence[str], left_out: Collection[str]
) -> dict[str, float | None]:
    """Values (C,) by class name, where the metric has one for each class."""
    result: dict[str, float | None] = dict.fromkeys(names, None)
    if len(values) == len(names) and metric not in ("accuracy", "quadratic_kappa"):
        for name, value in zip(names, values, strict=True):
            result[name] = None if name in left_out else float(value)
    return result

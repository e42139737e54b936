"""Metrics of one grade out of several: kappa, balanced accuracy, F1, one-vs-rest AUROC.

As in `vlp_zoo.evaluation.statistics.metrics`, each takes case weights (N, R), one column per
replicate. Accuracy alone hides that most cases share a grade, and that a disease missed
by three grades is worse than one missed by one: all are reported together.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.statistics.metrics import ratio, roc_auc

__all__ = [
    "GRADE_METRICS",
    "accuracy",
    "class_f1",
    "class_recall",
    "confusion",
    "grade_values",
    "one_vs_rest_auroc",
    "quadratic_kappa",
]

Array = npt.NDArray[np.float64]
Grades = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float32]


def confusion(
    truth: Grades, predicted: Grades, classes: int, weights: Weights
) -> Array:
    """How often each grade was called each grade.

    Args:
        truth: (N,) from 0.
        predicted: (N,).
        classes: C.
        weights: (N, R) whole numbers.

    Returns:
        (C, C, R), truth first.

    Raises:
        ValueError: If a grade is not in 0..C-1.

    Example:
        >>> table = confusion(
        ...     np.array([0, 1, 1]), np.array([0, 0, 1]), 2, np.ones((3, 1), np.float32)
        ... )
        >>> table[:, :, 0]
        array([[1., 0.],
               [1., 1.]])
    """
    for grades in (truth, predicted):
        if len(grades) and not 0 <= grades.min() <= grades.max() < classes:
            raise ValueError(f"grades outside 0 to {classes - 1}")
    cell = truth * classes + predicted
    table = np.zeros((classes * classes, weights.shape[1]))
    for index in np.unique(cell):
        table[index] = weights[cell == index].sum(0, dtype=np.float64)
    return table.reshape(classes, classes, -1)


def quadratic_kappa(table: Array) -> Array:
    """Cohen's kappa with squared distances of grades, for ordered grades.

    Args:
        table: (C, C, R).

    Returns:
        (R,); NaN where chance alone would never disagree (one grade everywhere).
    """
    grades = np.arange(len(table))
    cost = ((grades[:, None] - grades) ** 2).astype(np.float64)
    chance = table.sum(1)[:, None] * table.sum(0)[None]
    seen = np.tensordot(cost, table)
    expected = ratio(np.tensordot(cost, chance), table.sum((0, 1)))
    return 1 - ratio(seen, expected)


def accuracy(table: Array) -> Array:
    """Share of cases called right: (C, C, R) to (R,)."""
    return ratio(np.einsum("ccr->r", table), table.sum((0, 1)))


def class_recall(table: Array) -> Array:
    """Recall of each grade: (C, C, R) to (C, R), NaN where there is no such case.

    The mean over grades is the balanced accuracy (ACA).
    """
    return ratio(np.einsum("ccr->cr", table), table.sum(1))


def class_f1(table: Array) -> Array:
    """F1 of each grade: (C, C, R) to (C, R), NaN where neither true nor predicted."""
    return ratio(2 * np.einsum("ccr->cr", table), table.sum(0) + table.sum(1))


GRADE_METRICS: dict[str, Callable[[Array], Array]] = {
    "quadratic_kappa": quadratic_kappa,
    "balanced_accuracy": class_recall,
    "accuracy": accuracy,
    "macro_f1": class_f1,
}
"""Metrics of a confusion table, by the name of their mean over grades."""


def grade_values(
    metric: str, truth: Grades, predicted: Grades, classes: int, weights: Weights
) -> Array:
    """A metric of `GRADE_METRICS` as a statistic of the case weights.

    Args:
        metric: Name of the metric.
        truth: (N,) from 0.
        predicted: (N,).
        classes: C.
        weights: (N, R) whole numbers.

    Returns:
        (C, R) for metrics that are a mean over grades, else (1, R).
    """
    table = confusion(truth, predicted, classes, weights)
    return np.atleast_2d(GRADE_METRICS[metric](table))


def one_vs_rest_auroc(truth: Grades, scores: Array, weights: Weights) -> Array:
    """AUROC of each grade's score against all other grades.

    Args:
        truth: (N,) from 0.
        scores: (N, C), such as probabilities.
        weights: (N, R) whole numbers.

    Returns:
        (C, R); NaN where a replicate lacks the grade, or has nothing else. The mean
        over grades is the macro AUROC.
    """
    return np.stack(
        [roc_auc(truth == k, scores[:, k], weights) for k in range(scores.shape[1])]
    )

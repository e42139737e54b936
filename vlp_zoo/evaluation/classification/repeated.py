"""Scores of one run under several conditions, stored beside its cases.

Conditions are draws of shots, or corruptions of the test images. A metric ``NAME@GROUP`` is
the mean over the conditions of a group; it can be made again from what is stored.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.classification.classes import decision_statistic, predicted_of
from vlp_zoo.evaluation.classification.kinds import Exclusive, Kind
from vlp_zoo.evaluation.classification.metrics.grade_metrics import GRADE_METRICS
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import Statistic, label_statistic
from vlp_zoo.evaluation.statistics.metrics import METRICS

__all__ = ["as_stored", "mean_statistic", "score_columns", "stored_statistics"]

Array = npt.NDArray[np.float64]


def as_stored(kind: Kind, scores: Array) -> Array:
    """Scores (N, K) as they are stored, so that the numbers can be made again."""
    if isinstance(kind, Exclusive):
        return scores
    return scores.astype(np.float32).astype(np.float64)


def score_columns(
    kind: Kind, names: Sequence[str], scores: Array, condition: str
) -> dict[str, npt.NDArray[Any]]:
    """Columns of `Cases` for scores (N, K): what a case is called, or a score per label.

    Args:
        kind: The kind of the labels.
        names: K names.
        scores: (N, K).
        condition: ``"GROUP NAME"``, neither with a space inside.
    """
    if isinstance(kind, Exclusive):
        return {f"predicted {condition}": predicted_of(scores)}
    return {
        f"score {condition} {name}": column.astype(np.float32)
        for name, column in zip(names, scores.T, strict=True)
    }


def stored_statistics(
    metric: str, cases: Cases, left_out: Collection[str]
) -> list[Statistic]:
    """A metric ``NAME@GROUP`` of stored cases, one statistic for each condition.

    Args:
        metric: ``"balanced_accuracy@16"``, ``"macro_auroc@corrupted"``, ...
        cases: Cases with columns as of `score_columns`.
        left_out: Labels that do not count; classes all do.

    Returns:
        None of them where the predictions do not hold it.
    """
    name, _, group = metric.partition("@")
    names = cases.label_names
    if "class" in cases.columns:
        if name not in GRADE_METRICS:
            return []
        return [
            decision_statistic(name, cases.columns["class"], called, len(names))
            for column, called in cases.columns.items()
            if column.startswith(f"predicted {group} ")
        ]
    used = [label for label in names if label not in left_out]
    if name not in METRICS or not used:
        return []
    labels = cases.labels[:, [names.index(label) for label in used]]
    first = re.compile(rf"score ({re.escape(group)} \S+) {re.escape(used[0])}")
    found = []
    for column in cases.columns:
        if match := first.fullmatch(column):
            each = [cases.columns[f"score {match[1]} {label}"] for label in used]
            scores = np.stack(each, 1).astype(np.float64)
            found.append(label_statistic(name, labels, scores))
    return found


def mean_statistic(statistics: Sequence[Statistic]) -> Statistic:
    """The mean of several statistics of the same cases, label by label."""
    parts = list(statistics)
    return Statistic(
        lambda weights: np.asarray(np.mean([each(weights) for each in parts], axis=0)),
        parts[0].cases,
    )

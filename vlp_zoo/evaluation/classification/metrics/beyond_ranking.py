"""What scores of labels are worth at thresholds, which validation cases choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.classification.metrics.operating_points import (
    choose_thresholds,
    point_statistic,
)
from vlp_zoo.evaluation.protocol import Measure, by_label
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import interval

__all__ = ["POINTS", "point_measures"]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]

POINTS = {
    "sensitivity@specificity95": ("specificity_95", "sensitivity", "specificity"),
    "specificity@sensitivity95": ("sensitivity_95", "specificity", "sensitivity"),
    "f1@val": ("best_f1", "f1", "f1"),
    "mcc@val": ("best_mcc", "mcc", "mcc"),
}
"""Name to the rule that chooses the threshold, the metric, and what was aimed at."""


def point_measures(
    cases: Cases,
    used: Sequence[int],
    val_labels: Labels,
    validation: Array,
    **how: int,
) -> list[Measure]:
    """Each of `POINTS` on the test cases, means over labels.

    Args:
        cases: Labels and scores of the test split.
        used: Indices of the labels that count.
        val_labels: (M, K).
        validation: (M, K) scores of the validation cases.
        **how: ``replicates`` of the intervals and their ``seed``.
    """
    names = cases.label_names
    labels, scores = cases.labels[:, used], cases.scores[:, used]
    measures = []
    for title, (rule, metric, aimed) in POINTS.items():
        chosen = choose_thresholds(rule, val_labels[:, used], validation[:, used])
        statistic = point_statistic(metric, labels, scores, chosen)
        values = statistic.values
        found = interval(statistic, cases.patient_ids, **how)
        details: dict[str, Any] = {
            "thresholds": by_label(names, used, chosen),
            "labels_defined": int((~np.isnan(values)).sum()),
        }
        if aimed != metric:
            # 95 % on validation is not 95 % on test.
            reached = point_statistic(aimed, labels, scores, chosen).value
            details[f"{aimed}_reached"] = reached
        per_label = by_label(names, used, values)
        measures.append(Measure.of(title, found, per_label, **details))
    return measures

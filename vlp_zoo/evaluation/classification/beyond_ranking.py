"""What a score must be beside well ranked: calibrated, of use at a threshold, for all.

Temperatures and thresholds come from validation cases, groups from what the source
knows of the test cases. Everything is a measure with its own interval where it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.classification.calibration import (
    fit_class_temperature,
    fit_temperature,
    rescale,
    rescale_classes,
)
from vlp_zoo.evaluation.classification.classes import truth_of
from vlp_zoo.evaluation.classification.operating_points import (
    choose_thresholds,
    point_statistic,
)
from vlp_zoo.evaluation.protocol import Measure, by_label
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import Statistic, interval
from vlp_zoo.evaluation.statistics.subgroups import slice_groups

__all__ = ["POINTS", "point_measures", "scaled_scores", "slice_measures"]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]

POINTS = {
    "sensitivity@specificity95": ("specificity_95", "sensitivity", "specificity"),
    "specificity@sensitivity95": ("sensitivity_95", "specificity", "sensitivity"),
    "f1@val": ("best_f1", "f1", "f1"),
    "mcc@val": ("best_mcc", "mcc", "mcc"),
}
"""Name to the rule that chooses the threshold, the metric, and what was aimed at."""

SLICE_REPLICATES = 200
"""Most replicates of the interval of a group: there are many groups."""


def scaled_scores(
    scores: Array, labels: Labels, validation: Array, single_label: bool
) -> tuple[Array, list[float]]:
    """Test probabilities at the temperatures that validation cases ask for.

    Args:
        scores: (N, K) of the test cases; a NaN column stays as it is.
        labels: (M, K) of the validation cases.
        validation: (M, K) their probabilities.
        single_label: One temperature for a softmax, else one for each label.

    Returns:
        (N, K), and the temperatures; NaN where validation cannot say.
    """
    if single_label:
        temperature = fit_class_temperature(truth_of(labels), validation)
        return rescale_classes(scores, temperature), [temperature]
    scaled, temperatures = scores.copy(), []
    for k in range(labels.shape[1]):
        known = ~np.isnan(labels[:, k])
        theirs = validation[known, k]
        found = float("nan")
        if len(theirs) and not np.isnan(theirs).any():
            found = fit_temperature(labels[known, k] > 0.5, theirs)
        if not np.isnan(found):
            scaled[:, k] = rescale(scores[:, k], found)
        temperatures.append(found)
    return scaled, temperatures


def point_measures(
    cases: Cases,
    val_labels: Labels,
    validation: Array,
    left_out: Mapping[str, str],
    *,
    replicates: int,
    seed: int,
) -> list[Measure]:
    """Each of `POINTS` on the test cases, means over labels.

    Args:
        cases: Labels and scores of the test split.
        val_labels: (M, K).
        validation: (M, K) scores of the validation cases.
        left_out: Labels that count for nothing.
        replicates: Number of bootstrap replicates of the intervals; 0 for none.
        seed: Seed of the bootstrap replicates.
    """
    names = cases.label_names
    used = [k for k, name in enumerate(names) if name not in left_out]
    labels, scores = cases.labels[:, used], cases.scores[:, used]
    measures = []
    for title, (rule, metric, aimed) in POINTS.items():
        chosen = choose_thresholds(rule, val_labels[:, used], validation[:, used])
        statistic = point_statistic(metric, labels, scores, chosen)
        values = statistic.values
        found = interval(statistic, cases.patient_ids, replicates=replicates, seed=seed)
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


def slice_measures(
    cases: Cases,
    headline: str,
    statistic: Callable[[Sequence[int]], Statistic],
    left_out: Mapping[str, str],
    *,
    single_label: bool,
    minimum: int,
    least: int,
    replicates: int,
    seed: int,
) -> tuple[list[Measure], dict[str, Any]]:
    """Gap and worst group of the headline by each ``group NAME`` column of the cases.

    A label counts if it can be judged in every group that is large enough: means over
    different labels are no gap between groups.

    Args:
        cases: Labels, scores and groups of the test split.
        headline: Name of the headline, for the names of the measures.
        statistic: Columns of labels to the headline's statistic of them.
        left_out: Labels that count for nothing.
        single_label: Whether a class is judged by its cases alone.
        minimum: Patients below which a group is only listed.
        least: Positives, and negatives, that a label needs in a group.
        replicates: Number of bootstrap replicates of the intervals.
        seed: Seed of the bootstrap replicates.

    Returns:
        Two measures for each column with two groups or more, and details.
    """
    measures: list[Measure] = []
    not_sliced: dict[str, Any] = {}
    patients = np.asarray(cases.patient_ids)
    for column, values in cases.columns.items():
        if not column.startswith("group "):
            continue
        attribute = column.removeprefix("group ")
        members = {
            name: np.array([value == name for value in values])
            for name in sorted({str(v) for v in values if v is not None})
        }
        large = [m for m in members.values() if len(set(patients[m])) >= minimum]
        used = [
            k
            for k, name in enumerate(cases.label_names)
            if name not in left_out
            and all(_judged(cases.labels[m, k], least, single_label) for m in large)
        ]
        if len(large) < 2 or not used:
            reason = (
                "fewer than two large groups"
                if len(large) < 2
                else ("no label can be judged in every large group")
            )
            sizes = {name: len(set(patients[m])) for name, m in members.items()}
            not_sliced[attribute] = {"reason": reason, "patients": sizes}
            continue
        found = slice_groups(
            statistic(used),
            [None if value is None else str(value) for value in values],
            cases.patient_ids,
            minimum=minimum,
            replicates=min(replicates, SLICE_REPLICATES),
            seed=seed,
        )
        if found.worst is None:
            not_sliced[attribute] = {"reason": "undefined", **found.left_out}
            continue
        details: dict[str, Any] = {
            "groups": {
                name: [each.value, each.low, each.high]
                for name, each in found.groups.items()
            },
            "groups_left_out": found.left_out,
            "labels": [cases.label_names[k] for k in used],
            "worst": found.worst,
        }
        worst = found.groups[found.worst]
        measures += [
            Measure(f"{headline}_gap_by_{attribute}", found.gap, details=details),
            Measure.of(f"{headline}_worst_by_{attribute}", worst, **details),
        ]
    return measures, {"not_sliced": not_sliced} if not_sliced else {}


def _judged(labels: Labels, least: int, single_label: bool) -> bool:
    positives = int((labels == 1).sum())
    negatives = int((labels == 0).sum())
    # Recall of a class needs its cases; an AUROC needs the others too.
    return min(positives, positives if single_label else negatives) >= max(1, least)

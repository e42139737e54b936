"""What a classifier's test scores amount to, whatever made them.

Labels that may occur together are judged one by one and averaged; classes that exclude
each other (`vlp_zoo.evaluation.classification.classes`) are one decision. Every setting was chosen on
validation cases; what is read from the test split here is read once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.classification.beyond_ranking import (
    point_measures,
    scaled_scores,
    slice_measures,
)
from vlp_zoo.evaluation.classification.classes import (
    HEADLINE,
    class_metrics,
    class_statistic,
    class_value,
    per_class,
    predicted_of,
    truth_of,
)
from vlp_zoo.evaluation.protocol import Measure, Outcome, Protocol, by_label
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import (
    Statistic,
    interval,
    label_statistic,
)
from vlp_zoo.evaluation.statistics.metrics import calibration_error, label_values, macro
from vlp_zoo.evaluation.statistics.subgroups import groups_of
from vlp_zoo.evaluation.tasks import Task

__all__ = ["METRICS", "headline_of", "scored", "selection_value"]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]

MINIMUM_GROUP = 50
"""Patients below which a group is listed and not measured."""

METRICS = ("macro_auroc", "macro_auprc", "macro_brier", "macro_ece")


def headline_of(task: Task) -> str:
    """Metric that settings are chosen by and that leads the table."""
    return HEADLINE if task.single_label else "macro_auroc"


def selection_value(single_label: bool, labels: Labels, scores: Array) -> float:
    """The headline on validation cases; NaN if no label can be judged.

    Args:
        single_label: Whether classes exclude each other.
        labels: (N, K).
        scores: (N, K), larger = more likely.
    """
    if single_label:
        return class_value(HEADLINE, labels, scores)
    return float(macro(label_values("macro_auroc", labels, scores))[0])


def scored(
    scores: Array,
    task: Task,
    protocol: Protocol,
    seed: int,
    *,
    n_train: int,
    undefined: Mapping[str, str],
    details: Mapping[str, Any],
    validation: Array,
    probabilities: bool = True,
) -> Outcome:
    """What any classifier's test scores amount to.

    Args:
        scores: (N, K) of the test cases; a NaN column was not predicted.
        task: Labels.
        protocol: Says how many replicates.
        seed: Seed of the bootstrap replicates.
        n_train: Training cases used.
        undefined: Labels that could not be learnt; those that the test split cannot
            judge are added.
        details: Stored with every measure.
        validation: (M, K) scores of the validation cases, for thresholds,
            temperatures, and a headline that others may choose by.
        probabilities: Whether scores are probabilities, which can be calibrated.
    """
    test = task.splits["test"]
    missing = {**undefined, **task.excluded}
    cases = Cases(test.uids, test.patient_ids, task.label_names, test.labels, scores)
    for attribute, groups in groups_of(test).items():
        cases.columns[f"group {attribute}"] = np.array(groups, object)
    if task.single_label:
        truth = truth_of(test.labels)
        cases.columns["class"] = truth
        cases.columns["predicted"] = predicted_of(scores)
        measures = [
            _class_measure(metric, cases, protocol, seed, missing)
            for metric in class_metrics(task.ordinal, probabilities)
        ]
    else:
        metrics = METRICS if probabilities else METRICS[:2]
        measures = [
            _label_measure(metric, cases, protocol, seed, missing) for metric in metrics
        ]
    shared: dict[str, Any] = {
        "labels_used": len(task.label_names) - len(missing),
        **details,
    }
    val_labels = task.splits["val"].labels
    measure = _class_measure if task.single_label else _label_measure
    if probabilities:
        scaled, temperatures = scaled_scores(
            scores, val_labels, validation, task.single_label
        )
        again = replace(cases, scores=scaled)
        for metric in ("brier", "ece") if task.single_label else METRICS[2:]:
            found = measure(metric, again, protocol, seed, missing)
            extra = {**found.details, "temperatures": temperatures}
            measures.append(replace(found, metric=f"{metric}_scaled", details=extra))
    if not task.single_label:
        measures += point_measures(
            cases,
            val_labels,
            validation,
            missing,
            replicates=protocol.replicates,
            seed=seed,
        )
    judged = [k for k, label in enumerate(task.label_names) if label not in missing]
    if task.single_label:
        judged = list(range(len(task.label_names)))
    measures.append(
        Measure.validation(
            headline_of(task),
            selection_value(
                task.single_label, val_labels[:, judged], validation[:, judged]
            ),
        )
    )
    sliced, notes = slice_measures(
        cases,
        headline_of(task),
        partial(_headline_statistic, cases, task.single_label),
        missing,
        single_label=task.single_label,
        minimum=MINIMUM_GROUP,
        least=task.min_positives,
        replicates=protocol.replicates,
        seed=seed,
    )
    return Outcome([*measures, *sliced], cases, n_train, missing, {**shared, **notes})


def _headline_statistic(
    cases: Cases, single_label: bool, used: Sequence[int]
) -> Statistic:
    """The headline of some columns of labels."""
    if not single_label:
        return label_statistic(
            "macro_auroc", cases.labels[:, used], cases.scores[:, used]
        )
    whole = class_statistic(HEADLINE, cases.columns["class"], cases.scores)
    return Statistic(lambda weights: whole(weights)[list(used)], whole.cases)


def _label_measure(
    metric: str, cases: Cases, protocol: Protocol, seed: int, missing: Mapping[str, str]
) -> Measure:
    names = cases.label_names
    used = [k for k, label in enumerate(names) if label not in missing]
    statistic = label_statistic(metric, cases.labels[:, used], cases.scores[:, used])
    values = statistic.values
    extra: dict[str, Any] = {"labels_defined": int((~np.isnan(values)).sum())}
    replicates = 0 if metric == "macro_ece" else protocol.replicates
    found = interval(statistic, cases.patient_ids, replicates=replicates, seed=seed)
    if replicates:
        extra["undefined_in_replicates"] = found.undefined
    return Measure.of(metric, found, by_label(names, used, values), **extra)


def _class_measure(
    metric: str, cases: Cases, protocol: Protocol, seed: int, missing: Mapping[str, str]
) -> Measure:
    truth, names = cases.columns["class"], cases.label_names
    known = truth >= 0
    if metric == "ece":
        called = cases.columns["predicted"][known]
        sure = cases.scores[known].max(1)
        return Measure(metric, calibration_error(called == truth[known], sure))
    statistic = class_statistic(metric, truth, cases.scores)
    values = statistic.values
    found = interval(
        statistic, cases.patient_ids, replicates=protocol.replicates, seed=seed
    )
    extra: dict[str, Any] = {}
    if len(values) > 1:
        extra["labels_defined"] = int((~np.isnan(values)).sum())
        extra["undefined_in_replicates"] = found.undefined
    if metric in (HEADLINE, "macro_auroc"):
        extra["chance"] = 1 / len(names) if metric == HEADLINE else 0.5
    each = per_class(metric, values, names, missing)
    return Measure.of(metric, found, each, **extra)

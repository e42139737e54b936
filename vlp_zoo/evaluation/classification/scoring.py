"""What a classifier's test scores amount to, whatever made them.

Every setting was chosen on validation cases, which also give temperatures and thresholds;
what is read from the test split here is read once. Groups come from what the source knows
of the test cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.classification.kinds import Kind, kind_of
from vlp_zoo.evaluation.protocol import Measure, Outcome, Protocol
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.subgroups import groups_of, slice_groups
from vlp_zoo.evaluation.tasks import Task

__all__ = ["scored", "slice_measures"]

Array = npt.NDArray[np.float64]

MINIMUM_GROUP = 50
"""Patients below which a group is listed and not measured."""
SLICE_REPLICATES = 200
"""Most replicates of the interval of a group: there are many groups."""


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
            recalibration, and a headline that others may choose by.
        probabilities: Whether scores are probabilities, which can be calibrated.
    """
    kind, test = kind_of(task), task.splits["test"]
    missing = {**undefined, **task.excluded}
    ids = list(test.uids), list(test.patient_ids)
    cases = Cases(*ids, task.label_names, test.labels, scores)
    for attribute, groups in groups_of(test).items():
        cases.columns[f"group {attribute}"] = np.array(groups, object)
    cases.columns.update(kind.columns(test.labels, scores))
    how = {"replicates": protocol.replicates, "seed": seed}
    measures = [
        kind.measure(metric, cases, missing, **how)
        for metric in kind.metrics(probabilities)
    ]
    val_labels = task.splits["val"].labels
    if probabilities:
        mended, lines = kind.recalibrated(scores, val_labels, validation)
        again = replace(cases, scores=mended)
        for metric in kind.calibrated:
            found = kind.measure(metric, again, missing, **how)
            name, extra = f"{metric}_{kind.recalibration}", {**found.details, **lines}
            measures.append(replace(found, metric=name, details=extra))
    measures += kind.points(cases, val_labels, validation, missing, **how)
    judged = kind.counted(task.label_names, missing)
    value = kind.value(val_labels[:, judged], validation[:, judged])
    measures.append(Measure.validation(kind.headline, value))
    sliced, notes = slice_measures(
        cases, kind, missing, minimum=MINIMUM_GROUP, least=task.min_positives, **how
    )
    used = len(task.label_names) - len(missing)
    shared = {"labels_used": used, **details, **notes}
    return Outcome([*measures, *sliced], cases, n_train, missing, shared)


def slice_measures(
    cases: Cases,
    kind: Kind,
    left_out: Mapping[str, str],
    *,
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
        kind: The kind of the labels.
        left_out: Labels that count for nothing.
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
            and all(kind.judged(cases.labels[m, k], least) for m in large)
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
            kind.stored(cases, used),
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
            Measure.of(
                f"{kind.headline}_gap_by_{attribute}",
                found.gap,
                gap_by_chance=found.chance,
                p_value=found.p_value,
                **details,
            ),
            Measure.of(f"{kind.headline}_worst_by_{attribute}", worst, **details),
        ]
    return measures, {"not_sliced": not_sliced} if not_sliced else {}

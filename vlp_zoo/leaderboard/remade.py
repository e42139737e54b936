"""A stored metric made again, from the predictions of every case."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.classification.classes import class_statistic
from vlp_zoo.evaluation.classification.metrics.grade_metrics import GRADE_METRICS
from vlp_zoo.evaluation.classification.repeated import (
    mean_statistic,
    stored_statistics,
)
from vlp_zoo.evaluation.grounding.metrics import finding_columns
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.segmentation.metrics import Overlap
from vlp_zoo.evaluation.statistics.intervals import (
    Statistic,
    case_means,
    label_statistic,
)
from vlp_zoo.evaluation.statistics.metrics import METRICS

__all__ = ["statistic_of"]

Array = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]


def statistic_of(
    metric: str,
    cases: Cases,
    left_out: Collection[str],
    stored: Collection[str] | None = None,
) -> Statistic | None:
    """A stored metric as a function of case weights.

    Args:
        metric: Name of the metric in the results.
        cases: Stored cases of one run.
        left_out: Labels that do not count.
        stored: Labels that do not count in the stored value; None = the same.

    Returns:
        None for metrics that cannot be had from weighted cases, such as a median, and
        for those that can, but not of other labels than the stored ones.
    """
    others = stored is not None and set(stored) != set(left_out)
    if "class" in cases.columns and (classes := _class_statistic(metric, cases)):
        # Classes that exclude each other all count.
        return None if others else classes
    if metric in METRICS and cases.label_names:
        used = [k for k, n in enumerate(cases.label_names) if n not in left_out]
        if not used:
            return None
        return label_statistic(metric, cases.labels[:, used], cases.scores[:, used])
    if found := _repeated_statistic(metric, cases, left_out):
        return found
    if found := _overlap_statistic(metric, cases, left_out):
        return found
    if found := _box_statistic(metric, cases, left_out):
        return found
    if found := _report_statistic(metric, cases, left_out):
        return found
    if "finding" in cases.columns:
        return _finding_statistic(metric, cases, left_out)
    if others:
        return None
    if metric in cases.columns and cases.columns[metric].dtype.kind in "fiub":
        return case_means(cases.columns[metric].astype(np.float64))
    way, _, k = metric.partition("_recall@")
    if k.isdigit() and f"{way}_rank" in cases.columns:
        # Older predictions hold the middle rank of ties alone.
        hits = cases.columns[f"{way}_rank"] <= int(k)
        return case_means(hits.astype(np.float64))
    return None


def _class_statistic(metric: str, cases: Cases) -> Statistic | None:
    """A metric of classes that exclude each other."""
    if "@" in metric:
        return _repeated_statistic(metric, cases, ())
    if "predicted" not in cases.columns or metric not in (
        *GRADE_METRICS,
        "macro_auroc",
        "brier",
    ):
        return None
    return class_statistic(metric, cases.columns["class"], cases.scores)


def _repeated_statistic(
    metric: str, cases: Cases, left_out: Collection[str]
) -> Statistic | None:
    """A metric ``NAME@GROUP``, the mean over draws or conditions of the group."""
    found = stored_statistics(metric, cases, left_out)
    return mean_statistic(found) if found else None


def _finding_statistic(
    metric: str, cases: Cases, left_out: Collection[str]
) -> Statistic | None:
    """A metric of phrases: the mean over findings of the mean over their phrases."""
    spelt = {name.replace(" ", "_"): name for name in cases.columns}
    values = cases.columns[spelt[metric]] if metric in spelt else np.empty(0, object)
    if values.dtype.kind not in "fiub":
        return None
    findings = cases.columns["finding"].astype(str)
    kept = np.where(np.isin(findings, list(left_out)), np.nan, values)
    if np.isnan(kept).all():
        return None
    return case_means(finding_columns(kept, findings.tolist())[0])


def _overlap_statistic(
    metric: str, cases: Cases, left_out: Collection[str]
) -> Statistic | None:
    """A metric of masks from what is stored per structure: pixel counts, distances."""
    counts = [entry.name for entry in fields(Overlap)]
    used = [name for name in cases.label_names if name not in left_out]
    if not used or any(f"{c} {n}" not in cases.columns for c in counts for n in used):
        return None
    measured = [f"{metric} {name}" for name in used]
    if set(measured) <= set(cases.columns):
        values = np.stack([cases.columns[column] for column in measured], 1)
        return case_means(values.astype(np.float64))
    # Other boards need no decoders, which this module brings along.
    from vlp_zoo.evaluation.segmentation.segmentation import OVERLAPS, stored_overlap

    return OVERLAPS[metric](stored_overlap(cases, used)) if metric in OVERLAPS else None


def _box_statistic(
    metric: str, cases: Cases, left_out: Collection[str]
) -> Statistic | None:
    """Average precision from the boxes that are stored per image."""
    used = [name for name in cases.label_names if name not in left_out]
    if not used or not {"truth", "found"} <= set(cases.columns):
        return None
    from vlp_zoo.evaluation.detection.cases import (
        AVERAGED,
        matched_boxes,
        precision,
        stored_boxes,
    )

    if metric not in AVERAGED:
        return None
    images, names = stored_boxes(cases, used)
    return precision(matched_boxes(images, names), AVERAGED[metric])


def _report_statistic(
    metric: str, cases: Cases, left_out: Collection[str]
) -> Statistic | None:
    """F1 of the findings that both texts state, which are stored as labels and scores."""
    if "generated" not in cases.columns:
        return None
    from vlp_zoo.evaluation.reports.scores import finding_statistics
    from vlp_zoo.evaluation.reports.text_metrics import finding_counts

    used = [k for k, name in enumerate(cases.label_names) if name not in left_out]
    said = cases.scores.astype(np.float32)
    counts = finding_counts(cases.labels, said)
    return finding_statistics(counts, used).get(metric)

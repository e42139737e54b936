"""Replicates of a whole board at once: every difference uses the same patients.

The numbers are those of `vlp_zoo.evaluation.statistics` (`interval`, `paired_interval`,
`hierarchical_interval`); only that each run is replicated once, however many others it
is compared with.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.classes import class_statistic, decision_statistic
from vlp_zoo.evaluation.grade_metrics import GRADE_METRICS
from vlp_zoo.evaluation.grounding_metrics import finding_columns
from vlp_zoo.evaluation.metrics import METRICS, label_values, macro
from vlp_zoo.evaluation.overlap_metrics import Overlap
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics import Statistic, case_means, resample_patients

__all__ = ["Estimate", "Replicated", "combine", "replicate", "statistic_of"]

Array = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Replicated:
    """A statistic on the cases as they are and on replicates of them.

    Attributes:
        value: On all cases.
        replicates: (R,).
    """

    value: float
    replicates: Array

    def __sub__(self, other: Replicated) -> Replicated:
        """The paired difference."""
        return Replicated(self.value - other.value, self.replicates - other.replicates)


@dataclass(frozen=True)
class Estimate:
    """A mean over draws with its interval.

    Attributes:
        value: Mean over draws.
        low: Lower bound of the 95 % interval; None without.
        high: Upper bound.
        sd: Standard deviation over draws; None for one draw.
        draws: How many.
        covers: What the interval is over: ``"patients"``, ``"draws and patients"``, or
            nothing.
        p_value: Two-sided, that the value is 0; None where that was not asked.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    draws: int = 1
    covers: str = ""
    p_value: float | None = None


def statistic_of(
    metric: str,
    cases: Cases,
    left_out: Collection[str],
    stored: Collection[str] | None = None,
) -> Statistic | None:
    """A stored metric as a function of case weights.

    Args:
        metric: As in the results.
        cases: Of one run.
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
        return partial(
            label_values, metric, cases.labels[:, used], cases.scores[:, used]
        )
    if found := _overlap_statistic(metric, cases, left_out):
        return found
    if "finding" in cases.columns:
        return _finding_statistic(metric, cases, left_out)
    if others:
        return None
    way, _, k = metric.partition("_recall@")
    if k.isdigit() and f"{way}_rank" in cases.columns:
        hits = cases.columns[f"{way}_rank"] <= int(k)
        return case_means(hits.astype(np.float64))
    if metric in cases.columns and cases.columns[metric].dtype.kind in "fiub":
        return case_means(cases.columns[metric].astype(np.float64))
    return None


def _class_statistic(metric: str, cases: Cases) -> Statistic | None:
    """A metric of classes that exclude each other; of shots the mean over draws."""
    truth, classes = cases.columns["class"], len(cases.label_names)
    name, _, shots = metric.partition("@")
    if not shots and "predicted" in cases.columns:
        if name not in (*GRADE_METRICS, "macro_auroc", "brier"):
            return None
        return class_statistic(name, truth, cases.scores)
    drawn = [
        decision_statistic(name, truth, called, classes)
        for column, called in cases.columns.items()
        if column.startswith(f"predicted {shots} ") and name in GRADE_METRICS
    ]
    if not shots or not drawn:
        return None

    def mean(weights: Weights) -> Array:
        return np.asarray(np.mean([statistic(weights) for statistic in drawn], axis=0))

    return mean


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
    """A metric of masks from the pixel counts that are stored per structure."""
    counts = [entry.name for entry in fields(Overlap)]
    used = [name for name in cases.label_names if name not in left_out]
    if not used or any(f"{c} {n}" not in cases.columns for c in counts for n in used):
        return None
    # Other boards need no decoders, which this module brings along.
    from vlp_zoo.evaluation.segmentation import OVERLAPS

    if metric not in OVERLAPS:
        return None
    held = (np.stack([cases.columns[f"{c} {n}"] for n in used], 1) for c in counts)
    return OVERLAPS[metric](Overlap(*held))


def replicate(
    statistics: Mapping[str, Statistic],
    patient_ids: Sequence[str],
    *,
    replicates: int,
    seed: int = 0,
) -> dict[str, Replicated]:
    """Values of all statistics on the same resampled patients.

    Args:
        statistics: By any name, all of the same test cases.
        patient_ids: (N,).
        replicates: 0 gives the values alone.
        seed: Seeds the replicates.
    """
    once = np.ones((len(patient_ids), 1), np.float32)
    parts: dict[str, list[Array]] = {name: [] for name in statistics}
    for weights in resample_patients(patient_ids, replicates, seed):
        for name, statistic in statistics.items():
            parts[name].append(macro(np.atleast_2d(statistic(weights))))
    return {
        name: Replicated(
            float(macro(np.atleast_2d(statistic(once)))[0]),
            np.concatenate(parts[name]) if parts[name] else np.empty(0),
        )
        for name, statistic in statistics.items()
    }


def combine(
    draws: Sequence[Replicated], *, test: bool = False, seed: int = 0
) -> Estimate:
    """Mean over draws; the interval is over patients and, of several, over draws.

    Args:
        draws: One per draw of labelled patients (or training), at least one.
        test: Give the p-value of 0: twice the share of replicates on the other side of
            it, counting one more, so never below 2 / (R + 1).
        seed: Of the draws that are drawn.
    """
    value = float(np.mean([draw.value for draw in draws]))
    table = np.stack([draw.replicates for draw in draws])
    if len(draws) > 1:
        # The stream of `hierarchical_interval`.
        rng = np.random.default_rng((seed, len(draws)))
        drawn = rng.integers(0, len(draws), size=table.shape)
        table = np.take_along_axis(table, drawn, 0)
    replicated = table.mean(0)
    usable = replicated[~np.isnan(replicated)]
    sd = float(np.std([d.value for d in draws], ddof=1)) if len(draws) > 1 else None
    if not len(usable) or np.isnan(value):
        return Estimate(None if np.isnan(value) else value, sd=sd, draws=len(draws))
    low, high = np.quantile(usable, [0.025, 0.975])
    p_value = None
    if test:
        beyond = min((usable <= 0).sum(), (usable >= 0).sum())
        p_value = min(1.0, 2 * (int(beyond) + 1) / (len(usable) + 1))
    covers = "draws and patients" if len(draws) > 1 else "patients"
    return Estimate(value, float(low), float(high), sd, len(draws), covers, p_value)

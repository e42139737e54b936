"""How sure a number is: bootstrap over patients, paired where encoders share cases.

Images of one patient resemble each other, so replicates draw patients with all their
images; drawing images would give intervals that are too narrow. The intervals cover
the choice of test patients only, not the training of the encoder or the training set;
`hierarchical_interval` adds the seeds of a training that was repeated.

A *statistic* maps case weights (N, R) to values (R,), or to (K, R) of which the mean
over the defined rows counts: `vlp_zoo.evaluation.statistics.metrics` says what weights are. All
that is measured here is one, so each has the same intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.statistics.metrics import label_values, macro, ratio

__all__ = [
    "Interval",
    "Statistic",
    "bootstrap",
    "case_means",
    "hierarchical_interval",
    "interval",
    "paired_difference",
    "paired_interval",
    "paired_means",
    "resample_patients",
]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float32]

Statistic = Callable[[Weights], Array]
"""(N, R) whole numbers, how often each case counts, to (R,) or (K, R)."""

CHUNK = 4_000_000
"""Weights held at a time (16 MB), however many cases and replicates there are."""


@dataclass(frozen=True)
class Interval:
    """A value with its percentile interval.

    Attributes:
        value: On the cases as they are.
        low: Lower bound; NaN without replicates.
        high: Upper bound; NaN without replicates.
        undefined: How many (replicate, label) pairs had one class only and were left
            out of their replicate's mean.
    """

    value: float
    low: float
    high: float
    undefined: int = 0


def resample_patients(
    patient_ids: Sequence[str], replicates: int, seed: int
) -> Iterator[Weights]:
    """Draw patients with replacement; each brings all its cases.

    Args:
        patient_ids: (N,) one per case.
        replicates: How many draws.
        seed: Seeds the draws; the same seed gives the same draws for the same
            patients, which is what pairs two encoders.

    Yields:
        (N, r) counts, until ``replicates`` columns were given.
    """
    names, patient_of = np.unique(np.asarray(patient_ids), return_inverse=True)
    patients = len(names)
    rng = np.random.default_rng(seed)
    at_once = max(1, CHUNK // max(1, len(patient_of)))
    for first in range(0, replicates, at_once):
        size = min(at_once, replicates - first)
        drawn = rng.integers(0, patients, size=(size, patients))
        flat = drawn + np.arange(size)[:, None] * patients
        counts = np.bincount(flat.ravel(), minlength=size * patients)
        yield counts.reshape(size, patients).T[patient_of].astype(np.float32)


def bootstrap(
    metric: str,
    labels: Labels,
    scores: Array,
    patient_ids: Sequence[str],
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Macro metric with a patient-clustered percentile interval.

    Args:
        metric: A name of `vlp_zoo.evaluation.statistics.metrics.METRICS`.
        labels: (N, K) with 1, 0 and NaN = unknown.
        scores: (N, K).
        patient_ids: (N,).
        replicates: 0 gives the value without interval.
        seed: Seeds the replicates.
        level: Coverage aimed at.
    """
    statistic = partial(label_values, metric, labels, scores)
    return interval(
        statistic, patient_ids, replicates=replicates, seed=seed, level=level
    )


def paired_difference(
    metric: str,
    labels: Labels,
    scores: Array,
    baseline: Array,
    patient_ids: Sequence[str],
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Macro metric of one encoder minus another's, on the same resampled patients.

    Labels that either encoder has no scores for count for neither.

    Args:
        metric: A name of `vlp_zoo.evaluation.statistics.metrics.METRICS`.
        labels: (N, K) with 1, 0 and NaN = unknown.
        scores: (N, K).
        baseline: (N, K), what is subtracted.
        patient_ids: (N,).
        replicates: 0 gives the value without interval.
        seed: Seeds the replicates.
        level: Coverage aimed at.
    """
    missing = np.isnan(scores).any(0) | np.isnan(baseline).any(0)
    mine, other = (
        partial(label_values, metric, labels, np.where(missing, np.nan, each))
        for each in (scores, baseline)
    )
    return paired_interval(
        mine, other, patient_ids, replicates=replicates, seed=seed, level=level
    )


def interval(
    statistic: Statistic,
    patient_ids: Sequence[str],
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Any statistic with its patient-clustered percentile interval.

    Args:
        statistic: A function of the case weights.
        patient_ids: (N,).
        replicates: 0 gives the value without interval.
        seed: Seeds the replicates.
        level: Coverage aimed at.

    Example:
        >>> dice = np.array([0.2, 0.8, np.nan, 0.5])
        >>> interval(case_means(dice), list("abcd"), replicates=0).value
        0.5
    """
    [(value, replicated)], undefined = _replicate(
        [statistic], patient_ids, replicates, seed
    )
    return _percentile(value, replicated, level, undefined)


def paired_interval(
    statistic: Statistic,
    baseline: Statistic,
    patient_ids: Sequence[str],
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Difference of two statistics of the same cases, on the same resampled patients.

    Args:
        statistic: A function of the case weights.
        baseline: What is subtracted. Rows must be undefined for both or for neither,
            or the two means are of different things.
        patient_ids: (N,).
        replicates: 0 gives the value without interval.
        seed: Seeds the replicates.
        level: Coverage aimed at.
    """
    (mine, other), undefined = _replicate(
        [statistic, baseline], patient_ids, replicates, seed
    )
    return _percentile(mine[0] - other[0], mine[1] - other[1], level, undefined)


def hierarchical_interval(
    statistics: Sequence[Statistic],
    patient_ids: Sequence[str],
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean over repeated trainings, its interval over trainings and patients.

    Each replicate draws patients, the same for all trainings, and then trainings with
    replacement. With S trainings the part of the variance that is theirs comes out
    (S - 1) / S of what it is: three seeds say little.

    Args:
        statistics: One per training (seed), all of the same test cases.
        patient_ids: (N,).
        replicates: 0 gives the value without interval.
        seed: Seeds the replicates.
        level: Coverage aimed at.
    """
    found, undefined = _replicate(statistics, patient_ids, replicates, seed)
    value = float(np.mean([each for each, _ in found]))
    table = np.stack([replicated for _, replicated in found])
    # A stream of its own: the patients drawn are those of every other interval.
    rng = np.random.default_rng((seed, len(statistics)))
    drawn = rng.integers(0, len(statistics), size=table.shape)
    replicated = np.take_along_axis(table, drawn, 0).mean(0)
    return _percentile(value, replicated, level, undefined)


def case_means(values: Array) -> Statistic:
    """The mean of per-case values as a statistic.

    Args:
        values: (N,) or (N, K); NaN = undefined for that case, which does not count.

    Returns:
        A statistic that gives (K, R).

    Example:
        >>> case_means(np.array([1.0, 0.0, np.nan]))(np.array([[1, 2], [1, 1], [1, 9]]))
        array([[0.5       , 0.66666667]])
    """
    table = values[:, None] if values.ndim == 1 else values
    defined = ~np.isnan(table)
    filled = np.where(defined, table, 0.0)

    def means(weights: Weights) -> Array:
        wide = weights.astype(np.float64)
        counts = defined.T.astype(np.float64) @ wide
        return ratio(filled.T @ wide, counts)

    return means


def paired_means(
    values: Array,
    baseline: Array,
    patient_ids: Sequence[str],
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean per-case difference; a case counts where both values are defined.

    Args:
        values: (N,) or (N, K), NaN = undefined.
        baseline: What is subtracted, of the same shape.
        patient_ids: (N,).
        replicates: 0 gives the value without interval.
        seed: Seeds the replicates.
        level: Coverage aimed at.
    """
    statistic = case_means(values - baseline)
    return interval(
        statistic, patient_ids, replicates=replicates, seed=seed, level=level
    )


def _replicate(
    statistics: Sequence[Statistic],
    patient_ids: Sequence[str],
    replicates: int,
    seed: int,
) -> tuple[list[tuple[float, Array]], int]:
    """For each statistic (value, replicated values (R,)); undefined of the first."""
    once = np.ones((len(patient_ids), 1), np.float32)
    plain = [np.atleast_2d(statistic(once)) for statistic in statistics]
    chunks: list[list[Array]] = [[] for _ in statistics]
    lost = 0
    for weights in resample_patients(patient_ids, replicates, seed):
        for i, statistic in enumerate(statistics):
            values = np.atleast_2d(statistic(weights))
            if i == 0:
                lost += int(np.isnan(values[~np.isnan(plain[0][:, 0])]).sum())
            chunks[i].append(macro(values))
    return [
        (float(macro(value)[0]), np.concatenate(parts) if parts else np.empty(0))
        for value, parts in zip(plain, chunks, strict=True)
    ], lost


def _percentile(
    value: float, replicated: Array, level: float, undefined: int
) -> Interval:
    usable = replicated[~np.isnan(replicated)]
    if not len(usable):
        return Interval(value, float("nan"), float("nan"), undefined)
    tail = (1 - level) / 2
    low, high = np.quantile(usable, [tail, 1 - tail])
    return Interval(value, float(low), float(high), undefined)

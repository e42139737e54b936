"""How sure a number is: bootstrap over patients, paired where encoders share cases.

Images of one patient resemble each other, so replicates draw patients with all their
images; drawing images would give intervals that are too narrow. The intervals cover
the choice of test patients only, not the training of the encoder or the training set;
`hierarchical_interval` adds the seeds of a training that was repeated.

All that is measured here is a `Statistic`, so each has the same intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.statistics.metrics import label_values, macro, ratio

__all__ = [
    "Interval",
    "Replicated",
    "Statistic",
    "bootstrap",
    "case_means",
    "hierarchical_interval",
    "interval",
    "label_statistic",
    "mean_of_draws",
    "paired_difference",
    "paired_interval",
    "replicate",
    "resample_patients",
]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float32]

CHUNK = 4_000_000
"""Weights held at a time (16 MB), however many cases and replicates there are."""
TAIL = (1 - 0.95) / 2
"""Share of the replicates beyond each bound of an interval."""


@dataclass(frozen=True)
class Statistic:
    """A number of test cases, or one per label of which the mean over the defined counts.

    Attributes:
        of: (N, R) whole numbers, how often each case counts, to (R,) or (K, R);
            `vlp_zoo.evaluation.statistics.metrics` says what weights are.
        cases: N.

    Example:
        >>> share = Statistic(lambda weights: weights[:1] / weights.sum(0), 4)
        >>> share.value
        0.25
    """

    of: Callable[[Weights], Array]
    cases: int

    def __call__(self, weights: Weights) -> Array:
        """(N, R) to (K, R)."""
        return np.atleast_2d(self.of(weights))

    @property
    def values(self) -> Array:
        """(K,) of the cases as they are."""
        return np.asarray(self(np.ones((self.cases, 1), np.float32))[:, 0])

    @property
    def value(self) -> float:
        """The mean over the labels that are defined; NaN if none is."""
        return float(macro(self.values[:, None])[0])

    @property
    def defined(self) -> int:
        """How many of the labels are."""
        return int((~np.isnan(self.values)).sum())

    def gap(self, other: Statistic) -> Array:
        """(K,) of the cases as they are, minus those of another."""
        return self.values - other.values


@dataclass(frozen=True)
class Interval:
    """A value with its percentile interval.

    Attributes:
        value: On the cases as they are.
        low: Lower bound of the 95 % interval; NaN without replicates.
        high: Upper bound; NaN without replicates.
        undefined: How many (replicate, label) pairs had one class only and were left
            out of their replicate's mean.
    """

    value: float
    low: float
    high: float
    undefined: int = 0


@dataclass(frozen=True)
class Replicated:
    """A statistic on the cases as they are and on replicates of them.

    Attributes:
        value: On all cases.
        replicates: (R,).
        undefined: Pairs of replicate and label that were left out, see `Interval`.
    """

    value: float
    replicates: Array
    undefined: int = 0

    def __sub__(self, other: Replicated) -> Replicated:
        """The paired difference."""
        return replace(
            self,
            value=self.value - other.value,
            replicates=self.replicates - other.replicates,
        )

    @property
    def usable(self) -> Array:
        """The replicates that are defined."""
        return self.replicates[~np.isnan(self.replicates)]

    @property
    def interval(self) -> Interval:
        """The value with the percentiles of the replicates."""
        low = high = float("nan")
        if len(usable := self.usable):
            low, high = map(float, np.quantile(usable, [TAIL, 1 - TAIL]))
        return Interval(self.value, low, high, self.undefined)


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


def replicate(
    statistics: Sequence[Statistic],
    patient_ids: Sequence[str],
    replicates: int,
    seed: int,
) -> list[Replicated]:
    """Values of several statistics on the same resampled patients.

    Args:
        statistics: All of the same test cases.
        patient_ids: (N,).
        replicates: 0 gives the values alone.
        seed: Seeds the replicates.
    """
    if not statistics:
        return []
    plain = [statistic.values for statistic in statistics]
    parts: list[list[Array]] = [[] for _ in statistics]
    lost = [0] * len(statistics)
    for weights in resample_patients(patient_ids, replicates, seed):
        for i, statistic in enumerate(statistics):
            values = statistic(weights)
            lost[i] += int(np.isnan(values[~np.isnan(plain[i])]).sum())
            parts[i].append(macro(values))
    return [
        Replicated(
            float(macro(values[:, None])[0]),
            np.concatenate(held) if held else np.empty(0),
            missing,
        )
        for values, held, missing in zip(plain, parts, lost, strict=True)
    ]


def mean_of_draws(draws: Sequence[Replicated], seed: int) -> Replicated:
    """The mean over repeated trainings, each replicate over a resample of them.

    Args:
        draws: One per training, on the same resampled patients.
        seed: Seeds the choice of trainings.
    """
    table = np.stack([draw.replicates for draw in draws])
    # A stream of its own: the patients drawn are those of every other interval.
    rng = np.random.default_rng((seed, len(draws)))
    drawn = rng.integers(0, len(draws), size=table.shape)
    return Replicated(
        float(np.mean([draw.value for draw in draws])),
        np.take_along_axis(table, drawn, 0).mean(0),
        draws[0].undefined,
    )


def interval(
    statistic: Statistic,
    patient_ids: Sequence[str],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> Interval:
    """Any statistic with its patient-clustered percentile interval.

    Args:
        statistic: A statistic of N cases.
        patient_ids: (N,).
        replicates: 0 gives the value without interval.
        seed: Seeds the replicates.

    Example:
        >>> dice = np.array([0.2, 0.8, np.nan, 0.5])
        >>> interval(case_means(dice), list("abcd"), replicates=0).value
        0.5
    """
    (found,) = replicate([statistic], patient_ids, replicates, seed)
    return found.interval


def paired_interval(
    statistic: Statistic,
    baseline: Statistic,
    patient_ids: Sequence[str],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> Interval:
    """Difference of two statistics of the same cases, on the same resampled patients.

    Labels that are undefined for either count for neither, or the two means would be of
    different things.

    Args:
        statistic: A statistic of N cases.
        baseline: What is subtracted.
        patient_ids: (N,).
        replicates: 0 gives the value without interval.
        seed: Seeds the replicates.
    """
    lost = np.isnan(statistic.gap(baseline))[:, None]

    def shared(one: Statistic) -> Statistic:
        return Statistic(
            lambda weights: np.where(lost, np.nan, one(weights)), one.cases
        )

    both = [shared(statistic), shared(baseline)]
    mine, other = replicate(both, patient_ids, replicates, seed)
    return (mine - other).interval


def hierarchical_interval(
    statistics: Sequence[Statistic],
    patient_ids: Sequence[str],
    *,
    replicates: int = 1000,
    seed: int = 0,
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
    """
    draws = replicate(statistics, patient_ids, replicates, seed)
    return mean_of_draws(draws, seed).interval


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

    return Statistic(means, len(table))


def label_statistic(metric: str, labels: Labels, scores: Array) -> Statistic:
    """A metric of labels that may occur together, a row for each of them.

    Args:
        metric: A name of `vlp_zoo.evaluation.statistics.metrics.METRICS`.
        labels: (N, K) with 1, 0 and NaN = unknown.
        scores: (N, K).
    """
    return Statistic(partial(label_values, metric, labels, scores), len(labels))


def bootstrap(
    metric: str,
    labels: Labels,
    scores: Array,
    patient_ids: Sequence[str],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> Interval:
    """`interval` of a `label_statistic`: the mean of a metric over labels.

    Args:
        metric: A name of `vlp_zoo.evaluation.statistics.metrics.METRICS`.
        labels: (N, K) with 1, 0 and NaN = unknown.
        scores: (N, K).
        patient_ids: (N,).
        replicates: 0 gives the value without interval.
        seed: Seeds the replicates.
    """
    statistic = label_statistic(metric, labels, scores)
    return interval(statistic, patient_ids, replicates=replicates, seed=seed)


def paired_difference(
    metric: str,
    labels: Labels,
    scores: Array,
    baseline: Array,
    patient_ids: Sequence[str],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> Interval:
    """`paired_interval` of a metric's mean over the labels that both have scores for.

    Args:
        metric: A name of `vlp_zoo.evaluation.statistics.metrics.METRICS`.
        labels: (N, K) with 1, 0 and NaN = unknown.
        scores: (N, K).
        baseline: (N, K), what is subtracted.
        patient_ids: (N,).
        replicates: 0 gives the value without interval.
        seed: Seeds the replicates.
    """
    mine, other = (label_statistic(metric, labels, each) for each in (scores, baseline))
    return paired_interval(mine, other, patient_ids, replicates=replicates, seed=seed)

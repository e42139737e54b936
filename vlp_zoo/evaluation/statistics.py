"""How sure a number is: bootstrap over patients, paired where encoders share cases.

Images of one patient resemble each other, so replicates draw patients with all their
images; drawing images would give intervals that are too narrow. The intervals cover
the choice of test patients only, not the training of the encoder or the training set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.metrics import label_values, macro

__all__ = ["Interval", "bootstrap", "paired_difference", "resample_patients"]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]

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
) -> Iterator[npt.NDArray[np.float32]]:
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
        metric: A name of `vlp_zoo.evaluation.metrics.METRICS`.
        labels: (N, K) with 1, 0 and NaN = unknown.
        scores: (N, K).
        patient_ids: (N,).
        replicates: 0 gives the value without interval.
        seed: Seeds the replicates.
        level: Coverage aimed at.
    """
    (value, replicated), undefined = _replicate(
        metric, labels, [scores], patient_ids, replicates, seed
    )[0]
    return _interval(value, replicated, level, undefined)


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
        metric: A name of `vlp_zoo.evaluation.metrics.METRICS`.
        labels: (N, K) with 1, 0 and NaN = unknown.
        scores: (N, K).
        baseline: (N, K), what is subtracted.
        patient_ids: (N,).
        replicates: 0 gives the value without interval.
        seed: Seeds the replicates.
        level: Coverage aimed at.
    """
    missing = np.isnan(scores).any(0) | np.isnan(baseline).any(0)
    pair = [np.where(missing, np.nan, each) for each in (scores, baseline)]
    (mine, undefined), (other, _) = _replicate(
        metric, labels, pair, patient_ids, replicates, seed
    )
    return _interval(mine[0] - other[0], mine[1] - other[1], level, undefined)


def _replicate(
    metric: str,
    labels: Labels,
    candidates: Sequence[Array],
    patient_ids: Sequence[str],
    replicates: int,
    seed: int,
) -> list[tuple[tuple[float, Array], int]]:
    """For each candidate ((value, replicated values (R,)), undefined pairs)."""
    plain = [label_values(metric, labels, scores) for scores in candidates]
    chunks: list[list[Array]] = [[] for _ in candidates]
    lost = [0] * len(candidates)
    for weights in resample_patients(patient_ids, replicates, seed):
        for i, scores in enumerate(candidates):
            values = label_values(metric, labels, scores, weights)
            defined_at_all = ~np.isnan(plain[i][:, 0])
            lost[i] += int(np.isnan(values[defined_at_all]).sum())
            chunks[i].append(macro(values))
    return [
        ((float(macro(value)[0]), np.concatenate(parts) if parts else np.empty(0)), n)
        for value, parts, n in zip(plain, chunks, lost, strict=True)
    ]


def _interval(
    value: float, replicated: Array, level: float, undefined: int
) -> Interval:
    usable = replicated[~np.isnan(replicated)]
    if not len(usable):
        return Interval(value, float("nan"), float("nan"), undefined)
    tail = (1 - level) / 2
    low, high = np.quantile(usable, [tail, 1 - tail])
    return Interval(value, float(low), float(high), undefined)

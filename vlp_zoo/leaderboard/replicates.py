"""Replicates of a whole board at once: every difference uses the same patients.

The numbers are those of `vlp_zoo.evaluation.statistics.intervals` (`interval`, `paired_interval`,
`hierarchical_interval`); only that each run is replicated once, however many others it
is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.statistics.intervals import Statistic, resample_patients
from vlp_zoo.evaluation.statistics.metrics import macro

__all__ = ["Estimate", "Replicated", "combine", "replicate"]

Array = npt.NDArray[np.float64]


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
        seed: Seed of the resampling of draws.
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

"""The same statistic for parts of the test set: whom a mean hides.

A group is a column of weights, 1 for its cases and 0 for the others, so every statistic
of `vlp_zoo.evaluation.statistics` can be sliced without change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.statistics import Interval, Statistic, interval

__all__ = ["Slices", "slice_groups"]

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Slices:
    """A statistic by group.

    Attributes:
        groups: Name to value with interval, for groups that are large enough.
        left_out: Name to reason, for the others.
        gap: Best minus worst; NaN with fewer than two groups. Of many small groups
            some differ by chance, so it is never below 0.
        worst: Name of the group with the worst value; None with fewer than two.
    """

    groups: dict[str, Interval]
    left_out: dict[str, str]
    gap: float
    worst: str | None


def slice_groups(
    statistic: Statistic,
    groups: Sequence[str | None],
    patient_ids: Sequence[str],
    *,
    minimum: int = 50,
    higher_is_better: bool = True,
    replicates: int = 1000,
    seed: int = 0,
) -> Slices:
    """A statistic within each group, with the gap between best and worst.

    Args:
        statistic: Of the case weights.
        groups: (N,) sex, age band, view, ...; None = not known, which joins no group.
        patient_ids: (N,).
        minimum: Patients below which a group is listed and not measured.
        higher_is_better: False for errors such as Brier.
        replicates: Of the intervals; 0 for none.
        seed: Of the replicates.

    Raises:
        ValueError: If the lengths disagree.
    """
    if len(groups) != len(patient_ids):
        raise ValueError(f"{len(groups)} groups for {len(patient_ids)} cases")
    patients = np.asarray(patient_ids)
    measured: dict[str, Interval] = {}
    left_out: dict[str, str] = {}
    for name in sorted({group for group in groups if group is not None}):
        member = np.array([group == name for group in groups])
        count = len(np.unique(patients[member]))
        if count < minimum:
            left_out[name] = f"{count} patients, fewer than {minimum}"
            continue
        found = interval(
            _within(statistic, member),
            patients[member].tolist(),
            replicates=replicates,
            seed=seed,
        )
        if np.isnan(found.value):
            left_out[name] = f"undefined for its {count} patients"
        else:
            measured[name] = found
    if len(measured) < 2:
        return Slices(measured, left_out, float("nan"), None)
    values = {name: found.value for name, found in measured.items()}
    choose = min if higher_is_better else max
    worst = choose(values, key=lambda name: values[name])
    gap = max(values.values()) - min(values.values())
    return Slices(measured, left_out, gap, worst)


def _within(statistic: Statistic, member: npt.NDArray[np.bool_]) -> Statistic:
    """The statistic of the members' weights alone."""

    def of_members(weights: Weights) -> npt.NDArray[np.float64]:
        every = np.zeros((len(member), weights.shape[1]), np.float32)
        every[member] = weights
        return statistic(every)

    return of_members

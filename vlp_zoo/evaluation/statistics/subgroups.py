"""The same statistic for parts of the test set: whom a mean hides.

A group is a column of weights, 1 for its cases and 0 for the others, so every statistic
of `vlp_zoo.evaluation.statistics.intervals` can be sliced without change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.statistics.intervals import Interval, Statistic, interval
from vlp_zoo.types import StudySource

__all__ = ["Slices", "groups_of", "slice_groups"]

Weights = npt.NDArray[np.float32]


SEXES = {"m": "male", "male": "male", "f": "female", "female": "female"}
AGES = (("under 18", 18), ("18 to 39", 40), ("40 to 59", 60), ("60 to 79", 80))
OLDEST = "80 and over"
SITES = ("site", "centre", "hospital", "device", "scanner")
MOST = 50
"""Groups of an attribute; more describe no group but single images."""
OTHERS = ("race", "insurance_type")


def groups_of(source: StudySource) -> dict[str, list[str | None]]:
    """Groups of each study by what its source knows, without opening an image.

    Args:
        source: ``views`` and ``facts`` are looked at where it has them: sex, age (in
            bands), site or device, race, insurance.

    Returns:
        Attribute to N names, None where not known; attributes with two groups or more,
        and not so many that each is an image's own.
    """
    columns: dict[str, list[str | None]] = {}
    views = getattr(source, "views", None)
    if views is not None:
        columns["view"] = [None if view is None else str(view) for view in views]
    facts = getattr(source, "facts", None)
    if facts is not None:
        columns["sex"] = [SEXES.get(str(f.get("sex", "")).lower()) for f in facts]
        columns["age"] = [_band(f.get("age")) for f in facts]
        for name in (*SITES, *OTHERS):
            columns[name] = [str(f.get(name) or "").strip() or None for f in facts]
    return {
        name: values
        for name, values in columns.items()
        if 1 < len({value for value in values if value is not None}) <= MOST
    }


def _band(age: Any) -> str | None:
    """The band of an age in years; None for blanks and words.

    Example:
        >>> _band(39.5), _band("80"), _band(""), _band(float("nan"))
        ('18 to 39', '80 and over', None, None)
    """
    try:
        years = float(age)
    except (TypeError, ValueError):
        return None
    if not 0 <= years < 130:
        return None
    return next((name for name, limit in AGES if years < limit), OLDEST)


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
        statistic: A function of the case weights.
        groups: (N,) sex, age band, view, ...; None = not known, which joins no group.
        patient_ids: (N,).
        minimum: Patients below which a group is listed and not measured.
        higher_is_better: False for errors such as Brier.
        replicates: Number of bootstrap replicates of the intervals; 0 for none.
        seed: Seed of the bootstrap replicates.

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

    return Statistic(of_members, int(member.sum()))

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

from vlp_zoo.evaluation.statistics.intervals import (
    CHUNK,
    Interval,
    Statistic,
    interval,
    replicate,
)
from vlp_zoo.evaluation.statistics.metrics import macro
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
        gap: Best minus worst, with an interval over patients; NaN with fewer than two
            groups. Of many small groups some differ by chance, so it is never below 0.
        chance: The mean gap when patients change groups at random; NaN where a patient
            has cases of several groups, or without replicates.
        p_value: Share of such gaps that are as large, counting the one found.
        worst: Name of the group with the worst value; None with fewer than two.
    """

    groups: dict[str, Interval]
    left_out: dict[str, str]
    gap: Interval
    worst: str | None
    chance: float = float("nan")
    p_value: float = float("nan")


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
        replicates: Number of bootstrap replicates of the intervals, and of random
            groups; 0 for none.
        seed: Seed of both.

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
        none = float("nan")
        return Slices(measured, left_out, Interval(none, none, none), None)
    values = {name: found.value for name, found in measured.items()}
    choose = min if higher_is_better else max
    worst = choose(values, key=lambda name: values[name])
    names = np.array(["" if group is None else group for group in groups])
    spread = _Spread(statistic, tuple(measured))
    gap = replicate([spread.of(names)], patient_ids, replicates, seed)[0].interval
    by_chance = spread.by_chance(names, patients, replicates, seed)
    if not len(by_chance):
        return Slices(measured, left_out, gap, worst)
    beyond = int((by_chance >= gap.value).sum())
    p_value = (beyond + 1) / (len(by_chance) + 1)
    return Slices(measured, left_out, gap, worst, float(by_chance.mean()), p_value)


@dataclass(frozen=True)
class _Spread:
    """Best minus worst of a statistic's means within groups."""

    statistic: Statistic
    groups: tuple[str, ...]

    def of(self, names: npt.NDArray[np.str_]) -> Statistic:
        """The gap of cases whose groups are ``names`` (N,)."""
        members = [(names == group)[:, None] for group in self.groups]
        return Statistic(
            lambda weights: self._gaps([weights * m for m in members]), len(names)
        )

    def by_chance(
        self,
        names: npt.NDArray[np.str_],
        patients: npt.NDArray[np.str_],
        draws: int,
        seed: int,
    ) -> npt.NDArray[np.float64]:
        """Gaps (R,) of the same patients in groups drawn anew, of the same sizes.

        Empty where a patient has cases of several groups: no whole patient could change.
        """
        measured = np.isin(names, self.groups)
        _, first, patient_of = np.unique(
            patients[measured], return_index=True, return_inverse=True
        )
        theirs = names[measured][first]
        if (names[measured] != theirs[patient_of]).any():
            return np.empty(0)
        rng = np.random.default_rng(seed)
        gaps = []
        at_once = max(1, CHUNK // max(1, len(names)))
        for start in range(0, draws, at_once):
            size = min(at_once, draws - start)
            drawn = np.stack([rng.permutation(theirs) for _ in range(size)], 1)
            weights = []
            for group in self.groups:
                every = np.zeros((len(names), size), np.float32)
                every[measured] = (drawn == group)[patient_of]
                weights.append(every)
            gaps.append(self._gaps(weights)[0])
        found = np.concatenate(gaps) if gaps else np.empty(0)
        return found[~np.isnan(found)]

    def _gaps(self, weights: Sequence[Weights]) -> npt.NDArray[np.float64]:
        """(1, R) of the weights (N, R) of each group."""
        values = np.stack([macro(self.statistic(each)) for each in weights])
        gaps: npt.NDArray[np.float64] = np.ptp(values, axis=0)[None]
        return gaps


def _within(statistic: Statistic, member: npt.NDArray[np.bool_]) -> Statistic:
    """The statistic of the members' weights alone."""

    def of_members(weights: Weights) -> npt.NDArray[np.float64]:
        every = np.zeros((len(member), weights.shape[1]), np.float32)
        every[member] = weights
        return statistic(every)

    return Statistic(of_members, int(member.sum()))

"""Label-fraction curves and reliability, from predictions of the boards."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from vlp_zoo.evaluation.classification.metrics.calibration import (
    Reliability,
    reliability,
)
from vlp_zoo.evaluation.statistics.intervals import Statistic, replicate
from vlp_zoo.leaderboard.boards import Board, Entry
from vlp_zoo.leaderboard.remade import statistic_of
from vlp_zoo.leaderboard.replicates import Estimate, combine

__all__ = ["Curve", "make_curves", "pooled_reliability"]

BINS = 10


@dataclass(frozen=True)
class Curve:
    """A headline over label fractions.

    Attributes:
        boards: Boards that it joins, by fraction.
        points: Encoder, then baseline, to (fraction, value), ascending.
        left_out: Labels that no point counts, where boards count different ones.
        missing: Entries of which points are missing, for they cannot be made again.
    """

    boards: tuple[Board, ...]
    points: dict[str, list[tuple[float, Estimate]]]
    left_out: tuple[str, ...]
    missing: tuple[str, ...] = ()


def make_curves(boards: Sequence[Board]) -> list[Curve]:
    """Join boards that differ in the label fraction alone.

    Where draws or fractions could learn different labels, every point is made again
    from the cases, of the labels that all have: a line through means of different
    labels would be no curve.

    Args:
        boards: The boards that `vlp_zoo.leaderboard.boards.make_boards` made.
    """
    groups: dict[tuple[str, ...], list[Board]] = {}
    for board in boards:
        groups.setdefault(board.column[:-1], []).append(board)
    curves = []
    for group in groups.values():
        if len({board.shared.fraction for board in group}) < 2:
            continue
        sets = {board.column[-1] for board in group}
        curve = _joined(group) if len(sets) == 1 else _made_again(group)
        if any(len(each) > 1 for each in curve.points.values()):
            curves.append(curve)
    return curves


def pooled_reliability(entry: Entry, left_out: Collection[str]) -> Reliability | None:
    """Reliability of the first draw, the known cases of all counted labels together.

    Args:
        entry: Encoder or baseline.
        left_out: Labels that do not count on its board.

    Returns:
        None without predictions, or where scores are no probabilities.
    """
    run = entry.runs[0]
    if "macro_brier" not in run.rows or not entry.comparable:
        return None
    cases = run.cases()
    if cases is None or not cases.label_names:
        return None
    used = [k for k, n in enumerate(cases.label_names) if n not in left_out]
    labels, scores = cases.labels[:, used], cases.scores[:, used]
    known = ~np.isnan(labels) & ~np.isnan(scores)
    if not known.any() or scores[known].min() < 0 or scores[known].max() > 1:
        return None
    return reliability(labels[known] > 0.5, scores[known], BINS)


def _joined(group: Sequence[Board]) -> Curve:
    points: dict[str, list[tuple[float, Estimate]]] = {}
    for board in group:
        for entry in board.entries:
            score = entry.scores.get(board.headline)
            if score is not None and score.value is not None:
                points.setdefault(entry.name, []).append((board.shared.fraction, score))
    return Curve(tuple(group), _ordered(group, points), ())


def _made_again(group: Sequence[Board]) -> Curve:
    left_out = sorted({name for board in group for name in board.left_out})
    metric = group[0].headline
    statistics: dict[str, Statistic] = {}
    owner: dict[str, tuple[str, float]] = {}
    uids: list[str] | None = None
    patients: list[str] = []
    missing: set[str] = set()
    for board in group:
        for entry in board.entries:
            made = {}
            for run in entry.runs:
                cases = run.cases() if entry.comparable else None
                if cases is None:
                    continue
                if uids is None:
                    uids, patients = cases.uids, cases.patient_ids
                found_of = statistic_of(metric, cases, left_out, run.head.undefined)
                if found_of is not None and cases.uids == uids:
                    made[run.head.key] = found_of
            if len(made) < len(entry.runs):
                # A mean over some of the draws would be no point of this curve.
                missing.add(entry.name)
                continue
            statistics |= made
            owner |= dict.fromkeys(made, (entry.name, board.shared.fraction))
    replicates = max(board.replicates for board in group)
    made_again = replicate(list(statistics.values()), patients, replicates, seed=0)
    found = dict(zip(statistics, made_again, strict=True))
    points: dict[str, list[tuple[float, Estimate]]] = {}
    for name, fraction in sorted(set(owner.values())):
        draws = [found[key] for key, who in owner.items() if who == (name, fraction)]
        made_of = combine(draws)
        if made_of.value is not None:
            points.setdefault(name, []).append((fraction, made_of))
    return Curve(
        *(tuple(group), _ordered(group, points), tuple(left_out)),
        missing=tuple(sorted(missing)),
    )


def _ordered(
    group: Sequence[Board], points: dict[str, list[tuple[float, Estimate]]]
) -> dict[str, list[tuple[float, Estimate]]]:
    roles = {entry.name: entry.role for board in group for entry in board.entries}
    return {
        name: sorted(points[name], key=lambda point: point[0])
        for name in sorted(points, key=lambda n: (roles[n] != "encoder", n))
    }

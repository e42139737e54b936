"""Headlines within groups of test cases, where predictions carry such columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.subgroups import Slices, slice_groups
from vlp_zoo.leaderboard.boards import Board
from vlp_zoo.leaderboard.metric_order import higher_is_better
from vlp_zoo.leaderboard.remade import statistic_of

__all__ = ["GroupTable", "group_tables"]

MOST = 12
"""A column of more different words is a text and no grouping."""


@dataclass(frozen=True)
class GroupTable:
    """One column of the cases: sex, view, age band, ...

    Attributes:
        column: Name of the column.
        groups: Groups that are large enough for at least one entry.
        rows: Entry to its values, of its first draw.
    """

    column: str
    groups: tuple[str, ...]
    rows: tuple[tuple[str, Slices], ...]


def group_tables(board: Board, *, minimum: int = 50) -> list[GroupTable]:
    """Slice the headline by every column of words that the cases carry.

    Args:
        board: Encoders and baselines.
        minimum: Patients below which a group is not measured.
    """
    found: dict[str, list[tuple[str, Slices]]] = {}
    for entry in board.entries:
        run = entry.runs[0]
        cases = run.cases() if entry.comparable else None
        if cases is None:
            continue
        statistic = statistic_of(
            board.headline, cases, board.left_out, run.head.undefined
        )
        for column, groups in _groupings(cases).items():
            if statistic is None:
                continue
            slices = slice_groups(
                statistic,
                groups,
                cases.patient_ids,
                minimum=minimum,
                higher_is_better=higher_is_better(board.headline),
                replicates=board.replicates,
            )
            found.setdefault(column, []).append((entry.name, slices))
    tables = []
    for column, rows in sorted(found.items()):
        names = sorted({name for _, slices in rows for name in slices.groups})
        if names:
            tables.append(GroupTable(column, tuple(names), tuple(rows)))
    return tables


def _groupings(cases: Cases) -> dict[str, Sequence[str | None]]:
    found: dict[str, Sequence[str | None]] = {}
    for name, values in cases.columns.items():
        if values.dtype.kind not in "OUb":
            continue
        # A missing word is None or a float NaN, by how the file was written.
        words = [
            str(v) if isinstance(v, str | bool) or values.dtype.kind == "b" else None
            for v in values.tolist()
        ]
        if 2 <= len(set(words) - {None}) <= MOST:
            found[name] = words
    return found

"""Where it was learnt against where it is tested: tasks ``ONE->OTHER`` beside each other.

The boards hold the same numbers, a board for each task. Here one encoder's stand in one
table, with those of ``ONE`` and ``OTHER`` themselves where these were measured by the same
protocol. Nothing is averaged. Numbers compare down a column, which is one test set, and
not along a row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vlp_zoo.leaderboard.boards import Board
from vlp_zoo.leaderboard.replicates import Estimate

__all__ = ["Transfer", "transfers"]

Pair = tuple[str, str]


@dataclass(frozen=True)
class Transfer:
    """Numbers of one encoder by where it was learnt and where it is tested.

    Attributes:
        board: One of the boards, for protocol, fraction and headline.
        encoder: Its name.
        learnt: Names of tasks, the rows.
        tested: Names of tasks, the columns.
        cells: Those that were measured, by row and column.
        other: Cells whose test cases or labels are not those of the others of their
            column.
    """

    board: Board
    encoder: str
    learnt: tuple[str, ...]
    tested: tuple[str, ...]
    cells: Mapping[Pair, Estimate]
    other: frozenset[Pair]


def transfers(boards: Sequence[Board]) -> Iterator[Transfer]:
    """One table for each encoder, protocol and label fraction with a task ``ONE->OTHER``.

    Where two boards are of the same task (of two splits, say), no table can have both,
    and there is none.

    Args:
        boards: The boards that `vlp_zoo.leaderboard.boards.make_boards` made.
    """
    groups: dict[tuple[str, ...], list[Board]] = {}
    for board in boards:
        row, settings = board.shared, json.dumps(board.settings, sort_keys=True)
        key = (row.protocol, f"{row.fraction}", board.headline, settings)
        groups.setdefault(key, []).append(board)
    for group in groups.values():
        tasks = [board.shared.task for board in group]
        crossed = [_sides(task) for task in tasks if "->" in task]
        sites = {site for pair in crossed for site in pair}
        known = [b for b in group if "->" in b.shared.task or b.shared.task in sites]
        if crossed and len({b.shared.task for b in known}) == len(known):
            yield from _of_encoders({_sides(b.shared.task): b for b in known})


def _of_encoders(boards: Mapping[Pair, Board]) -> Iterator[Transfer]:
    # What is tested on another set leads, so that all of a column can be held to it.
    order = sorted(boards, key=lambda pair: pair[0] == pair[1])
    first: dict[str, Board] = {}
    for pair in order:
        first.setdefault(pair[1], boards[pair])
    odd = {pair for pair in order if _test(boards[pair]) != _test(first[pair[1]])}
    names = {
        entry.who: entry.name
        for pair in order
        for entry in boards[pair].encoders
        if pair[0] != pair[1]
    }
    for who, name in names.items():
        cells = {
            pair: entry.scores[board.headline]
            for pair, board in boards.items()
            for entry in board.encoders
            if entry.who == who and board.headline in entry.scores
        }
        yield Transfer(
            boards[order[0]],
            name,
            tuple(sorted({learnt for learnt, _ in cells})),
            tuple(sorted({tested for _, tested in cells})),
            cells,
            frozenset(odd & cells.keys()),
        )


def _sides(task: str) -> Pair:
    """Where it is learnt and where it is tested."""
    learnt, arrow, tested = task.partition("->")
    return (learnt.strip(), tested.strip()) if arrow else (task, task)


def _test(board: Board) -> tuple[int, int, frozenset[str]]:
    """What must be equal for numbers of a column to compare."""
    return board.shared.n, board.shared.n_patients, frozenset(board.left_out)

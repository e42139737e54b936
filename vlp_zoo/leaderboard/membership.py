"""Which runs share a board, and which labels count there.

Runs share one if they agree in everything that decides what a number means. Draws of few
cases can each learn other labels: what counts are then the labels that all draws could
learn, and every value is made again from the predictions over these.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from vlp_zoo.evaluation.results import Result, result_key
from vlp_zoo.leaderboard.remade import statistic_of
from vlp_zoo.leaderboard.runs import (
    OF_THE_ENCODER,
    Draw,
    Identity,
    Run,
    identity,
    settled,
)

__all__ = ["board_key", "defining_settings", "shared_boards", "told_apart"]

NOT_OF_THE_METRIC = {*OF_THE_ENCODER, "fraction", "replicates", "known_issues", "name"}
"""Settings that do not change what a number means, or have a place of their own."""


def defining_settings(row: Result) -> dict[str, Any]:
    """Settings that decide what a number means."""
    return {k: v for k, v in row.settings.items() if k not in NOT_OF_THE_METRIC}


def board_key(row: Result, left_out: Collection[str]) -> str:
    """Short hash of all that runs of one board share.

    Args:
        row: A stored row of any of the runs.
        left_out: Labels that do not count there.
    """
    return result_key(
        task=row.task,
        split=row.split_sha256,
        data=row.data_sha256,
        protocol=row.protocol,
        settings=defining_settings(row),
        fraction=row.fraction,
        headline=row.metric,
        left_out=sorted(left_out),
        n=row.n,
    )[:12]


def shared_boards(runs: Sequence[Run]) -> Iterator[tuple[list[Run], dict[str, str]]]:
    """Runs of each board, and why labels do not count there.

    An encoder has one run of each draw: of several the one that `settled` chooses,
    before anything hangs on the labels that it learnt.

    Args:
        runs: All that are shown together.
    """
    groups: dict[str, dict[tuple[Identity, Draw], list[Run]]] = {}
    for run in runs:
        group = groups.setdefault(board_key(run.head, ()), {})
        group.setdefault((identity(run.head), run.draw), []).append(run)
    for group in groups.values():
        yield from _by_labels([settled(same) for same in group.values()])


def told_apart(heads: Mapping[str, Result]) -> dict[str, dict[str, str]]:
    """What sets boards apart that a reader could take for one.

    Args:
        heads: Key of a board to a row of it.

    Returns:
        Key of a board to what differs between it and another one of its task, preset
        and label fraction: settings, data, split, headline, number of cases.
    """
    alike: dict[tuple[str, str, float], list[str]] = {}
    for key, row in heads.items():
        alike.setdefault((row.task, row.protocol, row.fraction), []).append(key)
    found: dict[str, dict[str, str]] = {}
    for keys in alike.values():
        facts = {key: _facts(heads[key]) for key in keys}
        names = dict.fromkeys(name for each in facts.values() for name in each)
        differing = [
            name
            for name in names
            if len({each.get(name) for each in facts.values()}) > 1
        ]
        for key in keys:
            found[key] = {n: facts[key].get(n, "not set") for n in differing}
    return found


def _facts(row: Result) -> dict[str, str]:
    settings = defining_settings(row)
    return {
        "split": row.split_sha256[:7],
        "data": row.data_sha256[:7],
        "headline": row.metric,
        "cases": str(row.n),
        **{k: json.dumps(v, ensure_ascii=False) for k, v in sorted(settings.items())},
    }


def _by_labels(group: list[Run]) -> Iterator[tuple[list[Run], dict[str, str]]]:
    if len({frozenset(run.head.undefined) for run in group}) == 1:
        yield group, _reasons(group)
        return
    lost = _lost(run for run in group if run.has_cases)
    able = [run for run in group if _counts_without(lost, run)]
    lost = _lost(able)
    # What counts the same labels anyway needs no predictions to join.
    joined = [r for r in group if r in able or (able and set(r.head.undefined) == lost)]
    if joined:
        yield joined, _reasons(joined)
    alone: dict[frozenset[str], list[Run]] = {}
    for run in group:
        if run not in joined:
            alone.setdefault(frozenset(run.head.undefined), []).append(run)
    for rest in alone.values():
        yield rest, _reasons(rest)


def _lost(runs: Iterable[Run]) -> set[str]:
    return {label for run in runs for label in run.head.undefined}


def _counts_without(lost: Collection[str], run: Run) -> bool:
    """Whether a run's headline can be made again without these labels."""
    cases = run.cases()
    if cases is None:
        return False
    stored = run.head.undefined
    return statistic_of(run.head.metric, cases, lost, stored) is not None


def _reasons(runs: Sequence[Run]) -> dict[str, str]:
    """Label to the reason why it does not count, by draw where draws differ."""
    seeds = {run.head.seed for run in runs}
    found: dict[str, dict[int, str]] = {}
    for run in runs:
        for label, reason in run.head.undefined.items():
            found.setdefault(label, {})[run.head.seed] = reason
    return {
        label: next(iter(said.values()))
        if set(said) == seeds and len(set(said.values())) == 1
        else ", ".join(f"draw {seed}: {said[seed]}" for seed in sorted(said))
        for label, said in sorted(found.items())
    }

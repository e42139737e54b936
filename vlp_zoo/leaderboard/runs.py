"""Stored rows put together again: one run is all that one evaluation wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlp_zoo import __version__
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.evaluation.results import SCHEMA, Cases, Result, ResultStore

__all__ = [
    "Draw",
    "Run",
    "encoder_names",
    "identity",
    "read_runs",
    "same_draws",
    "settled",
    "stale_flags",
]

Identity = tuple[str, str, str, str, str, str]
Draw = tuple[int, int]
"""Seed of a run, and of a random init which draw of its weights."""

OF_THE_ENCODER = ("preprocessing", "pooling", "precision")
"""Settings that say how an encoder was used, and not how it was measured."""


@dataclass(frozen=True)
class Run:
    """One evaluation of one encoder: its metrics, its differences, its cases.

    Attributes:
        store: Where its predictions are.
        rows: Metric to row, the headline first.
        gaps: SHA-256 of a baseline to the stored difference.
        others: Runs of the same thing that it stands for, see `settled`.
    """

    store: ResultStore
    rows: Mapping[str, Result]
    gaps: Mapping[str, Result]
    others: tuple[Run, ...] = ()

    @property
    def head(self) -> Result:
        """Row of the headline."""
        return next(iter(self.rows.values()))

    @property
    def draw(self) -> Draw:
        """What tells it from other runs of one encoder or baseline on one board."""
        return self.head.seed, self.head.weights_draw or 0

    @property
    def has_cases(self) -> bool:
        """Whether the file of its test cases is there."""
        name = self.head.predictions
        return name is not None and (self.store.folder / name).is_file()

    def cases(self) -> Cases | None:
        """Predictions of every test case; None where there is no readable file."""
        return self.store.cases(self.head) if self.has_cases else None


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """All runs of some folders of results.

    Rows of one run share key and date; of equal metrics and baselines among them the
    last counts. Of runs with equal key one counts, see `settled`, wherever they are.

    Args:
        folders: Each holds ``results.jsonl``.

    Returns:
        Sorted by task, protocol, fraction, encoder and seed, never by folder.

    Raises:
        DatasetNotFoundError: If a folder holds no results.
        ConfigError: If rows are of a newer schema.
    """
    found: dict[str, list[Run]] = {}
    for folder in folders:
        store = ResultStore(folder)
        if not store.path.is_file():
            inside = sorted(path.name for path in folder.glob("*"))[:8]
            raise DatasetNotFoundError(
                f"results.jsonl in {folder}",
                ", ".join(inside) if inside else "no such folder, or an empty one",
                "run vlpzoo bench --out DIR first, or name its folder with --results",
            )
        for (key, _), rows in _by_run(store.read()).items():
            values = {row.metric: row for row in rows if row.baseline is None}
            gaps = {row.baseline: row for row in rows if row.baseline is not None}
            if values:
                found.setdefault(key, []).append(Run(store, values, gaps))
    if not found:
        raise DatasetNotFoundError(
            f"results in {', '.join(map(str, folders))}",
            "results.jsonl without a single row",
            "run vlpzoo bench --out DIR first",
        )
    return sorted(map(settled, found.values()), key=_place)


def settled(runs: Sequence[Run]) -> Run:
    """The one that counts of runs of one thing; the others go along with it.

    The newest counts. Only if the same commit also made one with more replicates, it
    is that one: the value is the same, and its interval says more.

    Args:
        runs: Runs of one encoder, used in one way, measured in one way on one draw.
    """
    latest = max(runs, key=_age)
    code = latest.head.commit or "+"
    same = [run for run in runs if run.head.commit == code and not code.endswith("+")]
    held = max(same or [latest], key=lambda run: (_replicates(run), *_age(run)))
    rest: list[Run] = []
    everyone = [each for run in runs for each in (run, *run.others)]
    for each in sorted(everyone, key=_age):
        # The same folder twice, or a copy of it, is no other run.
        if all(each.head != known.head for known in (held, *rest)):
            rest.append(replace(each, others=()))
    return replace(held, others=tuple(reversed(rest)))


def identity(row: Result) -> Identity:
    """What makes two rows one encoder: role, weights, and how they were used.

    All draws of the weights of a random init are one baseline.
    Last comes the joint space, which only rows of a text protocol have.
    """
    used = [json.dumps(row.settings.get(n), sort_keys=True) for n in OF_THE_ENCODER]
    joint = str(row.details.get("joint_sha256", ""))
    return (row.role, row.family, used[0], used[1], used[2], joint)


def same_draws(one: Sequence[Run], two: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Pairs of runs of one draw, to be subtracted.

    Weights that were drawn on one side alone are each paired with the other side's run
    of that seed; where both were, equal draws are.
    """
    return [
        (mine, other)
        for mine in one
        for other in two
        if mine.head.seed == other.head.seed
        and (
            None in (drawn := {mine.head.weights_draw, other.head.weights_draw})
            or len(drawn) == 1
        )
    ]


def encoder_names(runs: Sequence[Run]) -> dict[Identity, str]:
    """A name of its own for every encoder and baseline.

    Names that different encoders share get what tells them apart.
    """
    given: dict[Identity, str] = {}
    for run in runs:
        who = identity(run.head)
        given[who] = min(given.get(who, run.head.encoder), run.head.encoder)
    names = dict(given)
    spaces: dict[tuple[str, ...], set[str]] = {}
    for who in given:
        spaces.setdefault(who[:-1], set()).update({who[-1]} - {""})
    for depth in range(3):
        taken = dict(names)
        for who, name in given.items():
            rivals = [other for other in taken if taken[other] == taken[who]]
            if all(_alike(who, other) for other in rivals):
                continue
            _, sha, preprocessing, pooling, precision, joint = who
            several = joint and len(spaces[who[:-1]]) > 1
            marks = [
                f"weights {sha[:8]}"
                + (f", joint space {joint[:8]}" if several else ""),
                f"pooling {json.loads(pooling)}, precision {json.loads(precision)}",
                f"preprocessing {preprocessing}",
            ]
            names[who] = f"{name} ({', '.join(marks[: depth + 1])})"
    return names


def _alike(one: Identity, two: Identity) -> bool:
    """Whether they are one encoder, seen with and without its texts."""
    return one[:-1] == two[:-1] and (not one[-1] or not two[-1] or one[-1] == two[-1])


def stale_flags(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """What is doubtful about each run.

    "Newest" is the newest of these runs and not the checkout, so that equal results
    give equal pages.

    Args:
        runs: All that are shown together.

    Returns:
        Key of the run to flag (one or two words) to the sentence that explains it.
    """
    newest = max((run.head for run in runs), key=lambda row: (row.date, row.key))
    latest: dict[tuple[str, str], Result] = {}
    for run in runs:
        what = (run.head.task, run.head.protocol)
        held = latest.get(what, run.head)
        if (run.head.date, run.head.key) >= (held.date, held.key):
            latest[what] = run.head
    return {run.head.key: _flags(run, newest, latest) for run in runs}


def _flags(
    run: Run, newest: Result, latest: Mapping[tuple[str, str], Result]
) -> dict[str, str]:
    row = run.head
    flags: dict[str, str] = {}
    if row.schema < SCHEMA:
        flags["old schema"] = f"schema {row.schema}; this version writes {SCHEMA}"
    version = row.versions.get("vlp_zoo")
    if version != __version__:
        flags["other version"] = f"made by vlp_zoo {version}; this is {__version__}"
    if row.commit is None:
        flags["no commit"] = "the commit of the code is not known"
    elif row.commit != newest.commit:
        flags["other commit"] = (
            f"made at {row.commit}; the newest result was made at {newest.commit}"
        )
    if (row.commit or "").endswith("+"):
        flags["edited code"] = "the checkout had changes that were not committed"
    if not run.has_cases:
        flags["no predictions"] = (
            "the file of its test cases is missing: no paired comparison"
        )
    held = latest[row.task, row.protocol]
    if (row.split_sha256, row.data_sha256) != (held.split_sha256, held.data_sha256):
        flags["older data"] = (
            f"a later result of this task has split {held.split_sha256[:12]} and data "
            f"{held.data_sha256[:12]}"
        )
    return flags


def _by_run(rows: Sequence[Result]) -> dict[tuple[str, str], list[Result]]:
    grouped: dict[tuple[str, str], list[Result]] = {}
    for row in rows:
        grouped.setdefault((row.key, row.date), []).append(row)
    return grouped


def _replicates(run: Run) -> int:
    return int(run.head.settings.get("replicates") or 0)


def _age(run: Run) -> tuple[str, bool, str]:
    """By date; what else there is decides between runs of one second."""
    return (run.head.date, run.has_cases, run.head.to_json())


def _place(run: Run) -> tuple[Any, ...]:
    row = run.head
    return (row.task, row.protocol, row.fraction, row.encoder, row.seed, row.key)

"""Stored rows put together again: one run is all that one evaluation wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp_zoo import __version__
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.evaluation.results import SCHEMA, Cases, Result, ResultStore

__all__ = ["Run", "encoder_names", "identity", "read_runs", "stale_flags"]

Identity = tuple[str, str, str, str, str]

OF_THE_ENCODER = ("preprocessing", "pooling", "precision")
"""Settings that say how an encoder was used, and not how it was measured."""


@dataclass(frozen=True)
class Run:
    """One evaluation of one encoder: its metrics, its differences, its cases.

    Attributes:
        store: Where its predictions are.
        rows: Metric to row, the headline first.
        gaps: SHA-256 of a floor to the stored difference.
    """

    store: ResultStore
    rows: Mapping[str, Result]
    gaps: Mapping[str, Result]

    @property
    def head(self) -> Result:
        """Row of the headline."""
        return next(iter(self.rows.values()))

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

    Of rows with equal key, metric and baseline the last counts; of runs with equal key
    in several folders the one of the latest date.

    Args:
        folders: Each holds ``results.jsonl``.

    Returns:
        Sorted by task, protocol, fraction, encoder and seed, never by folder.

    Raises:
        DatasetNotFoundError: If a folder holds no results.
        ConfigError: If rows are of a newer schema.
    """
    found: dict[str, Run] = {}
    for folder in folders:
        store = ResultStore(folder)
        if not store.path.is_file():
            inside = sorted(path.name for path in folder.glob("*"))[:8]
            raise DatasetNotFoundError(
                f"results.jsonl in {folder}",
                ", ".join(inside) if inside else "no such folder, or an empty one",
                "run vlpzoo bench --out DIR first, or name its folder with --results",
            )
        for key, rows in _by_key(store.read()).items():
            values = {row.metric: row for row in rows if row.baseline is None}
            gaps = {row.baseline: row for row in rows if row.baseline is not None}
            if not values:
                continue
            run = Run(store, values, gaps)
            if key not in found or found[key].head.date < run.head.date:
                found[key] = run
    if not found:
        raise DatasetNotFoundError(
            f"results in {', '.join(map(str, folders))}",
            "results.jsonl without a single row",
            "run vlpzoo bench --out DIR first",
        )
    return sorted(found.values(), key=_place)


def identity(row: Result) -> Identity:
    """What makes two rows one encoder: role, weights, and how they were used."""
    used = [json.dumps(row.settings.get(n), sort_keys=True) for n in OF_THE_ENCODER]
    return (row.role, row.encoder_sha256, used[0], used[1], used[2])


def encoder_names(runs: Sequence[Run]) -> dict[Identity, str]:
    """A name of its own for every encoder and floor.

    Names that different encoders share get what tells them apart.
    """
    given: dict[Identity, str] = {}
    for run in runs:
        who = identity(run.head)
        given[who] = min(given.get(who, run.head.encoder), run.head.encoder)
    names = dict(given)
    for depth in range(3):
        taken = list(names.values())
        for who, name in given.items():
            if taken.count(names[who]) == 1:
                continue
            _, sha, preprocessing, pooling, precision = who
            marks = [
                f"weights {sha[:8]}",
                f"pooling {json.loads(pooling)}, precision {json.loads(precision)}",
                f"preprocessing {preprocessing}",
            ]
            names[who] = f"{name} ({', '.join(marks[: depth + 1])})"
    return names


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


def _by_key(rows: Sequence[Result]) -> dict[str, list[Result]]:
    grouped: dict[str, list[Result]] = {}
    for row in rows:
        grouped.setdefault(row.key, []).append(row)
    return grouped


def _place(run: Run) -> tuple[Any, ...]:
    row = run.head
    return (row.task, row.protocol, row.fraction, row.encoder, row.seed, row.key)

"""Which numbers may stand in one column, and what may be said of their differences.

A *board* holds the runs that share task, split, data, preset, the settings that define
what is measured, label fraction, headline, and the labels that count. Nothing else is
ever averaged, ranked or subtracted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from vlp_zoo.evaluation.comparison import holm
from vlp_zoo.evaluation.results import Cases, Result, result_key
from vlp_zoo.evaluation.suite import PIXELS
from vlp_zoo.leaderboard.metric_names import higher_is_better
from vlp_zoo.leaderboard.replicates import (
    Estimate,
    Replicated,
    combine,
    replicate,
    statistic_of,
)
from vlp_zoo.leaderboard.runs import (
    OF_THE_ENCODER,
    Identity,
    Run,
    encoder_names,
    identity,
    stale_flags,
)

__all__ = [
    "Board",
    "Entry",
    "Gap",
    "Pair",
    "make_boards",
]

NOT_OF_THE_METRIC = {*OF_THE_ENCODER, "fraction", "replicates", "known_issues", "name"}
"""Settings that do not change what a number means, or have a place of their own."""

TOLERANCE = 1e-6
"""By how much a value made again from its cases may differ from the stored one."""


@dataclass(frozen=True)
class Gap:
    """An entry minus a floor.

    Attributes:
        floor: Name of the floor.
        random: Whether it is a random copy (else pixels, or another floor).
        estimate: Over the draws that both have.
    """

    floor: str
    random: bool
    estimate: Estimate


@dataclass(frozen=True)
class Entry:
    """An encoder or floor on a board.

    Attributes:
        who: Its identity.
        name: Not shared with another one.
        role: ``"encoder"`` or ``"floor"``.
        runs: One per draw, by seed.
        scores: Metric to value; of several draws their mean.
        gaps: To its floors.
        flags: Flag to explanation: what is doubtful.
    """

    who: Identity
    name: str
    role: str
    runs: tuple[Run, ...]
    scores: Mapping[str, Estimate]
    gaps: tuple[Gap, ...]
    flags: Mapping[str, str]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of its draws."""
        return tuple(run.head.seed for run in self.runs)


@dataclass(frozen=True)
class Pair:
    """Two encoders on the same test cases.

    Attributes:
        first: Name of one.
        second: Name of the other, which is subtracted.
        estimate: Of the headline's difference, with its p-value.
        adjusted: The p-value after Holm's correction over the pairs of the board.
    """

    first: str
    second: str
    estimate: Estimate
    adjusted: float | None


@dataclass(frozen=True)
class Board:
    """Runs whose numbers may be compared.

    Attributes:
        key: Short hash of everything that they share.
        shared: A row, for what they share: task, split, data, protocol, fraction.
        settings: That define the metric.
        metrics: The headline first.
        entries: Encoders, best first; then floors.
        pairs: Of encoders, the largest difference first.
        issues: Known issues of the preset.
        replicates: Behind intervals of differences and of means over draws.
    """

    key: str
    shared: Result
    settings: Mapping[str, Any]
    metrics: tuple[str, ...]
    entries: tuple[Entry, ...]
    pairs: tuple[Pair, ...]
    issues: tuple[str, ...]
    replicates: int

    @property
    def headline(self) -> str:
        """The metric that ranks."""
        return self.metrics[0]

    @property
    def encoders(self) -> tuple[Entry, ...]:
        """Entries that are no floors."""
        return tuple(entry for entry in self.entries if entry.role == "encoder")

    @property
    def floors(self) -> tuple[Entry, ...]:
        """Entries that show what a number is worth."""
        return tuple(entry for entry in self.entries if entry.role != "encoder")

    @property
    def unbeaten(self) -> frozenset[str]:
        """The best encoder, and those not shown to be worse (Holm's p of 0.05)."""
        ranked = [
            entry.name
            for entry in self.encoders
            if (score := entry.scores.get(self.headline)) and score.value is not None
        ]
        if len(ranked) < 2:
            return frozenset()
        best = ranked[0]
        worse = {
            name
            for pair in self.pairs
            if best in (pair.first, pair.second)
            if pair.adjusted is not None and pair.adjusted < 0.05
            for name in (pair.first, pair.second)
        }
        # What cannot be compared has not been shown to be worse either.
        return frozenset({best, *ranked} - (worse - {best}))

    @property
    def column(self) -> tuple[str, ...]:
        """What boards of one curve share: all but the fraction."""
        row = self.shared
        return (
            *(row.task, row.split_sha256, row.data_sha256, row.protocol),
            *(self.headline, json.dumps(self.settings, sort_keys=True)),
            json.dumps(sorted(row.undefined)),
        )


def make_boards(runs: Sequence[Run], *, replicates: int = 1000) -> list[Board]:
    """Group runs and compare what may be compared.

    Args:
        runs: As `vlp_zoo.leaderboard.runs.read_runs` gives them.
        replicates: Of the bootstrap, at least; 0 for no intervals but the stored ones.
            With many pairs there are more, or Holm's correction could never be passed.

    Returns:
        Sorted by task, split, protocol and fraction.
    """
    names, flags = encoder_names(runs), stale_flags(runs)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_board_key(run.head), []).append(run)
    boards = [
        _board(key, group, names, flags, replicates) for key, group in groups.items()
    ]
    return sorted(
        boards,
        key=lambda board: (
            *board.column[:4],
            board.shared.fraction,
            min(entry.seeds for entry in board.entries),
            board.key,
        ),
    )


def _defining(row: Result) -> dict[str, Any]:
    return {k: v for k, v in row.settings.items() if k not in NOT_OF_THE_METRIC}


def _board_key(row: Result) -> str:
    return result_key(
        task=row.task,
        split=row.split_sha256,
        data=row.data_sha256,
        protocol=row.protocol,
        settings=_defining(row),
        fraction=row.fraction,
        headline=row.metric,
        left_out=sorted(row.undefined),
        n=row.n,
    )[:12]


def _board(
    key: str,
    runs: Sequence[Run],
    names: Mapping[Identity, str],
    flags: Mapping[str, dict[str, str]],
    asked: int,
) -> Board:
    by_entry: dict[Identity, dict[int, Run]] = {}
    for run in runs:
        mine = by_entry.setdefault(identity(run.head), {})
        held = mine.get(run.head.seed)
        # The same run with more replicates, or made again later.
        if held is None or _weight(held) < _weight(run):
            mine[run.head.seed] = run
    drawn = {who: dict(sorted(each.items())) for who, each in by_entry.items()}
    headline = runs[0].head.metric
    encoders = sum(who[0] == "encoder" for who in drawn)
    pairs = encoders * (encoders - 1) // 2
    # The smallest p-value, 2 / (R + 1), times the pairs must be able to reach 0.05.
    replicates = max(asked, 40 * pairs) if asked else 0
    tables = _Tables(drawn, headline, replicates)
    entries = [
        _entry(who, tuple(each.values()), names, flags, tables)
        for who, each in drawn.items()
    ]
    entries = [
        replace(entry, gaps=tuple(_gaps(entry, entries, tables))) for entry in entries
    ]
    sign = -1 if higher_is_better(headline) else 1
    entries.sort(key=lambda e: (e.role != "encoder", *_rank(e, headline, sign), e.name))
    metrics = dict.fromkeys(metric for run in runs for metric in run.rows)
    return Board(
        key=key,
        shared=runs[0].head,
        settings=_defining(runs[0].head),
        metrics=tuple(metrics),
        entries=tuple(entries),
        pairs=tuple(_pairs([e for e in entries if e.role == "encoder"], tables)),
        issues=tuple(
            dict.fromkeys(
                str(issue)
                for run in runs
                for issue in run.head.settings.get("known_issues") or ()
            )
        ),
        replicates=replicates,
    )


class _Tables:
    """Replicated metrics of the runs of a board, the same patients for all."""

    def __init__(
        self,
        drawn: Mapping[Identity, Mapping[int, Run]],
        headline: str,
        replicates: int,
    ) -> None:
        self.headline = headline
        self.strange: dict[str, str] = {}
        self.first: Cases | None = None
        statistics = {}
        for each in drawn.values():
            for run in each.values():
                cases = run.cases()
                if cases is None:
                    continue
                self.first = self.first or cases
                if not _same_cases(cases, self.first):
                    self.strange[run.head.key] = (
                        "its test cases are not those of the other runs"
                    )
                    continue
                # Beside the headline only what no stored interval covers.
                for metric in run.rows if len(each) > 1 else (headline,):
                    found = statistic_of(metric, cases, tuple(run.head.undefined))
                    if found is not None:
                        statistics[f"{run.head.key} {metric}"] = found
        patients = self.first.patient_ids if self.first else []
        self._found = (
            replicate(statistics, patients, replicates=replicates) if statistics else {}
        )

    def get(self, run: Run, metric: str) -> Replicated | None:
        return self._found.get(f"{run.head.key} {metric}")

    def difference(self, one: Entry, two: Entry, *, test: bool) -> Estimate | None:
        """Over the draws that both have; None without."""
        theirs = {run.head.seed: run for run in two.runs}
        gaps = []
        for run in one.runs:
            other = theirs.get(run.head.seed)
            if other is None:
                continue
            a, b = self.get(run, self.headline), self.get(other, self.headline)
            if a is not None and b is not None:
                gaps.append(a - b)
        return combine(gaps, test=test) if gaps else None


def _entry(
    who: Identity,
    runs: tuple[Run, ...],
    names: Mapping[Identity, str],
    flags: Mapping[str, dict[str, str]],
    tables: _Tables,
) -> Entry:
    said: dict[str, str] = {}
    for run in runs:
        said |= flags[run.head.key]
        if run.head.key in tables.strange:
            said["other cases"] = tables.strange[run.head.key]
        made = tables.get(run, run.head.metric)
        stored = run.head.value
        if made and stored is not None and abs(made.value - stored) > TOLERANCE:
            said["disagrees"] = (
                f"its predictions give {made.value:.6f}, the stored value is "
                f"{stored:.6f}"
            )
    metrics = dict.fromkeys(metric for run in runs for metric in run.rows)
    scores = {metric: _score(metric, runs, tables) for metric in metrics}
    return Entry(who, names[who], who[0], runs, scores, (), said)


def _score(metric: str, runs: Sequence[Run], tables: _Tables) -> Estimate:
    rows = [run.rows[metric] for run in runs if metric in run.rows]
    values = [row.value for row in rows if row.value is not None]
    if len(values) < len(rows):
        return Estimate(None, draws=len(rows))
    if len(rows) == 1:
        covers = "patients" if rows[0].low is not None else ""
        return Estimate(values[0], rows[0].low, rows[0].high, covers=covers)
    tried = [tables.get(run, metric) for run in runs]
    made = [each for each in tried if each is not None]
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    if len(made) < len(rows):
        return Estimate(mean, sd=sd, draws=len(rows))
    return replace(combine(made), value=mean, sd=sd)


def _gaps(entry: Entry, entries: Sequence[Entry], tables: _Tables) -> Iterator[Gap]:
    """Differences to the floors that its runs named, random copies first."""
    if entry.role != "encoder":
        return
    named = {sha: row for run in entry.runs for sha, row in run.gaps.items()}
    found = []
    for floor in entries:
        pixels = floor.runs[0].head.encoder == PIXELS
        if floor.role == "encoder" or not (floor.who[1] in named or pixels):
            continue
        estimate = tables.difference(entry, floor, test=False)
        if estimate is not None:
            found.append(Gap(floor.name, not pixels, estimate))
            named.pop(floor.who[1], None)
    if len(entry.runs) == 1:
        # Without predictions the stored difference is all there is.
        for row in named.values():
            name = row.baseline_name or ""
            covers = "patients" if row.low is not None else ""
            estimate = Estimate(row.value, row.low, row.high, covers=covers)
            found.append(Gap(name, name != PIXELS, estimate))
    yield from sorted(found, key=lambda gap: (not gap.random, gap.floor))


def _pairs(encoders: Sequence[Entry], tables: _Tables) -> list[Pair]:
    found = []
    for one, two in combinations(encoders, 2):
        estimate = tables.difference(one, two, test=True)
        if estimate is not None and estimate.value is not None:
            found.append((one.name, two.name, estimate))
    p_values = [
        np.nan if estimate.p_value is None else estimate.p_value
        for *_, estimate in found
    ]
    adjusted = holm(np.array(p_values, dtype=np.float64))
    pairs = [
        Pair(*each, None if np.isnan(p) else float(p))
        for each, p in zip(found, adjusted, strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-abs(pair.estimate.value or 0), pair.first))


def _same_cases(one: Cases, two: Cases) -> bool:
    return (
        one.uids == two.uids
        and one.patient_ids == two.patient_ids
        and one.label_names == two.label_names
        and np.array_equal(one.labels, two.labels, equal_nan=True)
    )


def _weight(run: Run) -> tuple[int, str, str]:
    row = run.head
    return (int(row.settings.get("replicates") or 0), row.date, row.key)


def _rank(entry: Entry, headline: str, sign: int) -> tuple[bool, float]:
    score = entry.scores.get(headline)
    if score is None or score.value is None:
        return True, 0.0
    return False, sign * score.value

"""Which numbers may stand in one column, and what may be said of their differences.

A *board* holds the runs that share task, split, data, preset, the settings that define
what is measured, label fraction, headline, and the labels that count. Nothing else is
ever averaged, ranked or subtracted. Draws of few cases can each learn other labels: what
counts are then the labels that all draws could learn, and every value is made again from
the predictions over these.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from vlp_zoo.evaluation.comparison import holm
from vlp_zoo.evaluation.results import Result, result_key
from vlp_zoo.evaluation.suite import PIXELS
from vlp_zoo.leaderboard.metric_names import higher_is_better
from vlp_zoo.leaderboard.replicates import Estimate, combine, statistic_of
from vlp_zoo.leaderboard.runs import (
    OF_THE_ENCODER,
    Identity,
    Run,
    encoder_names,
    identity,
    stale_flags,
)
from vlp_zoo.leaderboard.tables import Tables

__all__ = [
    "Board",
    "Entry",
    "Gap",
    "Pair",
    "make_boards",
]

NOT_OF_THE_METRIC = {*OF_THE_ENCODER, "fraction", "replicates", "known_issues", "name"}
"""Settings that do not change what a number means, or have a place of their own."""


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
        left_out: Label that does not count to the reason.
        issues: Known issues of the preset.
        replicates: Behind intervals of differences and of means over draws.
    """

    key: str
    shared: Result
    settings: Mapping[str, Any]
    metrics: tuple[str, ...]
    entries: tuple[Entry, ...]
    pairs: tuple[Pair, ...]
    left_out: Mapping[str, str]
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
            json.dumps(sorted(self.left_out)),
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
    boards = [
        _board(group, left_out, names, flags, replicates)
        for group, left_out in _grouped(runs)
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


def _board_key(row: Result, left_out: Collection[str]) -> str:
    return result_key(
        task=row.task,
        split=row.split_sha256,
        data=row.data_sha256,
        protocol=row.protocol,
        settings=_defining(row),
        fraction=row.fraction,
        headline=row.metric,
        left_out=sorted(left_out),
        n=row.n,
    )[:12]


def _grouped(runs: Sequence[Run]) -> Iterator[tuple[list[Run], dict[str, str]]]:
    """Runs of one board, and why labels do not count there."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_board_key(run.head, ()), []).append(run)
    for group in groups.values():
        left_out = _reasons(group)
        if len({frozenset(run.head.undefined) for run in group}) == 1:
            yield group, left_out
            continue
        able = [run for run in group if _can_count_others(run, left_out)]
        if able:
            yield able, _reasons(able)
        alone: dict[frozenset[str], list[Run]] = {}
        for run in group:
            if run not in able:
                alone.setdefault(frozenset(run.head.undefined), []).append(run)
        for rest in alone.values():
            yield rest, _reasons(rest)


def _can_count_others(run: Run, left_out: Collection[str]) -> bool:
    """Whether a run's headline can be made again without these labels."""
    cases = run.cases()
    if cases is None or set(cases.label_names) <= set(left_out):
        return False
    return statistic_of(run.head.metric, cases, tuple(left_out)) is not None


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


def _board(
    runs: Sequence[Run],
    left_out: Mapping[str, str],
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
    tables = Tables(drawn, headline, left_out, replicates)
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
        key=_board_key(runs[0].head, left_out),
        shared=runs[0].head,
        settings=_defining(runs[0].head),
        metrics=tuple(metrics),
        entries=tuple(entries),
        pairs=tuple(_pairs([e for e in entries if e.role == "encoder"], tables)),
        left_out=left_out,
        issues=tuple(
            dict.fromkeys(
                str(issue)
                for run in runs
                for issue in run.head.settings.get("known_issues") or ()
            )
        ),
        replicates=replicates,
    )


def _entry(
    who: Identity,
    runs: tuple[Run, ...],
    names: Mapping[Identity, str],
    flags: Mapping[str, dict[str, str]],
    tables: Tables,
) -> Entry:
    said: dict[str, str] = {}
    for run in runs:
        said |= flags[run.head.key]
        if run.head.key in tables.strange:
            said["other cases"] = tables.strange[run.head.key]
        if run.head.key in tables.disagreeing:
            said["disagrees"] = tables.disagreeing[run.head.key]
    metrics = dict.fromkeys(metric for run in runs for metric in run.rows)
    scores = {metric: _score(metric, runs, tables) for metric in metrics}
    return Entry(who, names[who], who[0], runs, scores, (), said)


def _score(metric: str, runs: Sequence[Run], tables: Tables) -> Estimate:
    having = [run for run in runs if metric in run.rows]
    tried = [tables.value(run, metric) for run in having]
    values = [value for value in tried if value is not None]
    if len(values) < len(having):
        return Estimate(None, draws=len(having))
    made = [each for run in runs if (each := tables.get(run, metric)) is not None]
    if len(having) == 1:
        row = having[0].rows[metric]
        if not tables.counts_its_own(having[0]):
            return combine(made)
        covers = "patients" if row.low is not None else ""
        return Estimate(values[0], row.low, row.high, covers=covers)
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    if len(made) < len(having):
        return Estimate(mean, sd=sd, draws=len(having))
    return replace(combine(made), value=mean, sd=sd)


def _gaps(entry: Entry, entries: Sequence[Entry], tables: Tables) -> Iterator[Gap]:
    """Differences to the floors that its runs named, random copies first."""
    if entry.role != "encoder":
        return
    named = {sha: row for run in entry.runs for sha, row in run.gaps.items()}
    found = []
    for floor in entries:
        pixels = floor.runs[0].head.encoder == PIXELS
        if floor.role == "encoder" or not (floor.who[1] in named or pixels):
            continue
        estimate = tables.difference(entry.runs, floor.runs, test=False)
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


def _pairs(encoders: Sequence[Entry], tables: Tables) -> list[Pair]:
    found = []
    for one, two in combinations(encoders, 2):
        estimate = tables.difference(one.runs, two.runs, test=True)
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


def _weight(run: Run) -> tuple[int, str, str]:
    row = run.head
    return (int(row.settings.get("replicates") or 0), row.date, row.key)


def _rank(entry: Entry, headline: str, sign: int) -> tuple[bool, float]:
    score = entry.scores.get(headline)
    if score is None or score.value is None:
        return True, 0.0
    return False, sign * score.value

"""Which numbers may stand in one column, and what may be said of their differences.

A *board* holds the runs that share task, split, data, preset, the settings that define
what is measured, label fraction, headline, and the labels that count
(`vlp_zoo.leaderboard.membership`). Nothing else is ever averaged, ranked or subtracted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from vlp_zoo.bench.candidates import ACQUISITION, PIXELS
from vlp_zoo.evaluation.results import Result
from vlp_zoo.evaluation.statistics.significance import holm
from vlp_zoo.leaderboard.membership import (
    board_key,
    defining_settings,
    shared_boards,
    told_apart,
)
from vlp_zoo.leaderboard.metric_order import higher_is_better, shown_first
from vlp_zoo.leaderboard.replicates import Estimate, combine
from vlp_zoo.leaderboard.runs import (
    Draw,
    Identity,
    Run,
    encoder_names,
    identity,
    stale_flags,
)
from vlp_zoo.leaderboard.tables import Tables

__all__ = ["KINDS", "Board", "Entry", "Gap", "Pair", "make_boards"]

KINDS = ("random init", PIXELS, ACQUISITION)
"""Kinds of baselines that are subtracted, in the order in which tables show them."""


@dataclass(frozen=True)
class Gap:
    """An entry minus a baseline.

    Attributes:
        baseline: Name of the baseline.
        kind: One of `KINDS`; an entry has at most one of each.
        estimate: Over the draws that both have.
    """

    baseline: str
    kind: str
    estimate: Estimate


@dataclass(frozen=True)
class Entry:
    """An encoder or baseline on a board.

    Attributes:
        who: Identity of the encoder or baseline.
        name: Not shared with another one.
        role: ``"encoder"`` or ``"floor"``.
        runs: One per draw, by seed; those of a random init by draw of weights too.
        scores: Metric to value; of several draws their mean.
        drawn: The headline of each run, over the labels of the board.
        gaps: To its baselines, by kind.
        flags: Flag to explanation: what is doubtful.
    """

    who: Identity
    name: str
    role: str
    runs: tuple[Run, ...]
    scores: Mapping[str, Estimate]
    drawn: tuple[Estimate, ...]
    gaps: tuple[Gap, ...]
    flags: Mapping[str, str]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of its draws, each once."""
        return tuple(dict.fromkeys(run.head.seed for run in self.runs))

    @property
    def comparable(self) -> bool:
        """Whether its predictions are those of its numbers and of the test cases."""
        return not {"disagrees", "other cases"} & set(self.flags)

    def gap(self, kind: str) -> Gap | None:
        """Its difference to one kind of baseline."""
        return next((gap for gap in self.gaps if gap.kind == kind), None)


@dataclass(frozen=True)
class Pair:
    """Two encoders on the same test cases.

    Attributes:
        first: Name of one.
        second: Name of the other, which is subtracted.
        estimate: The headline's difference, with its interval and p-value.
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
        settings: Settings that define the metric.
        metrics: The headline first.
        entries: Encoders, best first; then baselines.
        pairs: Pairs of encoders, the largest difference first.
        left_out: Label that does not count to the reason.
        apart: What sets it apart from boards that else look like it, to its value here.
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
    apart: Mapping[str, str]
    issues: tuple[str, ...]
    replicates: int

    @property
    def headline(self) -> str:
        """The metric that ranks."""
        return self.metrics[0]

    @property
    def shown(self) -> tuple[str, ...]:
        """The few metrics beside the headline that a table shows without being asked."""
        held = {
            metric
            for entry in self.entries
            for metric, score in entry.scores.items()
            if score.value is not None
        }
        return shown_first(
            [self.headline, *(metric for metric in self.metrics[1:] if metric in held)]
        )

    @property
    def encoders(self) -> tuple[Entry, ...]:
        """Entries that are no baselines."""
        return tuple(entry for entry in self.entries if entry.role == "encoder")

    @property
    def baselines(self) -> tuple[Entry, ...]:
        """Entries that show what a number is worth."""
        return tuple(entry for entry in self.entries if entry.role != "encoder")

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the baselines that its entries are compared with."""
        held = {gap.kind for entry in self.entries for gap in entry.gaps}
        return tuple(kind for kind in KINDS if kind in held)

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


def make_boards(
    runs: Sequence[Run],
    *,
    replicates: int = 1000,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> list[Board]:
    """Group runs and compare what may be compared.

    Args:
        runs: Stored runs, from `vlp_zoo.leaderboard.runs.read_runs`.
        replicates: Number of bootstrap replicates; 0 for no intervals but the stored
            ones.
        progress: Takes what is made next, how many boards are made, and of how many.

    Returns:
        Sorted by task, split, protocol and fraction.
    """
    names, flags = encoder_names(runs), stale_flags(runs)
    groups = list(shared_boards(runs))
    boards = []
    for made, (group, left_out) in enumerate(groups):
        progress(_announced(group), made, len(groups))
        boards.append(_board(group, left_out, names, flags, replicates))
    progress("curves and page", len(groups), len(groups))
    apart = told_apart({board.key: board.shared for board in boards})
    return sorted(
        (replace(board, apart=apart[board.key]) for board in boards),
        key=lambda board: (
            *board.column[:4],
            board.shared.fraction,
            min(entry.seeds for entry in board.entries),
            board.key,
        ),
    )


def _announced(group: Sequence[Run]) -> str:
    """What a board is of, and how much work it is."""
    row = group[0].head
    encoders = {identity(r.head) for r in group if r.head.role == "encoder"}
    pairs = len(encoders) * (len(encoders) - 1) // 2
    counted = f"{len(group)} runs, {pairs} pair{'s' * (pairs != 1)}"
    return f"{row.task}, {row.protocol}: {counted}"


def _board(
    runs: Sequence[Run],
    left_out: Mapping[str, str],
    names: Mapping[Identity, str],
    flags: Mapping[str, dict[str, str]],
    replicates: int,
) -> Board:
    drawn: dict[Identity, dict[Draw, Run]] = {}
    for run in sorted(runs, key=lambda run: run.draw):
        drawn.setdefault(identity(run.head), {})[run.draw] = run
    headline = runs[0].head.metric
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
        key=board_key(runs[0].head, left_out),
        shared=runs[0].head,
        settings=defining_settings(runs[0].head),
        metrics=tuple(metrics),
        entries=tuple(entries),
        pairs=tuple(_pairs([e for e in entries if e.role == "encoder"], tables)),
        left_out=left_out,
        apart={},
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
    each = tuple(_score(run.head.metric, [run], tables) for run in runs)
    return Entry(who, names[who], who[0], runs, scores, each, (), said)


def _score(metric: str, runs: Sequence[Run], tables: Tables) -> Estimate:
    tried = [tables.value(run, metric) for run in runs]
    values = [value for value in tried if value is not None]
    if len(values) < len(runs):
        # A mean over some of the draws would be another number than the row says.
        return Estimate(None, draws=len(runs))
    made = [each for run in runs if (each := tables.get(run, metric)) is not None]
    if len(runs) == 1:
        row = runs[0].rows[metric]
        if not tables.counts_its_own(runs[0]):
            return combine(made)
        covers = "patients" if row.low is not None else ""
        return Estimate(values[0], row.low, row.high, covers=covers)
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    if len(made) < len(runs):
        return Estimate(mean, sd=sd, draws=len(runs))
    return replace(combine(made), value=mean, sd=sd)


def _gaps(entry: Entry, entries: Sequence[Entry], tables: Tables) -> Iterator[Gap]:
    """Differences to the baselines that its runs named, and to those that all share."""
    if entry.role != "encoder":
        return
    named = {sha: row for run in entry.runs for sha, row in run.gaps.items()}
    found: dict[str, list[tuple[tuple[int, int], Gap]]] = {}
    for baseline in entries:
        if baseline.role == "encoder":
            continue
        kind = _kind(baseline.runs[0].head.encoder)
        weights = {run.head.encoder_sha256 for run in baseline.runs}
        if kind == KINDS[0] and not weights & named.keys():
            continue
        estimate = tables.difference(entry.runs, baseline.runs, test=False)
        if estimate is not None:
            alike = sum(map(str.__eq__, entry.who[2:], baseline.who[2:]))
            gap = Gap(baseline.name, kind, estimate)
            found.setdefault(kind, []).append(((estimate.draws, alike), gap))
    if len(entry.runs) == 1:
        # Without predictions the stored difference is all there is.
        for row in named.values():
            name = row.baseline_name or ""
            if set(row.undefined) != set(tables.left_out):
                continue
            covers = "patients" if row.low is not None else ""
            estimate = Estimate(row.value, row.low, row.high, covers=covers)
            gap = Gap(name, _kind(name), estimate)
            found.setdefault(gap.kind, []).append(((0, 0), gap))
    for kind in KINDS:
        if kind in found:
            # Of baselines used in several ways the one used most like the entry.
            best = max(score for score, _ in found[kind])
            held = [gap for score, gap in found[kind] if score == best]
            yield min(held, key=lambda gap: gap.baseline)


def _kind(baseline: str) -> str:
    return baseline if baseline in KINDS else KINDS[0]


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


def _rank(entry: Entry, headline: str, sign: int) -> tuple[bool, float]:
    score = entry.scores.get(headline)
    if score is None or score.value is None:
        return True, 0.0
    return False, sign * score.value

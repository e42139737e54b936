"""Two encoders on everything that both were measured on, paired case by case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vlp_zoo.errors import ConfigError, unknown_name
from vlp_zoo.evaluation.statistics.significance import (
    DeLong,
    delong_paired,
    holm,
    mcnemar,
)
from vlp_zoo.leaderboard.membership import shared_boards, told_apart
from vlp_zoo.leaderboard.replicates import Estimate
from vlp_zoo.leaderboard.runs import (
    Draw,
    Identity,
    Run,
    encoder_names,
    identity,
    same_draws,
)
from vlp_zoo.leaderboard.tables import Tables

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """What one encoder has over another on one board.

    Attributes:
        run: One of the first encoder's, for task, preset, fraction and headline.
        values: Mean of the headline over the shared draws, first and second.
        estimate: First minus second, with its interval and the p-value of 0.
        labels: Label to its difference of AUROC by DeLong, the p-values adjusted by
            Holm's rule; of one draw with this headline only.
        exact_p: Exact p-value of McNemar's test of right and wrong classes; None
            without classes.
        independent: Whether no patient has several cases, which DeLong and McNemar
            count as independent.
    """

    run: Run
    values: tuple[float, float]
    estimate: Estimate
    labels: dict[str, DeLong]
    exact_p: float | None
    independent: bool


def compare(
    runs: Sequence[Run], first: str, second: str, *, replicates: int = 1000
) -> tuple[list[Comparison], list[str]]:
    """Compare two encoders by their stored predictions.

    Args:
        runs: Stored runs, from `vlp_zoo.leaderboard.runs.read_runs`.
        first: Name of an encoder or a baseline in the results.
        second: Name of the one that is subtracted.
        replicates: Number of paired bootstrap replicates over patients.

    Returns:
        A comparison for each board that holds both, and why there are not more.

    Raises:
        UnknownNameError: If there is no such encoder.
        ConfigError: If a name means several, both mean the same, or nothing compares.
    """
    names = encoder_names(runs)
    one, two = _named(runs, names, first), _named(runs, names, second)
    if one == two:
        raise ConfigError("two encoders", f"{first} twice", "name another one")
    side = {**dict.fromkeys(one, one[0]), **dict.fromkeys(two, two[0])}
    mine = [run for run in runs if identity(run.head) in side]
    found: list[Comparison] = []
    alone: dict[str, Run] = {}
    reasons: list[str] = []
    for number, (group, left_out) in enumerate(shared_boards(mine)):
        drawn: dict[Identity, dict[Draw, Run]] = {one[0]: {}, two[0]: {}}
        for run in group:
            drawn[side[identity(run.head)]][run.draw] = run
        runs_of = [[d[draw] for draw in sorted(d)] for d in drawn.values()]
        pairs = same_draws(*runs_of)
        if not pairs:
            alone[str(number)] = group[0]
            continue
        headline = group[0].head.metric
        tables = Tables(drawn, headline, left_out, replicates)
        estimate = tables.difference(*runs_of, test=True)
        told = {**tables.strange, **tables.disagreeing}
        reasons += [f"{_board(group[0])}: {reason}" for reason in told.values()]
        if estimate is None:
            reasons.append(f"{_board(group[0])}: no predictions that give its values")
            continue
        values = [
            np.mean([_number(tables.value(run, headline)) for run in side_of])
            for side_of in zip(*pairs, strict=True)
        ]
        labels: dict[str, DeLong] = {}
        exact_p = None
        if len(pairs) == 1:
            labels, exact_p = _tests(*pairs[0], left_out)
        row = pairs[0][0].head
        found.append(
            Comparison(
                pairs[0][0],
                (float(values[0]), float(values[1])),
                estimate,
                labels,
                exact_p,
                row.n == row.n_patients,
            )
        )
    reasons += _unpaired(alone, names)
    if not found:
        raise ConfigError(
            f"an evaluation of both {first} and {second} on the same test cases",
            "; ".join(reasons),
            "evaluate both by one command: vlpzoo bench --encoder A --encoder B",
        )
    return found, reasons


def _named(
    runs: Sequence[Run], names: dict[Identity, str], name: str
) -> list[Identity]:
    """An encoder as it was seen without and with its texts."""
    called = {identity(run.head) for run in runs if run.head.encoder == name}
    called = {who for who in names if names[who] == name} or called
    whole = {names[who] for who in called}
    if not called:
        raise unknown_name(
            "encoder in the results",
            name,
            sorted(set(names.values())),
            "check the name",
        )
    if len(whole) > 1:
        raise ConfigError(
            f"one encoder called {name}",
            "; ".join(sorted(whole)),
            "give the whole name, as it stands here",
        )
    return sorted(called)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _tests(
    one: Run, two: Run, left_out: dict[str, str]
) -> tuple[dict[str, DeLong], float | None]:
    """DeLong's test for each label, or McNemar's of exclusive classes, of one draw."""
    mine, other = one.cases(), two.cases()
    if mine is None or other is None:
        return {}, None
    truth = mine.columns.get("class")
    if truth is not None:
        if not {"predicted"} <= mine.columns.keys() & other.columns.keys():
            return {}, None
        right = [each.columns["predicted"] == truth for each in (mine, other)]
        return {}, mcnemar(right[0], right[1])
    if one.head.metric != "macro_auroc":
        return {}, None
    tests = {}
    for k, label in enumerate(mine.label_names):
        known = ~np.isnan(mine.labels[:, k])
        if label not in left_out:
            tests[label] = delong_paired(
                mine.labels[known, k] > 0.5,
                mine.scores[known, k],
                other.scores[known, k],
            )
    adjusted = holm(np.array([test.p_value for test in tests.values()]))
    return {
        label: DeLong(test.value, test.standard_error, float(p))
        for (label, test), p in zip(tests.items(), adjusted, strict=True)
    }, None


def _unpaired(alone: dict[str, Run], names: dict[Identity, str]) -> Iterator[str]:
    """Why boards hold one of the two only."""
    differing = told_apart({key: run.head for key, run in alone.items()})
    for key, run in alone.items():
        facts = ", ".join(f"{n} {v}" for n, v in differing[key].items())
        yield (
            f"{_board(run)}: {names[identity(run.head)]} alone"
            + (f", measured otherwise ({facts})" if facts else "")
        )


def _board(run: Run) -> str:
    row = run.head
    share = f", {100 * row.fraction:.3g}% of labels" if row.fraction < 1 else ""
    return f"{row.task}, {row.protocol}{share}"

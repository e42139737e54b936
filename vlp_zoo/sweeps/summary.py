"""What a sweep found: means over seeds, differences to the baseline, as tables.

The spread (standard deviation) is over seeds, that is over trainings. The interval of a
difference is over test patients: both variants are scored on the same resampled
patients, all seeds at once. Neither covers the other, nor the look at many rows.
"""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp_zoo.sweeps.objective import Measure, Objective
from vlp_zoo.sweeps.plan import Run, Sweep, Variant
from vlp_zoo.sweeps.runs import read_record

if TYPE_CHECKING:
    from vlp_zoo.evaluation.results import Result, ResultStore
    from vlp_zoo.evaluation.statistics.intervals import Interval

__all__ = ["Difference", "Line", "as_csv", "as_markdown", "summarise"]


@dataclass(frozen=True)
class Difference:
    """A variant minus the baseline, over the seeds that both have.

    Attributes:
        value: Mean difference.
        low: Lower bound of the 95 % interval over test patients; None without cases.
        high: Upper bound.
        seeds: How many seeds were paired.
    """

    value: float
    low: float | None
    high: float | None
    seeds: int


@dataclass(frozen=True)
class Line:
    """One variant, measured in one way.

    Attributes:
        variant: Name of the variant.
        axes: Axis to label or value.
        group: What was measured.
        values: Seed to value; the key None where there are no seeds.
        wanted: How many runs the variant has.
        low: Lower bound over test patients of a single run.
        high: Upper bound.
        difference: To the baseline; None for the baseline itself.
        seconds: Mean wall time of a run.
        folders: Seed to the run's folder.
        beside: Name of the baseline that was measured beside the encoders of these
            runs; None for the encoders themselves.
    """

    variant: str
    axes: Mapping[str, Any]
    group: str
    values: Mapping[int | None, float]
    wanted: int
    low: float | None = None
    high: float | None = None
    difference: Difference | None = None
    seconds: float = 0.0
    folders: Mapping[int | None, Path] = field(default_factory=dict, repr=False)
    beside: str | None = None

    @property
    def mean(self) -> float:
        """Over seeds."""
        return statistics.fmean(self.values.values())

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None for fewer than two."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None


def summarise(
    sweep: Sweep, out: Path, variants: Sequence[Variant] | None = None
) -> list[Line]:
    """Collect what is finished.

    Args:
        sweep: The sweep.
        out: Folder of all sweeps.
        variants: Those of the grid by default; the trials of a search.

    Returns:
        Lines in the order of the variants; a variant without a finished run has none.
        Last come pixels and other baselines, where the evaluation measured them, of
        the runs of the variant that others are compared with.
    """
    variants = sweep.variants() if variants is None else list(variants)
    lines: list[Line] = []
    for variant in variants:
        runs = sweep.runs(out, [variant])
        lines += _lines(variant, runs, sweep.objective)
    if sweep.search is not None or not variants:
        return lines
    name = sweep.baseline or variants[0].name
    lines += [
        each
        for variant in variants
        if variant.name == name
        for each in _beside(variant, sweep.runs(out, [variant]), sweep.objective)
    ]
    baselines = {line.group: line for line in lines if line.variant == name}
    return [
        line
        if line.variant == name or line.group not in baselines
        else _compared(line, baselines[line.group], sweep.objective)
        for line in lines
    ]


def _lines(variant: Variant, runs: Sequence[Run], objective: Objective) -> list[Line]:
    seconds: dict[int | None, float] = {}
    groups: dict[str, dict[int | None, Measure]] = {}
    for run in runs:
        if (record := read_record(run, objective)) is not None:
            seconds[run.order.seed] = record.seconds
            for measure in record.measures:
                groups.setdefault(measure.group, {})[run.order.seed] = measure
    lines = []
    for group, measures in groups.items():
        single = next(iter(measures.values()))
        bounds = (single.low, single.high) if len(measures) == 1 else (None, None)
        lines.append(
            Line(
                variant.name,
                variant.axes,
                group,
                {seed: measure.value for seed, measure in measures.items()},
                len(runs),
                *bounds,
                seconds=statistics.fmean(seconds[seed] for seed in measures),
                folders={run.order.seed: run.folder for run in runs},
            )
        )
    return lines


def _beside(variant: Variant, runs: Sequence[Run], objective: Objective) -> list[Line]:
    """Lines of the baselines that the evaluation of finished runs measured."""
    if objective.logged is not None:
        return []
    done = [run for run in runs if read_record(run, objective) is not None]
    folders = {run.order.seed: run.folder for run in done}
    found: dict[tuple[str, str], dict[int | None, float]] = {}
    for seed, folder in folders.items():
        for name in objective.baselines(folder):
            for group, rows in objective.rows(folder, name).items():
                values = [row.value for row in rows if row.value is not None]
                found.setdefault((name, group), {})[seed] = statistics.fmean(values)
    return [
        Line(
            name,
            dict.fromkeys(variant.axes, name),
            group,
            values,
            len(runs),
            folders=folders,
            beside=name,
        )
        for (name, group), values in found.items()
    ]


def _compared(line: Line, baseline: Line, objective: Objective) -> Line:
    seeds = [seed for seed in line.values if seed in baseline.values]
    if not seeds:
        return line
    paired = _paired(line, baseline, seeds, objective)
    if paired is None:
        gaps = [line.values[seed] - baseline.values[seed] for seed in seeds]
        difference = Difference(statistics.fmean(gaps), None, None, len(seeds))
    else:
        difference = Difference(paired.value, paired.low, paired.high, len(seeds))
    return Line(**{**vars(line), "difference": difference})


def _paired(
    line: Line, baseline: Line, seeds: Sequence[int | None], objective: Objective
) -> Interval | None:
    """Difference with its interval over test patients; None without predictions.

    Over the labels that count for both, where the means of each may be over others.
    """
    from vlp_zoo.evaluation.statistics.metrics import METRICS

    logged = objective.logged is not None
    if logged or objective.split != "test" or objective.metric not in METRICS:
        return None
    import numpy as np

    from vlp_zoo.evaluation.results import ResultStore
    from vlp_zoo.evaluation.statistics.intervals import paired_difference

    labels, mine, theirs = [], [], []
    patients: list[str] | None = None
    uids: list[str] = []
    replicates = 0
    for seed in seeds:
        folders = [each.folders[seed] for each in (line, baseline)]
        rows = [
            objective.rows(folder, each.beside).get(line.group, [])
            for folder, each in zip(folders, (line, baseline), strict=True)
        ]
        stores = [ResultStore(folder / "bench") for folder in folders]
        # Of a random init each draw of its weights is one of several of a seed.
        for one, other in product(*rows):
            if one.seed != other.seed:
                continue
            pair = _cases(one, other, stores)
            if pair is None or (patients is not None and pair[3] != uids):
                return None
            labels.append(pair[0])
            mine.append(pair[1])
            theirs.append(pair[2])
            uids, patients = pair[3], pair[4]
            replicates = int(one.settings.get("replicates", 1000))
    if patients is None or not replicates:
        return None
    # The metric is a mean over columns: with all seeds side by side it becomes the
    # mean over seeds, on patients that are resampled for all of them at once.
    gap = paired_difference(
        objective.metric,
        np.hstack(labels),
        np.hstack(mine),
        np.hstack(theirs),
        patients,
        replicates=replicates,
    )
    return None if math.isnan(gap.low) else gap


def _cases(
    row: Result, other: Result, stores: Sequence[ResultStore]
) -> tuple[Any, Any, Any, list[str], list[str]] | None:
    """Labels and both scores of the labels that count, uids, and patients."""
    mine, theirs = stores[0].cases(row), stores[1].cases(other)
    if mine is None or theirs is None or mine.uids != theirs.uids:
        return None
    if mine.label_names != theirs.label_names:
        return None
    left_out = {**row.undefined, **other.undefined}
    used = [k for k, name in enumerate(mine.label_names) if name not in left_out]
    return (
        mine.labels[:, used],
        mine.scores[:, used],
        theirs.scores[:, used],
        mine.uids,
        mine.patient_ids,
    )


def as_csv(lines: Sequence[Line], baseline: str | None, split: str = "") -> str:
    """One row per line, with everything in it.

    Args:
        lines: Summary lines from `summarise`.
        baseline: Name of the variant that was subtracted, for its column.
        split: Split that the numbers are of; empty where they were logged.
    """
    axes = list(dict.fromkeys(axis for line in lines for axis in line.axes))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(
        [
            *("variant", *axes, "measured", "split", "runs", "wanted", "mean", "sd"),
            *("low", "high", "baseline", "difference", "difference_low"),
            *("difference_high", "paired_seeds", "seconds", "values"),
        ]
    )
    for line in lines:
        gap = line.difference
        rows.writerow(
            [
                line.variant,
                *(_cell(line.axes.get(axis)) for axis in axes),
                line.group,
                split,
                len(line.values),
                line.wanted,
                *map(_exact, (line.mean, line.spread, line.low, line.high)),
                baseline if gap else "",
                *map(_exact, (gap.value, gap.low, gap.high) if gap else [None] * 3),
                gap.seeds if gap else "",
                round(line.seconds, 1),
                " ".join(f"{_seed(s)}{v!r}" for s, v in line.values.items()),
            ]
        )
    return text.getvalue()


def as_markdown(sweep: Sweep, lines: Sequence[Line], best: str | None = None) -> str:
    """A table for each thing measured, and below it what its numbers are.

    Args:
        sweep: The sweep.
        lines: Summary lines from `summarise`.
        best: Name of the best trial of a search.
    """
    text = [f"# {sweep.name}", ""]
    if best is not None:
        count = len({line.variant for line in lines})
        by = sweep.objective.described
        text += [f"Best of {count}: {best}, by {by}.", ""]
        text += [f"Note: {warned}.", ""] if (warned := sweep.objective.warning) else []
    for group in dict.fromkeys(line.group for line in lines):
        mine = [line for line in lines if line.group == group]
        what = sweep.objective.logged or sweep.objective.described
        text += [f"## {what}: {group}" if what not in group else f"## {group}", ""]
        text += _table(sweep, mine)
        text.append("")
    if not lines:
        text += ["Nothing is finished yet.", ""]
    text += _notes(lines)
    return "\n".join(text) + "\n"


def _table(sweep: Sweep, lines: Sequence[Line]) -> list[str]:
    searched = sweep.search is not None
    axes = list(lines[0].axes) if searched else []
    compared = any(line.difference for line in lines)
    head = ["variant", *axes, "runs", "mean ± sd"]
    head += ["minus baseline [95 %]"] if compared else []
    rows = [[*head, "minutes"]]
    for line in lines:
        number = f"{line.mean:.4g}" if abs(line.mean) >= 10 else f"{line.mean:.3f}"
        if line.spread is not None:
            number += f" ± {line.spread:.3f}"
        elif line.low is not None and line.high is not None:
            number += f" [{line.low:.3f}, {line.high:.3f}]"
        short = "" if len(line.values) == line.wanted else f" of {line.wanted}"
        row = [line.variant, *(_cell(line.axes.get(axis)) for axis in axes)]
        row += [f"{len(line.values)}{short}", number]
        row += [_gap(line.difference)] if compared else []
        rows.append([*row, "" if line.beside else f"{line.seconds / 60:.1f}"])
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    names = 1 + len(axes)
    rule = ["---"] * names + ["---:"] * (len(rows[0]) - names)
    return [f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]]]


def _gap(difference: Difference | None) -> str:
    if difference is None:
        return "baseline"
    text = f"{difference.value:+.3f}"
    if difference.low is None or difference.high is None:
        return text
    return f"{text} [{difference.low:+.3f}, {difference.high:+.3f}]"


def _notes(lines: Sequence[Line]) -> list[str]:
    notes = []
    if any(line.spread is not None for line in lines):
        notes.append("± is the standard deviation over seeds, that is over trainings.")
    gaps = [line.difference for line in lines if line.difference]
    if any(line.low is not None and line.spread is None for line in lines) or any(
        gap.low is not None for gap in gaps
    ):
        notes.append(
            "Brackets are 95 % bootstrap intervals over test patients (paired for "
            "differences, all seeds on the same patients); they do not cover the "
            "training, nor the look at many rows."
        )
    if any(gap.low is None for gap in gaps):
        notes.append("A difference without brackets has no test cases behind it.")
    return notes


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else json.dumps(value)


def _seed(seed: int | None) -> str:
    return "" if seed is None else f"{seed}:"


def _exact(value: float | None) -> str:
    return "" if value is None else repr(float(value))

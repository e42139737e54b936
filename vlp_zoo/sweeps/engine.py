"""A whole sweep: what is finished is found, the rest is run, then it is summed up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vlp_zoo.errors import DependencyNotFoundError
from vlp_zoo.files import write_whole
from vlp_zoo.sweeps.executors import Executor, Reporter
from vlp_zoo.sweeps.plan import Run, Sweep, Variant
from vlp_zoo.sweeps.runs import Outcome, prepare, state_of
from vlp_zoo.sweeps.summary import Line, as_csv, as_markdown, summarise

__all__ = ["Report", "Silent", "carry_out", "write_summary"]


class Silent:
    """A reporter that says nothing."""

    def started(self, run: Run) -> None:
        """Nothing."""

    def ended(self, run: Run, outcome: Outcome) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Report:
    """What happened this time.

    Attributes:
        variants: All of the sweep, in order.
        finished: Names of the runs that were finished before.
        outcomes: Outcomes of the other runs, by `Run.name`.
    """

    variants: list[Variant]
    finished: list[str] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def failed(self) -> list[str]:
        """Names of the runs that did not finish."""
        return [n for n, o in self.outcomes.items() if o.status != "finished"]


def carry_out(
    sweep: Sweep, out: Path, executor: Executor, reporter: Reporter | None = None
) -> Report:
    """Run what is not finished.

    Args:
        sweep: The sweep.
        out: Folder of all sweeps.
        executor: Carries the runs out.
        reporter: Is told what happens.

    Raises:
        ConfigError: If a run's folder holds a run of other commands; nothing is
            started then.
        KeyboardInterrupt: On Ctrl-C, after the runs were stopped.
    """
    reporter = reporter or Silent()
    if sweep.search is not None:
        from vlp_zoo.sweeps.search import search

        variants, outcomes = search(sweep, out, executor, reporter)
        return Report(variants, [], outcomes)
    runs = sweep.runs(out)
    finished = [run.name for run in runs if state_of(run) == "finished"]
    todo = [run for run in runs if run.name not in finished]
    for run in todo:
        prepare(run)
    outcomes = executor.carry_out(todo, sweep.objective, reporter)
    return Report(sweep.variants(), finished, outcomes)


def write_summary(
    sweep: Sweep, out: Path, variants: Sequence[Variant] | None = None
) -> tuple[list[Line], list[str]]:
    """Write ``table.csv``, ``table.md`` and ``plot.svg`` of what is finished.

    Args:
        sweep: The sweep.
        out: Folder of all sweeps.
        variants: Those of the grid by default; the trials of a search.

    Returns:
        The lines of the tables, and notes on what could not be written.
    """
    folder, notes = out / sweep.name, []
    lines = summarise(sweep, out, variants)
    named = sweep.variants() if variants is None else list(variants)
    baseline = sweep.baseline or (named[0].name if named else None)
    baseline = None if sweep.search else baseline
    split = "" if sweep.objective.logged else sweep.objective.split
    write_whole(folder / "table.csv", as_csv(lines, baseline, split))
    write_whole(folder / "table.md", as_markdown(sweep, lines, _best(sweep, lines)))
    if lines:
        from vlp_zoo.sweeps.plot import draw

        try:
            trained = [line for line in lines if line.beside is None]
            draw(sweep, trained, folder / "plot.svg", baseline)
        except DependencyNotFoundError as error:
            notes.append(f"no plot: {error.looked_for}: {error.do_this}")
    return lines, notes


def _best(sweep: Sweep, lines: Sequence[Line]) -> str | None:
    """The best trial, with its parameters; its value is the mean over all groups."""
    if sweep.search is None or not lines:
        return None
    trials: dict[str, list[Line]] = {}
    for line in lines:
        trials.setdefault(line.variant, []).append(line)
    better = max if sweep.search.direction != "minimize" else min
    name = better(trials, key=lambda n: sum(x.mean for x in trials[n]) / len(trials[n]))
    axes = ", ".join(f"{axis} {value}" for axis, value in trials[name][0].axes.items())
    return f"{name} ({axes})"

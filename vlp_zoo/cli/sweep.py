"""``vlpzoo sweep``: many runs of fit or bench, each in its own folder and process."""

from __future__ import annotations

import argparse
import shlex
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from vlp_zoo.cli.parser import StrictParser
from vlp_zoo.cli.screen import progress_bar
from vlp_zoo.errors import ConfigError, unknown_name
from vlp_zoo.files import configs_folder, require_writable
from vlp_zoo.reading.yamls import parse_yaml

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from vlp_zoo.sweeps.engine import Report
    from vlp_zoo.sweeps.executors import Executor
    from vlp_zoo.sweeps.plan import Run, Sweep
    from vlp_zoo.sweeps.runs import Outcome

__all__ = ["main", "sweep_names", "sweep_path"]


def _parser() -> argparse.ArgumentParser:
    parser = StrictParser(
        prog="vlpzoo sweep",
        description="Run a grid, a list of ablations or a search of vlpzoo fit or bench.",
        epilog=f"Packaged sweeps: {', '.join(sweep_names())}. Finished runs are found "
        "again and stopped trainings go on: start the same command anew.",
    )
    parser.add_argument("sweep", metavar="FILE.yaml|NAME")
    parser.add_argument("--out", type=Path, default=Path("runs/sweeps"))
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="runs at a time (1; slurm: 16)"
    )
    parser.add_argument(
        "--gpus",
        nargs="+",
        default=[],
        metavar="ID",
        help="local: devices to deal out, through CUDA_VISIBLE_DEVICES",
    )
    parser.add_argument(
        "--gpus-per-run",
        type=int,
        metavar="N",
        help="how many a run gets (1; slurm: 0)",
    )
    parser.add_argument("--executor", choices=["local", "slurm"], default="local")
    parser.add_argument("--partition", metavar="NAME", help="slurm: partition")
    parser.add_argument(
        "--time", type=int, metavar="MINUTES", help="slurm: limit of a run (60)"
    )
    parser.add_argument("--cpus", type=int, metavar="N", help="slurm: cores of a run")
    parser.add_argument("--mem", type=int, metavar="GB", help="slurm: memory of a run")
    parser.repeat(
        "--slurm",
        "KEY=VALUE",
        "slurm: further option of submitit, such as account=mine",
    )
    parser.repeat(
        "--set",
        "FLAG=VALUE",
        "change an option of the file; evaluate.FLAG, seeds and name as well",
        dest="changes",
    )
    parser.repeat("--unset", "FLAG", "leave out an option of the file")
    parser.add_argument(
        "--dry-run", action="store_true", help="print all commands, run nothing"
    )
    return parser


def sweep_names() -> list[str]:
    """Names of the packaged sweeps."""
    return sorted(path.stem for path in (configs_folder() / "sweeps").glob("*.yaml"))


def sweep_path(value: str) -> Path:
    """The file of a sweep: a path as it is, else a packaged name.

    Raises:
        UnknownNameError: If there is neither.
    """
    if Path(value).is_file():
        return Path(value)
    name = value.removeprefix("sweeps/")
    if name in sweep_names():
        return configs_folder() / "sweeps" / f"{name}.yaml"
    raise unknown_name(
        "sweep file or packaged sweep", value, sweep_names(), "check the spelling"
    )


def main(argv: list[str]) -> int:
    """Run a sweep, or print its plan.

    Returns:
        0 if every run finished, 1 if one did not.

    Raises:
        ConfigError: For options or files that cannot be.
    """
    from vlp_zoo.sweeps.reading import read_sweep

    options = _parser().parse_args(argv)
    changes = dict(_pair("--set", word) for word in options.changes)
    sweep = read_sweep(sweep_path(options.sweep), changes, options.unset)
    executor = _executor(options, options.out / sweep.name)
    _check_evaluations(sweep, options.out)
    if options.dry_run:
        _print_plan(sweep, options.out)
        return 0
    require_writable(options.out / sweep.name)
    return _run(sweep, options.out, executor)


def _check_evaluations(sweep: Sweep, out: Path) -> None:
    """Refuse now what bench would refuse after the first training.

    Raises:
        VLPZooError: The error that ``vlpzoo bench`` would raise.
    """
    if sweep.program or (sweep.search and sweep.command == "bench"):
        # Another program's words are its own; draws of a search come when it runs.
        return
    from vlp_zoo.cli.bench.plan import planned

    commands = [words for run in sweep.runs(out) for words in run.order.commands]
    for words in dict.fromkeys(tuple(w[1:]) for w in commands if w[0] == "bench"):
        planned(words)


def _pair(option: str, word: str) -> tuple[str, Any]:
    name, given, value = word.partition("=")
    if not given or not name:
        raise ConfigError(f"{option} FLAG=VALUE", word, "write it with an equals sign")
    try:
        return name.lstrip("-"), parse_yaml(value)
    except ValueError as error:
        raise ConfigError(
            f"a value in {option} {word}", str(error), "quote it"
        ) from error


def _executor(options: argparse.Namespace, folder: Path) -> Executor:
    from vlp_zoo.sweeps.executors import LocalExecutor, SlurmExecutor

    slurm = {
        "slurm_partition": options.partition,
        "timeout_min": options.time,
        "cpus_per_task": options.cpus,
        "mem_gb": options.mem,
        **{f"slurm_{k}": v for k, v in (_pair("--slurm", w) for w in options.slurm)},
    }
    slurm = {name: value for name, value in slurm.items() if value is not None}
    if options.executor == "local":
        if slurm:
            raise ConfigError(
                "options of SLURM with --executor slurm",
                f"{', '.join(slurm)} with --executor local",
                "add --executor slurm, or leave them out",
            )
        each = 1 if options.gpus_per_run is None else options.gpus_per_run
        if options.gpus_per_run is not None and not options.gpus:
            raise ConfigError(
                "--gpus, for --gpus-per-run to share out", "none", "name the devices"
            )
        width = 1 if options.jobs is None else options.jobs
        return LocalExecutor(width, options.gpus, each)
    if options.gpus:
        raise ConfigError(
            "--gpus only with --executor local",
            f"--gpus {' '.join(options.gpus)}",
            "a cluster deals them out: use --gpus-per-run",
        )
    slurm = {"timeout_min": 60, "name": folder.name, **slurm}
    if options.gpus_per_run:
        slurm["gpus_per_node"] = options.gpus_per_run
    return SlurmExecutor(folder / "slurm", options.jobs or 16, slurm)


def _print_plan(sweep: Sweep, out: Path) -> None:
    from vlp_zoo.sweeps.plan import FOLDER
    from vlp_zoo.sweeps.runs import state_of

    runs = sweep.runs(out)
    if sweep.search is not None:
        plan = sweep.search
        print(
            f"{plan.trials} trials, {plan.direction} {sweep.objective.described}; ranges:"
        )
        if warned := sweep.objective.warning:
            print(warned)
        for flag, given in plan.parameters.items():
            print(f"  --{flag}: {given}")
        print("each runs, with draws in place of the ranges:")
    else:
        print(f"{len(runs)} runs below {out / sweep.name}:")
        print(f"judged by {sweep.objective.described}")
    for run in runs:
        print(f"{run.name}: {state_of(run)}, {run.folder.name}")
        program = run.order.program or ["vlpzoo"]
        for words in run.order.commands:
            filled = [word.replace(FOLDER, str(run.folder)) for word in words]
            print(f"  {shlex.join([*program, *filled])}")


def _run(sweep: Sweep, out: Path, executor: Executor) -> int:
    from vlp_zoo.sweeps.engine import carry_out, write_summary

    folder = out / sweep.name
    said = sweep.objective.warning if sweep.search is not None else None
    print(said or f"judged by {sweep.objective.described}", file=sys.stderr)
    with _Live(sweep, out) as live:
        try:
            report = carry_out(sweep, out, executor, live)
        except KeyboardInterrupt:
            if sweep.search is None:
                write_summary(sweep, out)
                print(f"\nfinished so far: {folder / 'table.md'}", file=sys.stderr)
            print(
                "running trainings were stopped; the same command goes on with them",
                file=sys.stderr,
            )
            raise
    lines, notes = write_summary(sweep, out, report.variants)
    print((folder / "table.md").read_text(encoding="utf-8"))
    plot = ["plot.svg"] if lines and not notes else []
    print(", ".join(str(folder / name) for name in ("table.csv", "table.md", *plot)))
    for note in notes:
        print(note, file=sys.stderr)
    return _print_failures(sweep, out, report)


def _print_failures(sweep: Sweep, out: Path, report: Report) -> int:
    from vlp_zoo.sweeps.runs import last_lines

    failed = report.failed
    if not failed:
        return 0
    folders = {run.name: run.folder for run in sweep.runs(out, report.variants)}
    print(f"\n{len(failed)} of {len(report.outcomes)} runs failed:", file=sys.stderr)
    for name in failed:
        outcome, folder = report.outcomes[name], folders.get(name)
        why = outcome.note or f"exit code {outcome.code}"
        print(f"\n{name}: {outcome.status} ({why})", file=sys.stderr)
        if folder is not None:
            print(f"  {folder / 'log.txt'} ends with", file=sys.stderr)
            for line in last_lines(folder).splitlines():
                print(f"  | {line}", file=sys.stderr)
    again = "the same command tries these again"
    if sweep.search is not None:
        again = "failed trials are not drawn again; more: --set search.trials=N"
    print(f"\n{again}", file=sys.stderr)
    return 1


class _Live:
    """Progress: a bar on a terminal, and one line per run that ended anywhere."""

    def __init__(self, sweep: Sweep, out: Path) -> None:
        from rich.console import Console
        from rich.progress import TimeElapsedColumn

        self.console: Console = Console(stderr=True, soft_wrap=True)
        self.lock = threading.Lock()
        self.running: dict[str, None] = {}
        if sweep.search is not None:
            self.total = sweep.search.trials * (len(sweep.seeds) or 1)
            folders = list((out / sweep.name).glob("trial-*"))
        else:
            folders = [run.folder for run in sweep.runs(out)]
            self.total = len(folders)
        self.done = sum((folder / "result.json").is_file() for folder in folders)
        if self.done:
            self._say(f"{self.done} of {self.total} runs were finished before")
        self.bar: Progress = progress_bar(
            TimeElapsedColumn(),
            "{task.fields[running]}",
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task(
            sweep.name, total=self.total, completed=self.done, running=""
        )

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False)

    def started(self, run: Run) -> None:
        """A run begins."""
        with self.lock:
            self.running[run.name] = None
            if not self.console.is_terminal:
                self._say(f"{run.name}: started, {run.folder / 'log.txt'}")
            self._update()

    def ended(self, run: Run, outcome: Outcome) -> None:
        """A run has ended."""
        with self.lock:
            self.running.pop(run.name, None)
            self.done += 1
            note = outcome.note or f"exit code {outcome.code}"
            line = f"{run.name}: {outcome.status}, {note}"
            self._say(f"{line} ({outcome.seconds:.0f} s) [{self.done}/{self.total}]")
            self._update()

    def _update(self) -> None:
        shown = "; ".join(list(self.running)[:3])
        more = len(self.running) - 3
        shown += f" and {more} more" if more > 0 else ""
        self.bar.update(self.task, completed=self.done, running=shown)

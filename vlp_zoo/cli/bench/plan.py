"""What the words of ``vlpzoo bench`` ask for: which tasks, by which presets.

A sweep asks the same before its first training: a slip in what is to be evaluated costs
seconds then, and not the trainings before it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vlp_zoo.bench.tasks import DRAWN, TASKS, check_options, flag
from vlp_zoo.cli.bench.options import DATA_OPTIONS, bench_parser
from vlp_zoo.errors import ConfigError, DatasetNotFoundError

if TYPE_CHECKING:
    import argparse

    from vlp_zoo.bench.presets import SuiteTask

__all__ = ["planned"]


def planned(argv: Sequence[str]) -> tuple[argparse.Namespace, list[SuiteTask]]:
    """Read and check the words; no data and no encoder are opened.

    Args:
        argv: Options of the sub-command.

    Returns:
        The options, and the tasks with their presets, fractions and seeds.

    Raises:
        ConfigError: For options that cannot be.
        UnknownNameError: If there is no such task, suite or preset.
        DatasetNotFoundError: If no task of a suite has its data here.
    """
    options = bench_parser().parse_args(argv)
    if not options.encoder or not (options.task or options.suite):
        raise ConfigError(
            "at least one --encoder, and one --task or --suite",
            f"--encoder {options.encoder}, --task {options.task}",
            f"vlpzoo bench --encoder FILE.safetensors --task TASK; tasks: {TASKS}",
        )
    from vlp_zoo.bench.presets import SuiteTask, read_preset, read_suite

    given = {k: v for k, v in vars(options).items() if k in DATA_OPTIONS}
    for name in options.task:
        check_options([name], given)
    settings = dict(given)
    if options.min_positives is not None:
        settings["min_positives"] = options.min_positives
    wanted = [
        SuiteTask("", name, settings, tuple(options.preset or ["vlp-linear"]))
        for name in dict.fromkeys(options.task)
    ]
    suites = [task for name in options.suite for task in read_suite(name).tasks]
    roots = _roots(options.root)
    _check_suites(options, suites, roots, given)
    if suites:
        wanted += _located(suites, roots, given)
    wanted = [
        replace(
            task,
            fractions=tuple(options.fractions or task.fractions),
            seeds=tuple(options.seeds or task.seeds),
        )
        for task in wanted
    ]
    for task in wanted:
        for preset in task.presets:
            protocol = read_preset(preset).protocol
            for fraction in task.fractions:
                replace(protocol, fraction=fraction, replicates=options.bootstrap)
    return options, wanted


def _roots(options: Sequence[str]) -> dict[str, str]:
    roots = {}
    for option in options:
        name, _, place = option.partition("=")
        if not place:
            raise ConfigError(
                "--root NAME=DIR", repr(option), "write, for example, nih14=/data/nih14"
            )
        roots[name] = place
    return roots


def _check_suites(
    options: argparse.Namespace,
    tasks: Sequence[SuiteTask],
    roots: Mapping[str, str],
    given: Mapping[str, Any],
) -> None:
    """Refuse what neither a suite nor a task would read.

    A suite says itself how its data are read and evaluated; where they lie, and what to
    do about bad files in them, is the caller's.
    """
    if unused := sorted(set(roots) - {task.data for task in tasks}):
        raise ConfigError(
            "data sets of a suite in --root",
            f"{', '.join(unused)}, which no --suite reads",
            "leave it out, or give the place with the task: --task NAME:DIR",
        )
    if options.task:
        return
    ignored = [name for name in given if name != "on_error"]
    if all(task.data in DRAWN for task in tasks):
        ignored = list(given)
    if options.min_positives is not None:
        ignored.append("min_positives")
    ignored += ["preset"] if options.preset else []
    if ignored:
        raise ConfigError(
            "options that a suite leaves open",
            f"{', '.join(map(flag, ignored))}, which would change nothing",
            "leave them out, or write a suite of your own (vlpzoo info suites)",
        )


def _located(
    tasks: Sequence[SuiteTask], roots: Mapping[str, str], given: Mapping[str, Any]
) -> list[SuiteTask]:
    """The tasks of suites whose data are here; the others are named."""
    found = []
    for task in tasks:
        if task.data in DRAWN:
            found.append(task)
        elif task.data in roots or "root" in task.options:
            root = roots.get(task.data, task.options.get("root"))
            place = f"{task.data}:{root}"
            on_error = {k: v for k, v in given.items() if k == "on_error"}
            settings = {**on_error, **task.options}
            found.append(replace(task, data=place, options=settings))
        else:
            print(
                f"{task.name}: left out: needs --root {task.data}=DIR", file=sys.stderr
            )
    if not found:
        raise DatasetNotFoundError(
            f"data for {', '.join(task.name for task in tasks)}",
            f"roots of {', '.join(roots) or 'no data set'}",
            "say where data sets lie: --root NAME=DIR",
        )
    return found

"""``vlpzoo bench``: encoders on tasks, with floors, intervals and provenance."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp_zoo.cli.bench_plan import planned
from vlp_zoo.cli.encoders import (
    check_encoders,
    encoder_file,
    joints_of,
    named_encoder,
    origin_line,
    seen_lines,
    sources_of,
)
from vlp_zoo.cli.pace import Pace
from vlp_zoo.cli.tasks import PHANTOM_STUDIES, build_task
from vlp_zoo.errors import ConfigError
from vlp_zoo.files import require_writable

if TYPE_CHECKING:
    from vlp_zoo.evaluation.presets import SuiteTask
    from vlp_zoo.evaluation.results import Result
    from vlp_zoo.evaluation.tasks import Task

__all__ = ["evaluate", "main", "print_table"]

NOTICE = (
    "Intervals cover the choice of test patients, not the training of the encoder. "
    "Research only, not for clinical use."
)


def main(argv: list[str]) -> int:
    """Evaluate and print, or only say what would be done.

    Args:
        argv: Options of the sub-command.

    Returns:
        0, or 1 if some runs failed; other errors are raised.

    Raises:
        ConfigError: For options that cannot be.
    """
    options, wanted = planned(argv)
    _alone()
    if not options.dry_run:
        require_writable(options.out)
    from vlp_zoo.evaluation.suite import SuiteError

    if options.dry_run:
        check_encoders(options.encoder)
        for task in wanted:
            _describe(_built(task), task, len(options.encoder))
        return 0
    code = 0
    try:
        results = evaluate(
            options.encoder,
            wanted,
            options.out,
            bootstrap=options.bootstrap,
            floors=not options.no_floors,
            pooling=options.pooling,
            precision=options.precision,
            batch_size=options.batch_size,
            num_workers=options.num_workers,
            device=options.device,
            devices=options.devices,
            command=shlex.join(["vlpzoo", "bench", *argv]),
        )
    except KeyboardInterrupt:
        print(f"\nfinished results are in {options.out}", file=sys.stderr)
        raise
    except SuiteError as error:
        results, code = error.results, 1
        print(f"vlpzoo bench: error\n{error}", file=sys.stderr)
    print_table(results)
    print(f"results: {options.out / 'results.jsonl'}")
    return code


def evaluate(
    encoders: list[str],
    tasks: Sequence[str | SuiteTask],
    out: Path,
    *,
    presets: Sequence[str] = ("vlp-linear",),
    fractions: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0,),
    bootstrap: int = 1000,
    floors: bool = True,
    pooling: str = "global",
    precision: str = "32",
    batch_size: int = 64,
    num_workers: int = 2,
    device: str = "auto",
    devices: int | str = 1,
    command: str = "",
    **settings: Any,
) -> list[Result]:
    """Evaluate encoders on tasks; what was computed before is found in ``out``.

    Args:
        encoders: Specs as `vlp_zoo.encoders.checkpoint.open_encoder` takes them, or
            folders that hold encoder.safetensors; ``NAME=SPEC`` names them.
        tasks: Tasks of a suite, or names as `build_task` takes them.
        out: Folder of the results; grows, never shrinks.
        presets: How tasks given by name are evaluated.
        fractions: Of tasks given by name: shares of training patients whose labels are
            used.
        seeds: As above: draws of patients at fractions below 1, and of new weights.
        bootstrap: Replicates of the intervals; 0 for none.
        floors: Random init, pixels and prevalence beside the encoders.
        pooling: ``"global"`` or ``"mean"``.
        precision: ``"32"`` or ``"bf16"``.
        batch_size: Images per forward pass.
        num_workers: Reading processes of each device.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        devices: Processes that share the work, each with a GPU or a CPU core of its
            own; ``"auto"`` is all visible GPUs, 1 on CPUs. Results do not depend on it.
        command: What was typed, kept with the results.
        **settings: Passed to `build_task`.

    Returns:
        All results, headline and others, encoders before floors within each task.

    Raises:
        SuiteError: At the end, if runs failed; it carries the results of the others.
    """
    from vlp_zoo.evaluation.devices import count_devices
    from vlp_zoo.evaluation.features import Extraction
    from vlp_zoo.evaluation.presets import SuiteTask, read_preset
    from vlp_zoo.evaluation.results import ResultStore
    from vlp_zoo.evaluation.suite import SuiteError, candidates_of, evaluate_task

    wanted = [
        SuiteTask("", each, settings, tuple(presets), tuple(fractions), tuple(seeds))
        if isinstance(each, str)
        else each
        for each in tasks
    ]
    protocols = {
        name: read_preset(name).protocol for each in wanted for name in each.presets
    }
    for chosen in wanted:
        for fraction in chosen.fractions:
            for name in chosen.presets:
                replace(protocols[name], fraction=fraction, replicates=bootstrap)
    extraction = Extraction(
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
        devices=count_devices(devices, device),
        precision=precision,
        pooling=pooling,
    )
    _ = extraction.torch_device
    named = [named_encoder(spec) for spec in encoders]
    files = [encoder_file(spec) for _, spec in named]
    needs_text = any(protocol.needs_text for protocol in protocols.values())
    candidates = candidates_of(
        files,
        extraction,
        floors=floors,
        joints=joints_of(files) if needs_text else {},
        names={f: name for f, (name, _) in zip(files, named, strict=True)},
        sources={file: sources_of(file) for file in files},
    )
    for (name, _), file in zip(named, files, strict=True):
        if Path(file).is_file():
            _note(f"encoder {name}: {origin_line(Path(file))}")
    store = ResultStore(Path(out))
    store.read()
    for protocol in protocols.values():
        for issue in protocol.known_issues:
            _note(f"{protocol.name}: known issue: {issue}")
    built = [(chosen, _built(chosen)) for chosen in wanted]
    results: list[Result] = []
    failures: dict[str, Any] = {}
    # A terminal shows bars; a log shows nothing for hours unless it is told.
    pace = Pace(_note)
    with nullcontext() if sys.stderr.isatty() else pace:
        for place, (chosen, task) in enumerate(built, 1):
            for line in seen_lines(candidates, task):
                _note(line)
            of = f" (task {place} of {len(built)})" if len(built) > 1 else ""
            try:
                results += evaluate_task(
                    candidates,
                    task,
                    store,
                    extraction,
                    protocols=[protocols[name] for name in chosen.presets],
                    fractions=chosen.fractions,
                    seeds=chosen.seeds,
                    replicates=bootstrap,
                    command=command,
                    notify=_note,
                    progress=partial(_told, pace, of),
                )
            except SuiteError as error:
                results += error.results
                failures |= error.failures
    if failures:
        raise SuiteError(failures, results)
    return results


def _told(pace: Pace, of: str, name: str, done: int, total: int) -> None:
    pace.told(f"{name}{of}", done, total)


def _alone() -> None:
    """Refuse to be one of many processes that all write the same results.

    Raises:
        ConfigError: If torchrun or srun started several of this command.
    """
    for name, starter in (("WORLD_SIZE", "torchrun"), ("SLURM_STEP_NUM_TASKS", "srun")):
        count = os.environ.get(name, "1")
        if count.isdecimal() and int(count) > 1:
            raise ConfigError(
                "one process of vlpzoo bench, which starts the others itself",
                f"{name}={count}: {starter} started {count}, all with the same --out",
                f"start it once, without {starter} or as its only task: vlpzoo bench "
                f"--devices {count} ...",
            )


def _built(task: SuiteTask) -> Task:
    options = {key: v for key, v in task.options.items() if key != "root"}
    if isinstance(options.get("studies"), list):
        options["studies"] = dict(zip(PHANTOM_STUDIES, options["studies"], strict=True))
    return build_task(task.data, title=task.name or None, **options)


def print_table(results: Sequence[Result]) -> None:
    """Print results as tables, and below each encoder's what may be said of it.

    Args:
        results: As `evaluate` returns them.
    """
    from rich.console import Console

    from vlp_zoo.evaluation.table import result_tables, verdicts

    # A pipe has no width; a table cut at 80 columns would lose its numbers.
    console = Console(width=None if sys.stdout.isatty() else 132)
    for table in result_tables(results):
        console.print(table)
    for line in [*verdicts(results), NOTICE]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _describe(task: Task, wanted: SuiteTask, encoders: int) -> None:
    import numpy as np

    from vlp_zoo.evaluation.presets import read_preset
    from vlp_zoo.evaluation.suite import runs_of

    print(f"task {task.name}: split {task.split_sha256[:12]}")
    for split, source in task.splits.items():
        patients = len(set(source.patient_ids))
        print(f"  {split:<6}{len(source)} images of {patients} patients")
    protocols = {name: read_preset(name).protocol for name in wanted.presets}
    plans = []
    for name, protocol in protocols.items():
        if missing := sorted(protocol.needs - task.gives):
            plans.append(f"{name} left out: no {' and no '.join(missing)}")
            continue
        runs = 1
        if protocol.learns:
            draws = protocol.draws_weights
            runs = len(list(runs_of(wanted.fractions, wanted.seeds, draws)))
        plans.append(f"{name} ({runs} run{'s' * (runs > 1)})")
    print(
        f"  plan: {', '.join(plans)} for each of {encoders} encoders and their floors"
    )
    if not task.label_names or not any("labels" in p.needs for p in protocols.values()):
        return
    print("  label: positives / known in train, val, test")
    for k, label in enumerate(task.label_names):
        counts = [
            f"{int((s.labels[:, k] == 1).sum())} / {int((~np.isnan(s.labels[:, k])).sum())}"
            for s in task.splits.values()
        ]
        note = f"  left out: {task.excluded[label]}" if label in task.excluded else ""
        print(f"  {label}: {', '.join(counts)}{note}")

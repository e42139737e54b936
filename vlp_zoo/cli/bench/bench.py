"""``vlpzoo bench``: encoders on tasks, with baselines, intervals and provenance."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlp_zoo.bench.encoders import check_encoders
from vlp_zoo.bench.run import built_task, evaluate
from vlp_zoo.cli.bench.plan import planned
from vlp_zoo.cli.screen import output
from vlp_zoo.errors import ConfigError
from vlp_zoo.files import require_writable

if TYPE_CHECKING:
    from vlp_zoo.bench.presets import SuiteTask
    from vlp_zoo.evaluation.results import Result
    from vlp_zoo.evaluation.tasks import Task

__all__ = ["main", "note", "print_table"]

NOTICE = (
    "Intervals cover the choice of test patients, not the training of the encoder. "
    "Research only, not for clinical use."
)


def main(argv: list[str]) -> int:
    """Evaluate and print, or only say what would be done.

    Returns:
        0, or 1 if some runs failed; other errors are raised.

    Raises:
        ConfigError: For options that cannot be.
    """
    options, wanted = planned(argv)
    _alone()
    if not options.dry_run:
        require_writable(options.out)
    from vlp_zoo.bench.suite import SuiteError

    if options.dry_run:
        for line in check_encoders(options.encoder):
            print(line)
        for task in wanted:
            _describe(built_task(task), task, len(options.encoder))
        return 0
    code = 0
    try:
        results = evaluate(
            options.encoder,
            wanted,
            options.out,
            bootstrap=options.bootstrap,
            baselines=not options.no_baselines,
            random_draws=options.random_draws,
            pooling=options.pooling,
            precision=options.precision,
            batch_size=options.batch_size,
            num_workers=options.num_workers,
            device=options.device,
            devices=options.devices,
            command=shlex.join(["vlpzoo", "bench", *argv]),
            notify=note,
            # A terminal shows bars; a log shows nothing for hours unless it is told.
            paced=not sys.stderr.isatty(),
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


def print_table(results: Sequence[Result]) -> None:
    """Print results as tables, and below each encoder's what may be said of it.

    Args:
        results: The results that `evaluate` returned.
    """
    from vlp_zoo.bench.table import result_tables, verdicts

    console = output()
    for table in result_tables(results):
        console.print(table)
    for line in [*verdicts(results), NOTICE]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def note(line: str) -> None:
    """Say a line beside the results, on stderr."""
    print(line, file=sys.stderr, flush=True)


def _describe(task: Task, wanted: SuiteTask, encoders: int) -> None:
    import numpy as np

    from vlp_zoo.bench.presets import read_preset
    from vlp_zoo.bench.suite import runs_of

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
        f"  plan: {', '.join(plans)} for each of {encoders} encoders and their baselines"
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

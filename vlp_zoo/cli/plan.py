"""``vlpzoo plan``: what a training needs before it is started."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from vlp_zoo.cli.names import expand
from vlp_zoo.cli.parser import StrictParser, at_least
from vlp_zoo.cli.screen import output
from vlp_zoo.costs.gpus import GPU, GPUS, gpu_called
from vlp_zoo.errors import ConfigError, DatasetNotFoundError

if TYPE_CHECKING:
    from rich.table import Table

    from vlp_zoo.costs.budget import Memory, Run
    from vlp_zoo.costs.draft import Draft
    from vlp_zoo.data.base import PairsDataModule

__all__ = ["main"]

SHARE = 0.35
"""The part of a GPU's peak that is assumed, where nobody says otherwise."""

DRAWN = 16
"""Synthetic studies that stand in for data which are not at hand."""

EPILOG = """Any option of vlpzoo fit may be added. Nothing is trained or downloaded: the
step is counted on tensors without numbers, and names of pretrained models stand for
their sizes. Hours are arithmetic from the GPU's peak and --share; no GPU was measured."""


def build_parser() -> StrictParser:
    """The options beside those of ``vlpzoo fit``."""
    parser = StrictParser(
        prog="vlpzoo plan",
        usage="vlpzoo plan --config NAME [--gpu NAME] [--studies N] [--share X] "
        "[--KEY VALUE of vlpzoo fit ...]",
        description="Say what a training needs before it is started: parameters, FLOPs, "
        "memory, the largest batch, steps, hours, disk.",
        epilog=EPILOG,
    )
    parser.add_argument("--gpu", metavar="NAME", help=f"one of {', '.join(GPUS)}")
    parser.add_argument(
        "--studies",
        type=at_least(1),
        metavar="N",
        help="training studies, where the data are not at hand",
    )
    parser.add_argument(
        "--share",
        type=_share,
        default=SHARE,
        metavar="X",
        help=f"share of the GPU's peak that a training reaches ({SHARE})",
    )
    return parser


def _share(text: str) -> float:
    if not 0 < (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, not {text}")
    return value


def main(argv: list[str]) -> int:
    """Print the tables of a run."""
    options, words = build_parser().parse_known_args(argv)
    if options.gpu:
        gpu_called(options.gpu)
    plan = expand(["fit", *words])
    for note in plan.notes:
        print(note, file=sys.stderr)

    from vlp_zoo.cli.lightning_cli import planned
    from vlp_zoo.costs.draft import Draft
    from vlp_zoo.methods.needs import check_precision

    method, data, settings = planned(plan)
    run = _run(settings, data.batch_size)
    check_precision(SimpleNamespace(precision=run.precision))  # type: ignore[arg-type]
    data, studies, stands_in = _training_studies(data, options.studies)
    run.batches(studies)
    _tell(f"counting a step of {type(method).__name__} without computing it")
    checkpointed = bool(method.options.checkpoint_activations)
    draft = Draft(method, data, stands_in)
    _print(draft, run, studies, options.share, checkpointed, options.gpu)
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _run(settings: dict[str, Any], batch: int) -> Run:
    """The length of a run, as its Trainer would understand it."""
    from vlp_zoo.costs.budget import Run

    trainer = settings["trainer"]
    devices = _count(trainer["devices"])
    epochs, steps = trainer["max_epochs"], trainer["max_steps"]
    if epochs is None and steps in (None, -1):
        epochs = 1000  # as Lightning has it
    if epochs == -1 and steps in (None, -1):
        raise ConfigError(
            "a training that ends",
            "--trainer.max_epochs -1 without --trainer.max_steps",
            "set one of the two",
        )
    precision = str(trainer["precision"] or "32-true")
    short = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
    return Run(
        batch=batch,
        devices=devices * int(trainer["num_nodes"]),
        accumulate=int(trainer["accumulate_grad_batches"]),
        epochs=None if epochs in (None, -1) else int(epochs),
        most_steps=None if steps in (None, -1) else int(steps),
        precision=short.get(precision, precision),
        ema=bool(settings["ema_decay"]),
    )


def _count(devices: Any) -> int:
    """How many devices a Trainer's option means."""
    if isinstance(devices, str) and "," in devices:
        return len([part for part in devices.split(",") if part.strip()])
    if isinstance(devices, list):
        return len(devices)
    if str(devices) in ("auto", "-1"):
        _tell("--trainer.devices auto: one device is planned for; name their number")
        return 1
    return int(devices)


def _training_studies(
    data: PairsDataModule, given: int | None
) -> tuple[PairsDataModule, int, bool]:
    """Data to take a batch from, how many studies are trained on, and who stands in.

    Raises:
        ConfigError: If the data are not at hand and nobody says how many there are.
    """
    from vlp_zoo.data.base import OnDisk
    from vlp_zoo.data.datamodules import PhantomChest

    data.num_workers = 0
    if given is None:
        if isinstance(data, OnDisk):
            # A plan counts rows; whether each can be used is for the training to see.
            data.precheck = False
        try:
            return data, len(data.sources["train"]), False
        except DatasetNotFoundError as error:
            raise ConfigError(
                "the number of training studies",
                f"no data ({error.found}) and no --studies",
                "add --studies N (MIMIC-CXR: about 238000 frontal images), or name the data "
                "(--data.root DIR, --data.path FILE)",
            ) from error
    _tell(
        "--studies: the data are not looked at; synthetic reports stand in, the "
        "vocabulary is taken as full and the longest report of a batch as cut"
    )
    drawn = PhantomChest(
        train_studies=DRAWN,
        val_studies=1,
        image_size=64,
        batch_size=DRAWN,
        num_workers=0,
    )
    return drawn, given, True


@dataclass(frozen=True)
class _Way:
    """What a step costs with or without computing blocks again in backward."""

    flops: int
    memory: Memory


def _ways(
    draft: Draft, run: Run, gpu: GPU | None, checkpointed: bool
) -> tuple[dict[bool, _Way], int]:
    """The step as it is, and with checkpointed activations where there are blocks.

    Returns:
        Both ways, and the largest batch that fits the GPU in the way that is configured.
    """
    from vlp_zoo.costs.budget import largest_batch, memory_of, room

    def count(batch: int) -> _Way:
        step = draft.step(batch, run.precision, keeps_gradients=run.accumulate > 1)
        return _Way(step.flops, memory_of(draft, run, step.peak))

    ways, most = {}, 0
    for again in (False, True):
        if again:
            try:
                draft.recompute()
            except ConfigError:
                if checkpointed:
                    raise
                break
        ways[again] = way = count(run.batch)
        if gpu is not None and again == checkpointed:
            _tell("looking for the largest batch")
            memory = way.memory
            known = {0: memory.total - memory.rest, run.batch: memory.total}
            most = largest_batch(
                lambda size: count(size).memory.total, known, room(gpu)
            )
    return ways, most


def _print(
    draft: Draft,
    run: Run,
    studies: int,
    share: float,
    checkpointed: bool,
    name: str | None,
) -> None:
    """Count the step and print what follows from it."""
    from vlp_zoo.costs.budget import MOST, store_bytes

    ways, most = _ways(draft, run, GPUS[name] if name else None, checkpointed)
    batches, steps = run.batches(studies), run.steps(studies)
    together = run.batch * run.devices * run.accumulate
    disk = store_bytes(studies, draft.side) / 1e9
    print(
        f"method:  {type(draft.method).__name__}, {draft.parameters:,} parameters, "
        f"{draft.trained:,} of them trained\n"
        f"batch:   {run.batch} studies x {run.devices} device(s) x {run.accumulate} "
        f"accumulated = {together:,} a step, {run.precision}\n"
        f"steps:   {studies:,} training studies, {batches:,} batches of each device an "
        f"epoch, {steps:,} steps" + (f" in {run.epochs} epochs" if run.epochs else "")
    )
    print(
        f"disk:    about {disk:,.1f} GB for a store of the training images "
        f"(vlpzoo prepare --size {draft.side})\n"
    )
    _print_needs(ways)
    if name:
        more = " or more" if most == MOST else ""
        print(f"\nlargest batch that fits {name}: {most:,}{more} studies")
    print()
    table = _table(
        f"{run.devices} of one kind, at {share:.0%} of the peak in {run.precision}",
        ("GPU", "GiB", "TFLOP/s", "fits", "hours"),
    )
    for each in [name] if name else GPUS:
        gpu = GPUS[each]
        peak, flops = gpu.peaks.get(run.precision), ways[checkpointed].flops
        hours = run.hours(studies, flops, gpu, share)
        table.add_row(
            each,
            f"{gpu.memory}",
            f"{peak:,.4g}" if peak else f"no {run.precision}",
            _fits(
                [again for again, w in ways.items() if w.memory.fits(gpu)], checkpointed
            ),
            f"{hours:,.3g}" if hours else "",
        )
    output().print(table)


PARTS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimiser": "AdamW's averages",
    "buckets": "gradients to exchange (DDP)",
    "average": "averaged weights (--ema_decay)",
    "rest": "activations and work space",
    "total": "together",
}
"""Parts of `vlp_zoo.costs.budget.Memory`, as they are shown."""


def _print_needs(ways: dict[bool, _Way]) -> None:
    from vlp_zoo.costs.budget import GIB

    words = ("kept", "checkpoint_activations")[: len(ways)]
    table = _table("each device, memory in GiB", ("activations", *words))
    flops = (f"{way.flops / 1e12:,.3f}" for way in ways.values())
    table.add_row("10^12 FLOPs a batch", *flops)
    for part, line in PARTS.items():
        sizes = [getattr(way.memory, part) for way in ways.values()]
        if any(sizes):
            table.add_row(line, *(f"{size / GIB:,.3f}" for size in sizes))
    output().print(table)


def _table(title: str, headings: Sequence[str]) -> Table:
    from rich.table import Table

    print(title)  # rich would break it where the table is narrow
    table = Table(box=None)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    return table


def _fits(fitting: list[bool], checkpointed: bool) -> str:
    """Whether the run fits as it is configured, or would."""
    if checkpointed in fitting:
        return "yes"
    return "if checkpointed" if True in fitting else "no"

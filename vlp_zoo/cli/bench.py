"""``vlpzoo bench``: probe encoders on tasks, with floors, intervals and provenance."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from vlp_zoo.errors import ConfigError, DatasetNotFoundError

if TYPE_CHECKING:
    from vlp_zoo.evaluation.results import Result
    from vlp_zoo.evaluation.tasks import Task

__all__ = ["PHANTOM_STUDIES", "build_task", "evaluate", "main", "print_table"]

PHANTOM_STUDIES = {"train": 2000, "val": 500, "test": 1000}
"""Drawn studies per split: minutes on a laptop, intervals of about +-0.02."""

TASKS = "phantom_chest, pairs:TABLE.csv, NAME:ROOT (vlpzoo info datasets lists names)"
NOTICE = (
    "Intervals cover the choice of test patients, not the training of the encoder. "
    "Research only, not for clinical use."
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(
            "options that vlpzoo bench understands", message, "vlpzoo bench --help"
        )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="vlpzoo bench",
        description="Linear probe of frozen encoders, floors beside them.",
        epilog=(
            "Encoders: FILE.safetensors (from vlpzoo fit), a folder that holds "
            "encoder.safetensors, timm:NAME, random:NAME, official:LAYOUT:FILE. "
            "Results are found again: a stopped run goes on."
        ),
    )
    parser.add_argument("--encoder", action="append", metavar="SPEC", default=[])
    parser.add_argument(
        "--task", action="append", metavar="TASK", default=[], help=TASKS
    )
    parser.add_argument(
        "--fractions",
        type=float,
        nargs="+",
        default=[1.0],
        metavar="F",
        help="shares of training patients whose labels are used (1.0)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0],
        metavar="S",
        help="draws of patients at fractions below 1; the first seeds the bootstrap",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument(
        "--bootstrap", type=int, default=1000, help="replicates; 0 = no intervals"
    )
    parser.add_argument(
        "--no-floors", action="store_true", help="leave out random init and pixels"
    )
    parser.add_argument(
        "--label-prefix",
        default="label_",
        help="pairs: start of the names of label columns (label_)",
    )
    for split in ("val", "test"):
        parser.add_argument(
            f"--{split}-fraction",
            type=float,
            default=0.1,
            help=f"pairs without split column: share of {split} patients (0.1); for an "
            "encoder trained on the table, no more than at training",
        )
    parser.add_argument(
        "--min-positives",
        type=int,
        default=10,
        help="labels with fewer test positives or negatives do not count (10)",
    )
    parser.add_argument(
        "--image-size", type=int, default=224, help="phantom_chest: side of the images"
    )
    parser.add_argument(
        "--studies",
        type=int,
        nargs=3,
        metavar=("TRAIN", "VAL", "TEST"),
        help=f"phantom_chest: studies per split {tuple(PHANTOM_STUDIES.values())}",
    )
    parser.add_argument(
        "--split",
        default="canonical",
        help="NAME:ROOT: rule that splits the data set (canonical)",
    )
    parser.add_argument(
        "--on-error",
        choices=["raise", "skip"],
        default="raise",
        help="stop at files that cannot be read, or list them and go on (raise)",
    )
    parser.add_argument("--pooling", choices=["global", "mean"], default="global")
    parser.add_argument("--precision", choices=["32", "bf16"], default="32")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--dry-run", action="store_true", help="show splits and labels, encode nothing"
    )
    return parser


def main(argv: list[str]) -> int:
    """Evaluate and print, or only say what would be done.

    Args:
        argv: Options of the sub-command.

    Returns:
        0; errors are raised.

    Raises:
        ConfigError: For options that cannot be.
    """
    options = _parser().parse_args(argv)
    if not options.encoder or not options.task:
        raise ConfigError(
            "at least one --encoder and one --task",
            f"--encoder {options.encoder}, --task {options.task}",
            f"vlpzoo bench --encoder FILE.safetensors --task TASK; tasks: {TASKS}",
        )
    settings: dict[str, Any] = {
        "label_prefix": options.label_prefix,
        "val_fraction": options.val_fraction,
        "test_fraction": options.test_fraction,
        "min_positives": options.min_positives,
        "split": options.split,
        "on_error": options.on_error,
        "image_size": options.image_size,
    }
    if options.studies:
        settings["studies"] = dict(zip(PHANTOM_STUDIES, options.studies, strict=True))
    if options.dry_run:
        for name in options.task:
            _describe(build_task(name, **settings))
        return 0
    try:
        results = evaluate(
            options.encoder,
            options.task,
            options.out,
            fractions=options.fractions,
            seeds=options.seeds,
            bootstrap=options.bootstrap,
            floors=not options.no_floors,
            pooling=options.pooling,
            precision=options.precision,
            batch_size=options.batch_size,
            num_workers=options.num_workers,
            device=options.device,
            **settings,
        )
    except KeyboardInterrupt:
        print(f"\nfinished results are in {options.out}", file=sys.stderr)
        raise
    print_table(results)
    print(f"results: {options.out / 'results.jsonl'}")
    return 0


def build_task(
    name: str,
    *,
    label_prefix: str = "label_",
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    min_positives: int = 10,
    image_size: int = 224,
    studies: dict[str, int] | None = None,
    split: str = "canonical",
    on_error: Literal["raise", "skip"] = "raise",
) -> Task:
    """The task of a name.

    Args:
        name: ``phantom_chest``, ``pairs:TABLE``, ``mimic_cxr:ROOT``, or the name of
            any data set in its official layout with its folder.
        label_prefix: Of a table's label columns.
        val_fraction: Share of a table's patients, where it has no split column.
        test_fraction: As above. The defaults are those of ``--data pairs``, so that
            an encoder trained on the table has not seen its test patients.
        min_positives: See `vlp_zoo.evaluation.tasks.Task`.
        image_size: Side of drawn images.
        studies: Drawn studies per split; None = `PHANTOM_STUDIES`.
        split: Rule that splits a data set in its official layout.
        on_error: What to do about files that cannot be read.

    Raises:
        UnknownNameError: If there is no such task.
        DatasetNotFoundError: If its files or labels are missing.
    """
    from vlp_zoo.cli.names import unknown_name
    from vlp_zoo.data import DATASETS, official
    from vlp_zoo.data.datamodules import MIMICCXR, Pairs, PairsDataModule, PhantomChest
    from vlp_zoo.evaluation.tasks import Task, with_known_labels

    kind, _, place = name.partition(":")
    known = {"phantom_chest": "", "pairs": "TABLE.csv"}
    known |= dict.fromkeys(["mimic_cxr", *DATASETS], "ROOT")
    if kind not in known:
        raise unknown_name("task", kind, known, f"give one of {TASKS}")
    if bool(place) != bool(known[kind]):
        raise ConfigError(f"a task among {TASKS}", name, f"write {kind}:{known[kind]}")
    data: PairsDataModule
    if kind == "phantom_chest":
        counts = studies or PHANTOM_STUDIES
        data = PhantomChest(
            train_studies=counts["train"],
            val_studies=counts["val"],
            test_studies=counts["test"],
            image_size=image_size,
        )
    elif kind == "pairs":
        data = Pairs(
            path=place,
            label_prefix=label_prefix,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            on_error=on_error,
        )
    elif kind == "mimic_cxr":
        data = MIMICCXR(root=place, on_error=on_error)
    else:
        data = getattr(official, kind)(root=place, split=split, on_error=on_error)
        # A study without report still has its labels.
        data.has_reports = False
    return Task(
        # A table keeps its name when it moves; the hashes tell tables apart.
        name=kind if not place else f"{kind}:{Path(place).name}",
        splits={
            split: with_known_labels(source) for split, source in data.sources.items()
        },
        min_positives=min_positives,
    )


def evaluate(
    encoders: list[str],
    tasks: list[str],
    out: Path,
    *,
    fractions: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0,),
    bootstrap: int = 1000,
    floors: bool = True,
    pooling: str = "global",
    precision: str = "32",
    batch_size: int = 64,
    num_workers: int = 2,
    device: str = "auto",
    **settings: Any,
) -> list[Result]:
    """Probe encoders on tasks; what was computed before is found in ``out``.

    Args:
        encoders: Specs as `vlp_zoo.encoders.checkpoint.load_encoder` takes them, or
            folders that hold encoder.safetensors.
        tasks: Names as `build_task` takes them.
        out: Folder of the results; grows, never shrinks.
        fractions: Shares of training patients whose labels are used.
        seeds: Draws of patients at fractions below 1.
        bootstrap: Replicates of the intervals; 0 for none.
        floors: Random init, pixels and prevalence beside the encoders.
        pooling: ``"global"`` or ``"mean"``.
        precision: ``"32"`` or ``"bf16"``.
        batch_size: Images per forward pass.
        num_workers: Reading processes.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        **settings: Passed to `build_task`.

    Returns:
        All results, headline and others, encoders before floors within each task.
    """
    from vlp_zoo.evaluation.features import Extraction
    from vlp_zoo.evaluation.linear_probe import LinearProbe
    from vlp_zoo.evaluation.results import ResultStore
    from vlp_zoo.evaluation.suite import candidates_of, evaluate_task

    for fraction in fractions:
        LinearProbe(fraction=fraction, replicates=bootstrap)
    extraction = Extraction(
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
        precision=precision,
        pooling=pooling,
    )
    _ = extraction.torch_device
    candidates = candidates_of(
        [_encoder_file(spec) for spec in encoders], extraction, floors=floors
    )
    store = ResultStore(Path(out))
    store.read()
    built = [build_task(name, **settings) for name in dict.fromkeys(tasks)]
    results: list[Result] = []
    for task in built:
        results += evaluate_task(
            candidates,
            task,
            store,
            extraction,
            fractions=fractions,
            seeds=seeds,
            replicates=bootstrap,
            notify=_note,
        )
    return results


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


def _encoder_file(spec: str) -> str:
    folder = Path(spec)
    if not folder.is_dir():
        return spec
    file = folder / "encoder.safetensors"
    if not file.is_file():
        raise DatasetNotFoundError(
            f"encoder.safetensors in the folder {folder}",
            f"{', '.join(sorted(p.name for p in folder.iterdir())[:8]) or 'nothing'}",
            "give the .safetensors file itself",
        )
    return str(file)


def _describe(task: Task) -> None:
    import numpy as np

    print(f"task {task.name}: split {task.split_sha256[:12]}")
    for split, source in task.splits.items():
        patients = len(set(source.patient_ids))
        print(f"  {split:<6}{len(source)} images of {patients} patients")
    print("  label: positives / known in train, val, test")
    for k, label in enumerate(task.label_names):
        counts = [
            f"{int((s.labels[:, k] == 1).sum())} / {int((~np.isnan(s.labels[:, k])).sum())}"
            for s in task.splits.values()
        ]
        note = f"  left out: {task.excluded[label]}" if label in task.excluded else ""
        print(f"  {label}: {', '.join(counts)}{note}")

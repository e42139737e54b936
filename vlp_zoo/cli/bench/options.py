"""The options of ``vlpzoo bench``."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlp_zoo.bench.encoders import RANDOM_DRAWS
from vlp_zoo.bench.tasks import PHANTOM_STUDIES, TASKS
from vlp_zoo.cli.parser import StrictParser, at_least
from vlp_zoo.encoders.specs import SPECS

__all__ = ["DATA_OPTIONS", "bench_parser"]

DATA_OPTIONS = (
    *("label_prefix", "val_fraction", "test_fraction", "colour", "exclusive"),
    *("ordinal", "image_size", "studies", "split", "views", "blank", "on_error"),
)
"""Options that only some kinds of data read; absent where they were not given."""


def _devices(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor 1 or more")
    return int(text)


def bench_parser() -> argparse.ArgumentParser:
    """All options, with their help."""
    parser = StrictParser(
        prog="vlpzoo bench",
        description="Evaluate encoders, baselines beside them.",
        epilog=(
            "Zero-shot and retrieval need texts too: the folder of a run whose method "
            "has a text head, or a CLIP or SigLIP (hf:, open_clip:). Results are found "
            "again: a stopped run goes on."
        ),
    )
    lines = [f"{form}: {line}" for form, line in SPECS.items()]
    parser.repeat(
        "--encoder",
        "[NAME=]SPEC",
        "may be repeated; NAME is what results call it. SPEC is the folder of a run "
        f"(vlpzoo fit), or {'; '.join(lines)}",
    )
    parser.repeat(
        "--suite",
        "SUITE",
        "tasks, presets, fractions and seeds by name (vlpzoo info suites)",
    )
    parser.repeat("--task", "TASK", TASKS)
    parser.repeat(
        "--preset",
        "PRESET",
        "how --task is evaluated (vlp-linear); vlpzoo info presets lists them",
    )
    parser.repeat("--root", "NAME=DIR", "where a suite's data set lies on disk")
    parser.add_argument(
        "--fractions",
        type=float,
        nargs="+",
        metavar="F",
        help="shares of training patients whose labels are used (1.0, or the suite's)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="S",
        help="draws of patients at fractions below 1, and of new weights (0, or the "
        "suite's)",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument(
        "--bootstrap", type=int, default=1000, help="replicates; 0 = no intervals"
    )
    parser.add_argument(
        "--no-baselines",
        "--no-floors",  # its name in 0.1; sweeps of then have it
        action="store_true",
        help="leave out random init and pixels",
    )
    parser.add_argument(
        "--random-draws",
        type=at_least(1),
        default=RANDOM_DRAWS,
        metavar="N",
        help=f"draws of the weights of each random init ({RANDOM_DRAWS})",
    )
    # Without a default: what is not given is left to the kind of data, and what is given
    # is refused by a kind that does not read it.
    data = parser.add_argument_group(
        "data",
        "each kind of data refuses what it does not read",
        argument_default=argparse.SUPPRESS,
    )
    data.add_argument(
        "--label-prefix", help="pairs: start of the names of label columns (label_)"
    )
    for split in ("val", "test"):
        data.add_argument(
            f"--{split}-fraction",
            type=float,
            help=f"pairs without split column: share of {split} patients (0.1); for an "
            "encoder trained on the table, no more than at training",
        )
    data.add_argument(
        "--colour", action="store_true", help="pairs: keep images in colour"
    )
    data.add_argument(
        "--exclusive",
        action="store_true",
        help="pairs: each image has exactly one of the labels",
    )
    data.add_argument(
        "--ordinal",
        action="store_true",
        help="pairs: as --exclusive, and the labels are grades in the order of columns",
    )
    parser.add_argument(
        "--min-positives",
        type=int,
        help="labels with fewer test positives or negatives do not count (10)",
    )
    data.add_argument(
        "--image-size", type=int, help="synthetic worlds: side of the images (224)"
    )
    data.add_argument(
        "--studies",
        type=int,
        nargs=3,
        metavar=("TRAIN", "VAL", "TEST"),
        help=f"synthetic worlds: studies per split {tuple(PHANTOM_STUDIES.values())}",
    )
    data.add_argument(
        "--split",
        help="NAME:ROOT: rule that splits the data set (canonical; mimic_cxr: official)",
    )
    data.add_argument(
        "--views", nargs="+", help="files: keep these views only, such as PA AP"
    )
    data.add_argument(
        "--blank",
        choices=["nan", "zero"],
        help="NAME:ROOT: labels left blank are unknown (nan) or absent (zero)",
    )
    data.add_argument(
        "--on-error",
        choices=["raise", "skip"],
        help="files: stop at files that cannot be read, or list them and go on (raise)",
    )
    parser.add_argument("--pooling", choices=["global", "mean"], default="global")
    parser.add_argument("--precision", choices=["32", "bf16"], default="32")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument(
        "--num-workers", type=int, default=2, help="reading processes per device (2)"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--devices",
        type=_devices,
        default=1,
        metavar="N|auto",
        help="processes that share the work, each with a GPU or a CPU core of its own; "
        "auto: all GPUs that are visible, 1 on CPUs (1)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show splits, labels and the plan; encode nothing",
    )
    return parser

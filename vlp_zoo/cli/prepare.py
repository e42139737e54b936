"""``vlpzoo prepare``: shrink and index a raw data set once, for fast training."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp_zoo.cli.parser import Parser, at_least
from vlp_zoo.cli.screen import watched
from vlp_zoo.files import require_writable

if TYPE_CHECKING:
    from vlp_zoo.data.store.raw_sets import RawSet

__all__ = ["build_parser", "main"]

EXAMPLES = """examples:
  vlpzoo prepare nih14 --root /data/nih14 --out /fast/nih14
  vlpzoo prepare pairs --path my.csv --out /fast/my --size 256 --format png
  vlpzoo prepare nih14 --out /fast/nih14 --verify
  vlpzoo fit --model mae --data prepared --data.root /fast/nih14

The data set is read as unpacked folders; archives must be unpacked before. Links are
followed wherever they lead, and images outside the folder are counted. Records that
cannot be used are left out, counted and listed in OUT/rejects.csv. An interrupted run
goes on where it was when the same command is given again.
"""


def build_parser() -> argparse.ArgumentParser:
    """The options, without importing anything heavy."""
    parser = Parser(
        prog="vlpzoo prepare",
        description="Shrink the images of a data set once and index everything else.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "dataset", help="a name that vlpzoo info datasets lists, or pairs"
    )
    parser.add_argument("--root", type=Path, help="folder of the raw data set")
    parser.add_argument("--out", type=Path, required=True, help="folder of the store")
    parser.add_argument(
        "--size",
        type=at_least(1),
        default=512,
        help="pixels of the side that is limited; nothing is enlarged (default 512)",
    )
    parser.add_argument(
        "--side",
        choices=("short", "long"),
        default="short",
        help="which side has that size (default short)",
    )
    parser.add_argument(
        "--format",
        choices=("jpeg", "png"),
        default="jpeg",
        help="jpeg of quality 95, or png without loss (default jpeg)",
    )
    parser.add_argument(
        "--workers", type=at_least(0), help="processes (default: one per core)"
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="then read, hash and decode every file of the store",
    )
    table = parser.add_argument_group("pairs")
    table.add_argument("--path", type=Path, help="table of images and reports")
    table.add_argument("--image-root", type=Path, help="default: the table's folder")
    table.add_argument(
        "--report-column", help="whole reports; default: findings, impression columns"
    )
    return parser


def main(argv: list[str]) -> int:
    """Prepare a data set, or go on with it, and verify it if that is asked for."""
    options = build_parser().parse_args(argv)
    name = str(options.dataset).replace("-", "_")
    scan = _source(name, options)
    if not (options.out / "store.json").is_file():
        # One that is whole is only read, and may lie on a disk for reading.
        require_writable(options.out)

    from vlp_zoo.data.store.prepare import prepare
    from vlp_zoo.data.store.slices import Settings
    from vlp_zoo.data.store.verify import verify

    workers = options.workers
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    settings = Settings(options.size, options.side, options.format)
    try:
        with watched("preparing") as progress:
            store = prepare(
                name,
                scan,
                options.out,
                settings,
                workers=workers,
                progress=progress,
                command=(
                    f"vlpzoo prepare {name} --size {settings.size} "
                    f"--side {settings.side} --format {settings.format}"
                ),
            )
        _print(options.out, store)
        if options.verify:
            with watched("verifying") as progress:
                files = verify(options.out, workers=workers, progress=progress)
            print(f"verified: {files} files as they were written")
    except KeyboardInterrupt:
        print(
            "\nwhat is done is kept, and the same command goes on from there",
            file=sys.stderr,
        )
        raise
    return 0


def _source(name: str, options: argparse.Namespace) -> Callable[[], RawSet]:
    """What does the metadata pass, if it turns out to be needed."""
    from vlp_zoo.bench.tasks import flag
    from vlp_zoo.data import DATASETS
    from vlp_zoo.errors import ConfigError, unknown_name

    if name not in (*DATASETS, "pairs"):
        known = {**DATASETS, "pairs": ""}
        raise unknown_name("data set", name, known, "vlpzoo info datasets lists them")
    read, others = ["root"], ["path", "image_root", "report_column"]
    if name == "pairs":
        read, others = others, read
    option = read[0]
    if ignored := [other for other in others if getattr(options, other) is not None]:
        raise ConfigError(
            f"options that prepare {name} reads: {', '.join(map(flag, read))}",
            f"{', '.join(map(flag, ignored))}, which would change nothing",
            "leave them out",
        )
    given = getattr(options, option)
    if given is None and not (options.out / "store.json").is_file():
        raise ConfigError(
            f"where {name} is", f"no --{option}", f"add --{option} to the command"
        )

    def scan() -> RawSet:
        from vlp_zoo.data.catalogue import card_of
        from vlp_zoo.data.pairs import PairColumns
        from vlp_zoo.data.store.raw_sets import scan_card, scan_pairs

        if name != "pairs":
            return scan_card(card_of(name), given)
        columns = PairColumns(report=options.report_column)
        return scan_pairs(given, columns, image_root=options.image_root)

    return scan


def _print(out: Path, store: dict[str, Any]) -> None:
    images = store["images"]
    print(f"{out}: {images['stored']} images of {store['title']}")
    if images["rejected"]:
        reasons = ", ".join(f"{word} {n}" for word, n in store["rejected"].items())
        print(f"left out: {images['rejected']} ({reasons}); see {out / 'rejects.csv'}")
    for note, count in store["notes"].items():
        print(f"noted: {note} {count}")
    print(f"next: vlpzoo fit --model NAME --data prepared --data.root {out}")

"""``vlpzoo synth``: write a phantom world to disk, or a contact sheet of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

__all__ = ["build_parser", "main"]

EXAMPLES = """examples:
  vlpzoo synth chest --layout mimic-cxr --studies 200 --out phantom
  vlpzoo synth chest --layout pairs --studies 500 --out pairs --views all
  vlpzoo synth chest --contact-sheet sheet.png
"""


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def build_parser() -> argparse.ArgumentParser:
    """The options, without importing anything heavy."""
    parser = argparse.ArgumentParser(
        prog="vlpzoo synth",
        description="Write images and reports of patients who never were.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("world", choices=("chest",), help="which phantom world")
    parser.add_argument(
        "--layout",
        choices=("mimic-cxr", "pairs"),
        help="mimic-cxr: the official MIMIC-CXR-JPG folders, reports and tables; "
        "pairs: images and one pairs.csv",
    )
    parser.add_argument("--out", type=Path, help="folder to write to")
    parser.add_argument(
        "--contact-sheet",
        type=Path,
        metavar="PNG",
        help="draw one example of each finding instead",
    )
    parser.add_argument(
        "--studies", type=_count, default=200, help="examinations (default 200)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the world (default 0)")
    parser.add_argument(
        "--image-size", type=_count, default=224, help="side in pixels (default 224)"
    )
    parser.add_argument(
        "--views",
        choices=("frontal", "all"),
        default="frontal",
        help="one PA or AP image per study, or its lateral image as well",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace what an earlier synth wrote to the folder",
    )
    return parser


def main(argv: list[str]) -> int:
    """Run the command.

    Args:
        argv: Arguments after ``synth``.

    Returns:
        Exit status.
    """
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.contact_sheet is None and (options.layout is None or not options.out):
        parser.error("give --layout and --out, or --contact-sheet")
    if options.contact_sheet is not None:
        return _sheet(options)
    return _layout(options)


def _sheet(options: argparse.Namespace) -> int:
    from vlp_zoo.data.phantom.chest import PhantomChestSource
    from vlp_zoo.data.phantom.sheet import write_contact_sheet

    source = PhantomChestSource(
        "train",
        max(options.studies, 600),
        options.seed,
        options.image_size,
        options.views,
    )
    labels = write_contact_sheet(options.contact_sheet, source)
    print(f"{options.contact_sheet}: {len(labels)} examples")
    return 0


def _layout(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from vlp_zoo.data.phantom.mimic_layout import write_mimic_layout
    from vlp_zoo.data.phantom.pairs_layout import write_pairs_layout

    write = write_mimic_layout if options.layout == "mimic-cxr" else write_pairs_layout
    with Progress(console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task("drawing", total=None)
        images = write(
            options.out,
            options.studies,
            options.seed,
            options.image_size,
            options.views,
            options.overwrite,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    print(f"{options.out}: {images} images in the {options.layout} layout")
    return 0

"""``vlpzoo synth``: write a phantom world to disk, or a contact sheet of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlp_zoo.cli.parser import Parser, at_least
from vlp_zoo.cli.screen import watched
from vlp_zoo.files import require_writable

__all__ = ["build_parser", "main"]

EXAMPLES = """examples:
  vlpzoo synth chest --layout mimic-cxr --studies 200 --out phantom
  vlpzoo synth chest --layout pairs --studies 500 --out pairs --views all
  vlpzoo synth chest --contact-sheet sheet.png
  vlpzoo synth fundus --layout pairs --studies 500 --out pairs --eyes both
"""


def build_parser() -> argparse.ArgumentParser:
    """The options, without importing anything heavy."""
    parser = Parser(
        prog="vlpzoo synth",
        description="Write images and reports of patients who never were.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "world", choices=("chest", "fundus"), help="which phantom world"
    )
    parser.add_argument(
        "--layout",
        choices=("mimic-cxr", "pairs"),
        help="mimic-cxr: the official MIMIC-CXR-JPG folders, reports and tables; "
        "pairs: images and one pairs.csv, with masks of the fundus world",
    )
    parser.add_argument("--out", type=Path, help="folder to write to")
    parser.add_argument(
        "--contact-sheet",
        type=Path,
        metavar="PNG",
        help="draw one example of each finding instead",
    )
    parser.add_argument(
        "--studies", type=at_least(1), default=200, help="examinations (default 200)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the world (default 0)")
    parser.add_argument(
        "--image-size",
        type=at_least(1),
        default=224,
        help="side in pixels (default 224)",
    )
    parser.add_argument(
        "--views",
        choices=("frontal", "all"),
        help="chest: one PA or AP image per study (the default), or its lateral image "
        "as well",
    )
    parser.add_argument(
        "--eyes",
        choices=("one", "both"),
        help="fundus: one eye per visit (the default), or both",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace what an earlier synth wrote to the folder",
    )
    return parser


def main(argv: list[str]) -> int:
    """Write a world's images and reports, or one picture with an example of each."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.contact_sheet is None and (options.layout is None or not options.out):
        parser.error("give --layout and --out, or --contact-sheet")
    if options.world == "fundus":
        if options.layout == "mimic-cxr" or options.views is not None:
            parser.error("fundus has --layout pairs, and --eyes in place of --views")
        options.choice = options.eyes or "one"
    else:
        if options.eyes is not None:
            parser.error("chest has --views in place of --eyes")
        options.choice = options.views or "frontal"
    if options.contact_sheet is not None:
        require_writable(options.contact_sheet.parent)
        return _sheet(options)
    require_writable(options.out)
    return _layout(options)


def _sheet(options: argparse.Namespace) -> int:
    from vlp_zoo.data.phantom.chest.sheet import write_contact_sheet
    from vlp_zoo.data.phantom.chest.source import PhantomChestSource
    from vlp_zoo.data.phantom.fundus import sheet as fundus_sheet
    from vlp_zoo.data.phantom.fundus.source import PhantomFundusSource

    place, seed, size = options.contact_sheet, options.seed, options.image_size
    if options.world == "chest":
        count = max(options.studies, 600)
        chests = PhantomChestSource("train", count, seed, size, options.choice)
        labels = write_contact_sheet(place, chests)
    else:
        count = max(options.studies, 1500)
        eyes = PhantomFundusSource("train", count, seed, size, options.choice)
        labels = fundus_sheet.write_contact_sheet(place, eyes)
    print(f"{options.contact_sheet}: {len(labels)} examples")
    return 0


def _layout(options: argparse.Namespace) -> int:
    from vlp_zoo.data.phantom.chest.mimic_layout import write_mimic_layout
    from vlp_zoo.data.phantom.chest.source import PhantomChestSource
    from vlp_zoo.data.phantom.folder import Layout
    from vlp_zoo.data.phantom.fundus.source import PhantomFundusSource
    from vlp_zoo.data.phantom.table import write_pairs_layout

    mimic = options.layout == "mimic-cxr"
    write: Callable[[Layout[Any]], int] = (
        write_mimic_layout if mimic else write_pairs_layout
    )
    worlds = {"chest": PhantomChestSource, "fundus": PhantomFundusSource}
    with watched("drawing") as progress:
        layout = Layout[Any](
            worlds[options.world],
            options.out,
            options.studies,
            options.seed,
            options.image_size,
            options.choice,
            options.overwrite,
            progress,
        )
        images = write(layout)
    print(f"{options.out}: {images} images in the {options.layout} layout")
    return 0

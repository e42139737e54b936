"""``vlpzoo info``: what there is, without importing torch."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vlp_zoo.cli.names import config_names, configs_folder, known
from vlp_zoo.cli.parser import Parser
from vlp_zoo.data import DATASETS
from vlp_zoo.encoders.layouts import LAYOUTS
from vlp_zoo.encoders.specs import SPECS
from vlp_zoo.errors import DatasetNotFoundError

if TYPE_CHECKING:
    from vlp_zoo.data.records import Card

__all__ = ["main"]

TOPICS = ("methods", "datasets", "configs", "presets", "suites", "encoders")


def _first_line(class_path: str) -> str:
    """First docstring line of a class, read from its source and not imported."""
    module_name, _, class_name = class_path.rpartition(".")
    try:
        spec = importlib.util.find_spec(module_name)
    except ModuleNotFoundError:
        return "(its package is not installed)"
    if spec is None or spec.origin is None:
        return "(its module is not found)"
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def main(argv: list[str]) -> int:
    """Print one of the lists.

    Args:
        argv: Options of the sub-command.

    Returns:
        0.
    """
    parser = Parser(
        prog="vlpzoo info",
        description="List methods, data sets, configs, presets, suites and encoders.",
    )
    parser.add_argument(
        "topic",
        nargs="?",
        choices=[*TOPICS, "models", "data"],
        help="one list only (models = methods, data = datasets)",
    )
    parser.add_argument(
        "--root",
        type=Path,
        help="datasets: folder whose sub-folders are data sets; shows which are found",
    )
    options = parser.parse_args(argv)
    topic = options.topic
    if topic in (None, "methods", "models"):
        print("methods (--model)")
        for name, path in sorted(known("model").items()):
            print(f"  {name:<16}{_first_line(path)}")
    if topic in (None, "datasets", "data"):
        _data_sets(options.root, cards=topic is not None or options.root is not None)
    if topic in (None, "configs"):
        print(f"configs (--config), in {configs_folder()}")
        for name in config_names():
            print(f"  {name:<16}{_comment(configs_folder() / f'{name}.yaml')}")
    for kind in ("presets", "suites"):
        if topic in (None, kind):
            folder = configs_folder() / kind
            print(f"{kind} (bench --{kind.removesuffix('s')}), in {folder}")
            for file in sorted(folder.glob("*.yaml")):
                print(f"  {file.stem:<16}{_comment(file)}")
    if topic in (None, "encoders"):
        print("encoders (bench --encoder)")
        for form, line in SPECS.items():
            print(f"  {form:<30}{line}")
        print("layouts (official:LAYOUT:FILE)")
        for name, layout in LAYOUTS.items():
            print(f"  {name:<20}{layout.line}")
    return 0


def _data_sets(root: Path | None, cards: bool) -> None:
    print("data sets (--data)")
    for name, path in sorted(known("data").items()):
        if name not in DATASETS:
            print(f"  {name:<16}{_first_line(path)}")
    if not cards:
        print(f"  {', '.join(DATASETS)}: official layouts, see vlpzoo info datasets")
        return
    # Cards need numpy and rich; the plain list answers at once.
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from vlp_zoo.data.catalogue import card_of

    columns = ["name", "data set", "gives", "patients", "splits", "access", "licence"]
    table = Table(
        *([*columns, "found"] if root else columns),
        box=box.SIMPLE_HEAD,
        title="in their official layout (--data NAME --data.root DIR)",
        title_justify="left",
    )
    for name in DATASETS:
        card = card_of(name)
        cells = [
            name,
            f"{card.title} ({card.domain})",
            ", ".join(card.gives),
            card.patients,
            ", ".join(["canonical", *card.splits]),
            card.access,
            card.licence,
        ]
        table.add_row(*cells, *([_found(card, root)] if root else []))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)


def _found(card: Card, root: Path) -> str:
    """The folder below ``root``, or ``root`` itself, that looks like the data set."""
    if not root.is_dir():
        raise DatasetNotFoundError(
            f"the folder --root {root}",
            "no such folder",
            "give the folder that holds your data sets",
        )
    folders = [root, *sorted(p for p in root.iterdir() if p.is_dir())]
    for folder in folders:
        if any(next(folder.glob(marker), None) for marker in card.markers):
            return folder.name
    return "-"


def _comment(path: Path) -> str:
    line = path.read_text(encoding="utf-8").partition("\n")[0]
    return line.removeprefix("#").strip()

"""``vlpzoo info``: what there is, without importing torch."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vlp_zoo.cli.names import config_names, configs_folder, known
from vlp_zoo.cli.parser import Parser
from vlp_zoo.data import DATASETS
from vlp_zoo.encoders.layouts import LAYOUTS
from vlp_zoo.encoders.specs import SPECS
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.methods.facts import FACTS
from vlp_zoo.parity import REPLAYS

if TYPE_CHECKING:
    from vlp_zoo.data.records import Card

__all__ = ["main"]

WIDE = 160
"""Columns that a table of cards needs to be easy to read."""

NARROW = 24
"""Columns below which a description goes under its name."""

OFFICIAL = "in their official layout (--data NAME --data.root DIR)"
TOPICS = ("methods", "datasets", "configs", "presets", "suites", "encoders")


def _method(name: str, class_path: str) -> str:
    """What a method is, and what a user asks of it, where that is known."""
    line = _first_line(class_path)
    return f"{line} {FACTS[name].line(name in REPLAYS)}" if name in FACTS else line


def _first_line(class_path: str) -> str:
    """First docstring line of a class, read from its source and not imported."""
    module_name, _, class_name = class_path.rpartition(".")
    try:
        spec = importlib.util.find_spec(module_name)
    except ModuleNotFoundError:
        return "(its package is not installed)"
    if spec is None or spec.origin is None:
        return "(its module is not found)"
    return _docline(Path(spec.origin), module_name, class_name)


def _docline(source: Path, module_name: str, class_name: str) -> str:
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            return (ast.get_docstring(node) or "").partition("\n")[0]
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            # The face of a folder: the class stands in one of its modules.
            inside = node.module.removeprefix(f"{module_name}.")
            named = any(alias.name == class_name for alias in node.names)
            if named and inside != node.module:
                path = source.parent.joinpath(*inside.split(".")).with_suffix(".py")
                return _docline(path, node.module, class_name)
    return ""


def main(argv: list[str]) -> int:
    """Print one of the lists, or all."""
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
        paths = sorted(known("model").items())
        _list("methods (--model)", {name: _method(name, path) for name, path in paths})
    if topic in (None, "datasets", "data"):
        _data_sets(options.root, cards=topic is not None or options.root is not None)
    if topic in (None, "configs"):
        files = {name: configs_folder() / f"{name}.yaml" for name in config_names()}
        _list(
            f"configs (--config), in {configs_folder()}",
            {name: _comment(file) for name, file in files.items()},
        )
    for kind in ("presets", "suites"):
        if topic in (None, kind):
            folder = configs_folder() / kind
            _list(
                f"{kind} (bench --{kind.removesuffix('s')}), in {folder}",
                {file.stem: _comment(file) for file in sorted(folder.glob("*.yaml"))},
            )
    if topic in (None, "encoders"):
        _list("encoders (bench --encoder)", SPECS)
        _list(
            "layouts (official:LAYOUT:FILE)",
            {name: layout.line for name, layout in LAYOUTS.items()},
        )
    return 0


def _width() -> int | None:
    """Columns of the terminal, or as COLUMNS says; None where lines need no end."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size().columns
    return None


def _list(title: str, lines: Mapping[str, str]) -> None:
    """Names and what they are, beside each other or, where that is narrow, below.

    A name is never cut and never broken, so that it can be copied.
    """
    print(title)
    width, column = _width(), max(map(len, lines), default=0) + 4
    room = None if width is None else width - column
    for name, line in lines.items():
        if room is None:
            print(f"  {name:<{column - 2}}{line}".rstrip())
        elif room >= NARROW:
            first, *rest = textwrap.wrap(line, room) or [""]
            print(f"  {name:<{column - 2}}{first}".rstrip())
            print("".join(f"{' ' * column}{part}\n" for part in rest), end="")
        else:
            print(f"  {name}")
            for part in textwrap.wrap(line, max((width or 0) - 6, NARROW)):
                print(f"      {part}")


def _data_sets(root: Path | None, cards: bool) -> None:
    paths = sorted(known("data").items())
    own = {name: _first_line(path) for name, path in paths if name not in DATASETS}
    _list("data sets (--data)", own)
    if not cards:
        line = f"{', '.join(DATASETS)}: official layouts, see vlpzoo info datasets"
        for part in textwrap.wrap(line, max((_width() or WIDE) - 2, NARROW)):
            print(f"  {part}")
        return
    # Cards need numpy and rich; the plain list answers at once.
    width = _width() or WIDE
    if width < WIDE // 2:
        _card_lines(root)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    rows = {name: _card(name, root) for name in DATASETS}
    columns = ["name", *next(iter(rows.values()))]
    table = Table(*columns, box=box.SIMPLE_HEAD, title=OFFICIAL, title_justify="left")
    for name, cells in rows.items():
        table.add_row(name, *cells.values())
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].no_wrap = True
    table.columns[0].min_width = max(map(len, DATASETS))
    Console(width=width).print(table)


def _card_lines(root: Path | None) -> None:
    """The cards below each other, for screens that hold no table."""
    named = {"gives": "gives ", "splits": "splits ", "found": "found: "}
    lines = {}
    for name in DATASETS:
        cells = _card(name, root)
        del cells["patients"]
        lines[name] = "; ".join(named.get(key, "") + cells[key] for key in cells)
    _list(OFFICIAL, lines)


def _card(name: str, root: Path | None) -> dict[str, str]:
    """What is shown of a data set, by the heading of its column."""
    from vlp_zoo.data.catalogue import card_of

    card = card_of(name)
    cells = {
        "data set": f"{card.title} ({card.domain})",
        "gives": ", ".join(card.gives),
        "patients": card.patients,
        "splits": ", ".join(["canonical", *card.splits]),
        "access": card.access,
        "licence": card.licence,
    }
    return {**cells, "found": _found(card, root)} if root else cells


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

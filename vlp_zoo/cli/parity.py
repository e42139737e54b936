"""``vlpzoo parity``: replay recordings of the official code and compare numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import vlp_zoo
from vlp_zoo.cli.parser import Parser
from vlp_zoo.errors import ConfigError, DatasetNotFoundError, VLPZooError
from vlp_zoo.parity import REPLAYS

if TYPE_CHECKING:
    from vlp_zoo.parity.comparison import Comparison

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Replay fixtures and say where they differ; 1 if anything does or was left out."""
    parser = Parser(
        prog="vlpzoo parity",
        description="Replay recorded runs of a method's official code: same weights, "
        "inputs and draws. Exit code 0 if losses, intermediates, gradients and "
        "optimiser steps agree, and every recorded input was replayed or is known to "
        "decide none of them.",
    )
    parser.add_argument(
        "method",
        nargs="?",
        choices=[*REPLAYS],
        help="all that a checkout has, without it",
    )
    parser.add_argument(
        "--fixture",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="folder(s) of a recorded run (pre-training or text); without it the small "
        "recording of a checkout, tests/golden/METHOD",
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FILE",
        help="published vocabulary for text fixtures "
        "(default: mimic_wordpiece.json beside the fixture)",
    )
    parser.add_argument(
        "--dtype", choices=["float32", "float64"], default="float32", help="arithmetic"
    )
    parser.add_argument("--json", action="store_true", help="the JSON line only")
    options = parser.parse_args(argv)
    jobs = _jobs(options.method, options.fixture)

    import torch

    from vlp_zoo.parity.replay import INPUTS, Vocabulary

    dtype = torch.float64 if options.dtype == "float64" else torch.float32
    vocabulary = Vocabulary(options.tokenizer)
    good = True
    for method, folder in jobs:
        module, _, function = REPLAYS[method].rpartition(".")
        replay = getattr(import_module(module), function)
        try:
            rows = replay(folder, dtype, vocabulary)
        except VLPZooError as error:
            if options.json:
                print(json.dumps({"fixture": str(folder), "error": str(error)}))
            raise
        inputs = [row for row in rows if row.quantity.startswith(INPUTS)]
        compared = [row for row in rows if row not in inputs]
        if not options.json:
            print(f"{method}, {folder.name}, {options.dtype}")
            print(_table(compared))
            for row in inputs:
                print(row.quantity)
        said = _summary(method, folder, options.dtype, compared)
        said["ok"] = said["ok"] and all(row.ok for row in inputs)
        print(json.dumps({**said, "inputs": [row.quantity for row in inputs]}))
        good = good and bool(rows) and all(row.ok for row in rows)
    if options.tokenizer and not vocabulary.asked:
        raise ConfigError(
            "recorded reports that --tokenizer reads",
            "none in what was replayed",
            "leave out --tokenizer",
        )
    return 0 if good else 1


def _jobs(method: str | None, folders: Sequence[Path] | None) -> list[tuple[str, Path]]:
    """Method and folder of each replay; what a checkout has, where none are given."""
    if folders and method is None:
        raise ConfigError(
            "the method that was recorded", "none", "vlpzoo parity METHOD --fixture DIR"
        )
    if folders and method:
        return [(method, folder) for folder in folders]
    place = Path(vlp_zoo.__file__).parents[1] / "tests" / "golden"
    wanted = [method] if method else list(REPLAYS)
    found = [(name, place / name) for name in wanted if (place / name).is_dir()]
    if not found:
        raise DatasetNotFoundError(
            f"a small recording of {' or '.join(wanted)} in {place}",
            "no such folder",
            "give the folder of a recorded run with --fixture",
        )
    if missing := sorted(set(wanted) - {name for name, _ in found}):
        print(
            f"not replayed: {', '.join(missing)}: {place} has no recording of them; give "
            "one with --fixture",
            file=sys.stderr,
        )
    return found


def _table(rows: Sequence[Comparison]) -> str:
    width = max(len(row.quantity) for row in rows)
    head = ("ours", 13), ("official", 13), ("error", 9), ("tolerance", 9)
    titles = " ".join(f"{title:>{size}}" for title, size in head)
    lines = [f"{'quantity':<{width}}  {titles}  ok"]
    lines += [
        f"{row.quantity:<{width}}  {row.ours:>13.7g} {row.official:>13.7g} "
        f"{row.error:>9.2g} {row.tolerance:>9.2g}  {'yes' if row.ok else 'NO'}"
        for row in rows
    ]
    return "\n".join(lines)


def _summary(
    method: str, folder: Path, dtype: str, rows: Sequence[Comparison]
) -> dict[str, object]:
    failed = [row.quantity for row in rows if not row.ok]
    losses = {
        row.quantity.removeprefix("loss."): {
            "ours": row.ours,
            "official": row.official,
            "relative_error": row.error,
        }
        for row in rows
        if row.quantity.startswith("loss.")
    }
    return {
        "method": method,
        "fixture": folder.name,
        "dtype": dtype,
        "ok": bool(rows) and not failed,
        "compared": len(rows),
        "failed": failed,
        "losses": losses,
    }

"""``vlpzoo parity``: replay recordings of the official code and compare numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from vlp_zoo.cli.parser import Parser
from vlp_zoo.errors import VLPZooError
from vlp_zoo.parity import REPLAYS

if TYPE_CHECKING:
    from vlp_zoo.parity.comparison import Comparison

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Replay fixtures and say where they differ.

    Args:
        argv: Options of the sub-command.

    Returns:
        0 if every quantity agrees and every input was replayed, 1 otherwise.
    """
    parser = Parser(
        prog="vlpzoo parity",
        description="Replay recorded runs of a method's official code: same weights, "
        "inputs and draws. Exit code 0 if losses, intermediates, gradients and "
        "optimiser steps agree, and every recorded input was replayed or is known to "
        "decide none of them.",
    )
    parser.add_argument("method", choices=REPLAYS)
    parser.add_argument(
        "--fixture",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="folder(s) of a recorded run (pre-training or text)",
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

    import torch

    from vlp_zoo.parity.comparison import INPUTS

    module, _, function = REPLAYS[options.method].rpartition(".")
    replay = getattr(import_module(module), function)
    extra = {"tokenizer": options.tokenizer} if options.method == "ecamp" else {}
    dtype = torch.float64 if options.dtype == "float64" else torch.float32
    good = True
    for folder in options.fixture:
        try:
            rows = replay(folder, dtype=dtype, **extra)
        except VLPZooError as error:
            if options.json:
                print(json.dumps({"fixture": str(folder), "error": str(error)}))
            raise
        inputs = [row for row in rows if row.quantity.startswith(INPUTS)]
        compared = [row for row in rows if row not in inputs]
        if not options.json:
            print(f"{options.method}, {folder.name}, {options.dtype}")
            print(_table(compared))
            for row in inputs:
                print(row.quantity)
        said = _summary(options.method, folder, options.dtype, compared)
        said["ok"] = said["ok"] and all(row.ok for row in inputs)
        print(json.dumps({**said, "inputs": [row.quantity for row in inputs]}))
        good = good and bool(rows) and all(row.ok for row in rows)
    return 0 if good else 1


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

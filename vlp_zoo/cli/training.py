"""``vlpzoo fit | validate | test | predict``: the light half.

Names are expanded and the short help is printed without importing torch; the rest
happens in ``lightning_cli``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from vlp_zoo.allocator import keep_freed_memory
from vlp_zoo.cli.names import expand, short_help

__all__ = ["keep_freed_memory", "main"]


def main(argv: Sequence[str]) -> int:
    """Run one Trainer command.

    Args:
        argv: The sub-command first, then its options.

    Returns:
        0; errors are raised.
    """
    arguments = list(argv)
    if arguments[1:] in ([], ["-h"]):
        # --help prints the generated list, which takes seconds to import.
        print(short_help(arguments[0]))
        return 0
    plan = expand(arguments)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        for note in plan.notes:
            print(note, file=sys.stderr)
    keep_freed_memory()
    from vlp_zoo.cli.lightning_cli import run

    try:
        run(plan)
    except SystemExit as stop:
        # Lightning ends an interrupted run with sys.exit(1); Ctrl-C is 130 here.
        if isinstance(stop.__context__, KeyboardInterrupt):
            print("continue it with --ckpt_path last", file=sys.stderr)
            raise KeyboardInterrupt from None
        raise
    return 0

"""``vlpzoo fit | validate | test | predict``: the light half.

Names are expanded and the short help is printed without importing torch; the rest
happens in ``lightning_cli``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

from vlp_zoo.allocator import keep_freed_memory
from vlp_zoo.cli.names import expand, help_of_named, short_help

__all__ = ["keep_freed_memory", "main"]

LAUNCHER = "VLPZOO_LAUNCHER"
"""Variable with the process that starts the others of a run on several devices."""

NOTHING_YET = "nothing was trained yet: run the same command again"


def _helped(command: str, asked: Sequence[str]) -> int:
    """Print the options of classes, then those that every run has."""
    from vlp_zoo.cli.lightning_cli import run

    for words in (*asked, "--help"):
        # Each list ends its parser; the next one gets a parser of its own.
        with contextlib.suppress(SystemExit):
            run(expand([command, words]))
        sys.stdout.flush()
    return 0


def main(argv: Sequence[str]) -> int:
    """Run one Trainer command.

    Args:
        argv: The sub-command first, then its options.

    Returns:
        0; errors are raised, and `Stopped` where a signal ended the run.
    """
    child = _watch_launcher()
    arguments = list(argv)
    if arguments[1:] in ([], ["-h"]):
        # --help prints the generated list, which takes seconds to import.
        print(short_help(arguments[0]))
        return 0
    if "--help" in arguments and (asked := help_of_named(arguments)):
        return _helped(arguments[0], asked)
    plan = expand(arguments)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        for note in plan.notes:
            print(note, file=sys.stderr)
    keep_freed_memory()
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    from vlp_zoo.callbacks.running import Stopped
    from vlp_zoo.cli.lightning_cli import run

    try:
        run(plan)
    except Stopped as stop:
        if child:
            # One that ends with an error makes the main process kill all, itself too.
            return 0
        print(stop, file=sys.stderr)
        raise
    except SIGTERMException:
        # Lightning ends with 0 what was terminated before its training began.
        print(NOTHING_YET, file=sys.stderr)
        raise SystemExit(128 + signal.SIGTERM) from None
    except (KeyboardInterrupt, SystemExit) as stop:
        # Lightning ends an interrupted run with sys.exit(1). While it trains it has a
        # watch of its own (`SignalWatch`): this one came before, or after all.
        cause = stop.__context__ if isinstance(stop, SystemExit) else stop
        if not isinstance(cause, KeyboardInterrupt):
            raise
        if arguments[0] == "fit" and not plan.finished and not child:
            print(NOTHING_YET, file=sys.stderr)
        raise cause from None
    return 0


def _watch_launcher() -> bool:
    """End this process with the one that launched it; whether there is one.

    Lightning's launcher ends all processes when one that it started has died, but not
    when it dies itself: the others would wait for it in their next exchange.
    """
    launcher = os.environ.get(LAUNCHER)
    if os.environ.get("LOCAL_RANK", "0") == "0" or launcher is None:
        os.environ[LAUNCHER] = str(os.getpid())
        return False

    def watch() -> None:
        while os.getppid() == int(launcher):
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="launcher-watch", daemon=True).start()
    return True

"""What commands print on: tables that a pipe does not cut, and progress bars."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

__all__ = ["output", "progress_bar", "watched"]


def output() -> Console:
    """Standard output, wide enough for a table's numbers where it is a pipe."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 132)


def progress_bar(*columns: str | ProgressColumn, **options: Any) -> Progress:
    """A bar with what is done, how much of how much, and further columns.

    Args:
        *columns: Text with places for a task's fields, or columns of rich.
        **options: Keyword arguments of `rich.progress.Progress`.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress

    count = MofNCompleteColumn()
    return Progress("{task.description}", BarColumn(), count, *columns, **options)


@contextlib.contextmanager
def watched(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error while images are worked on.

    Args:
        what: What is being done, as "preparing".

    Yields:
        What to call with the number of images done and their total.
    """
    from rich.console import Console
    from rich.progress import TimeRemainingColumn

    speed = ("{task.fields[rate]}", "time left", TimeRemainingColumn())
    console = Console(file=sys.stderr)

    def update(done: int, total: int) -> None:
        if not bar.tasks:
            # What an earlier run did says nothing about the speed of this one.
            bar.add_task(what, total=total, completed=done, rate="")
        images = bar.tasks[0].speed
        rate = f"{images:.0f} images/s" if images else ""
        bar.update(bar.tasks[0].id, completed=done, rate=rate)

    with progress_bar(*speed, console=console, transient=True) as bar:
        yield update

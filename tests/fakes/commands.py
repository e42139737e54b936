"""Work in a process of its own, for tests that end it from outside or kill it inside."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

__all__ = ["in_a_process"]


@contextlib.contextmanager
def in_a_process(
    work: Callable[..., int], *arguments: object, log: Path
) -> Iterator[BaseProcess]:
    """Run ``work(*arguments)`` in another process, which the ``with`` block outlives.

    The process is forked: one that imports torch and Lightning anew needs ten times the
    seconds of a tiny training. A GPU in use cannot be forked; there it is a new one.

    Args:
        work: A function of a module; the process exits with the code that it returns.
        arguments: Its arguments.
        log: The file that standard output and standard error go to.

    Yields:
        The started process; it is killed at the end of the block if it still runs.
    """
    fork, spawn = get_context("fork"), get_context("spawn")
    kind = spawn.Process if torch.cuda.is_available() else fork.Process
    process = kind(target=_run, args=(work, arguments, log))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _run(work: Callable[..., int], arguments: tuple[object, ...], log: Path) -> None:
    torch.set_num_threads(1)
    # A suite that runs in the background has Ctrl-C ignored, and so would this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with (
        log.open("w", buffering=1) as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        # What native code and further processes write goes there too.
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.exit(work(*arguments))

"""Processes of tests: two that exchange tensors over gloo, and one for a test alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

__all__ = ["alone", "on_two_processes"]


def alone(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a forked process of its own.

    For what leaves torch changed, as fake tensors do: a GPU seems to be there from then on.
    """

    @functools.wraps(test)
    def forked(*arguments: Any, **named: Any) -> None:
        start_processes(  # type: ignore[no-untyped-call]
            lambda rank: test(*arguments, **named), nprocs=1, start_method="fork"
        )

    return forked


def on_two_processes(work: Callable[[int], Any], folder: Path) -> list[Any]:
    """What ``work(rank)`` returns on two processes that belong to one group.

    Args:
        work: Any callable, a closure too, as the processes are forked; returns what
            ``torch.save`` can write and ``weights_only`` loading can read.
        folder: An empty one, for the meeting point and the results.
    """
    start_processes(  # type: ignore[no-untyped-call]
        _run, (work, str(folder)), nprocs=2, start_method="fork"
    )
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _run(rank: int, work: Callable[[int], Any], folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    # One that has nothing to exchange would be gone before the other has met it.
    dist.barrier()
    try:
        torch.save(work(rank), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()

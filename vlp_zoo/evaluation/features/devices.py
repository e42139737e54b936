"""Devices of an evaluation: which there are, and work that is shared out to them.

Encoding and predicting need no exchange, so the processes of `spread` are not a process
group: each takes whole batches, hands its rows over and ends. Training exchanges
gradients and is left to Lightning, see `vlp_zoo.evaluation.training.loop`.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from typing import Any, Literal, TypeVar, cast

import torch
from torch.multiprocessing.spawn import start_processes

from vlp_zoo.errors import ConfigError, VLPZooError
from vlp_zoo.loading import start_worker

__all__ = [
    "count_devices",
    "find_device",
    "one_thread",
    "share_batches",
    "spread",
    "start_method",
]

T = TypeVar("T")
Work = Callable[[Sequence[int], torch.device], T]
"""Cases and the device to handle them on, to what is found."""


def find_device(name: str, count: int = 1) -> torch.device:
    """The device of a name.

    Args:
        name: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        count: Devices of this kind that are wanted; of CPUs, processes.

    Raises:
        ConfigError: If there is no such device, or there are not as many.
    """
    if name == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    else:
        try:
            device = torch.device(name)
        except RuntimeError as error:
            raise ConfigError(
                f"the device {name!r}", str(error), "give cpu, cuda or cuda:N"
            ) from error
    there = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= there:
        raise ConfigError(
            f"the device {name!r}", f"{there} CUDA devices", "give --device cpu"
        )
    if count == 1:
        return device
    if str(device) not in ("cpu", "cuda"):
        raise ConfigError(
            f"{count} devices of one kind",
            f"the device {name!r}",
            "give --device cpu or cuda with --devices, or --devices 1",
        )
    if device.type == "cuda" and count > there:
        raise ConfigError(
            f"{count} CUDA devices",
            f"{there} that this process can see",
            "lower --devices, or give --devices auto for all of them",
        )
    return device


def count_devices(wanted: int | str, name: str) -> int:
    """A number of devices, ``"auto"`` decided.

    Args:
        wanted: A number, or ``"auto"``: all CUDA devices that this process can see,
            and 1 on CPUs or where ``name`` has an index.
        name: Name of the device, ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...

    Raises:
        ConfigError: If there is no such device.
    """
    if isinstance(wanted, int):
        return wanted
    if wanted != "auto":
        raise ConfigError(
            "a number of devices or auto", repr(wanted), "correct --devices"
        )
    # With an index it is one device and not a kind of them.
    return torch.cuda.device_count() if str(find_device(name)) == "cuda" else 1


def start_method(device: torch.device) -> Literal["fork", "spawn"]:
    """How processes for a device start: CUDA does not survive a fork."""
    return "spawn" if device.type == "cuda" else "fork"


def share_batches(
    cases: Sequence[int], batch_size: int, processes: int
) -> list[Sequence[int]]:
    """Cases in contiguous parts of whole batches.

    Each batch is one that a single process would make, so that what is found does not
    depend on the number of processes, not even by the rounding of another batch size.

    Args:
        cases: In order.
        batch_size: Cases per batch.
        processes: Parts at most; there are never more than batches, and one at least.

    Example:
        >>> share_batches(range(7), 2, 3)
        [range(0, 2), range(2, 4), range(4, 7)]
    """
    batches = -(-len(cases) // batch_size)
    parts = max(1, min(processes, batches))
    bounds = [batches * i // parts * batch_size for i in range(parts + 1)]
    return [cases[bounds[i] : bounds[i + 1]] for i in range(parts)]


def spread(
    work: Work[T], parts: Sequence[Sequence[int]], device: torch.device
) -> list[T]:
    """Do work on parts of the cases, each in a process and on a device of its own.

    A single part is done in this process. Others run beside each other: on CPUs in
    forked processes of one thread, see `one_thread`; on CUDA in spawned ones, for
    which the work and all it holds has to be picklable and a script that calls this
    needs its ``if __name__ == "__main__":``.

    Args:
        work: What is to be done; returns arrays and plain Python values.
        parts: Cases, as of `share_batches`.
        device: Without index where there are several parts.

    Returns:
        What was found, in the order of the parts.

    Raises:
        VLPZooError: The error that the work raised; the other processes are ended.
        RuntimeError: For any other error of the work, with its traceback as text.
    """
    if len(parts) == 1:
        return [work(parts[0], device)]
    method = start_method(device)
    pipes = [get_context(method).Pipe(duplex=False) for _ in parts]
    senders = [sender for _, sender in pipes]
    precision = torch.get_float32_matmul_precision()
    start_worker()  # before the fork, see there
    with one_thread(device):
        context: Any = start_processes(  # type: ignore[no-untyped-call]
            _run,
            (work, parts, device, precision, senders),
            nprocs=len(parts),
            join=False,
            start_method=method,
        )
    try:
        for sender in senders:
            sender.close()
        found = _collect({pipe: i for i, (pipe, _) in enumerate(pipes)}, context)
    except BaseException:
        # Ctrl-C too: nothing goes on behind the user's back.
        for process in context.processes:
            process.terminate()
        raise
    finally:
        for process in context.processes:
            process.join()
        for pipe, _ in pipes:
            pipe.close()
    return found


def _run(
    part: int,
    work: Work[Any],
    parts: Sequence[Sequence[int]],
    device: torch.device,
    precision: str,
    senders: Sequence[Connection],
) -> None:
    """One process: its part, on its device, to its pipe."""
    for other, sender in enumerate(senders):
        if other != part:
            # Else nobody would notice the end of the process that it belongs to.
            sender.close()
    if device.type == "cuda":
        device = torch.device("cuda", part)
        torch.cuda.set_device(device)
    torch.set_float32_matmul_precision(precision)
    found: Any
    try:
        found = work(parts[part], device)
    except VLPZooError as error:
        error.add_note(traceback.format_exc())
        found = error
    except Exception as error:  # noqa: BLE001  # raised again where it is received
        found = RuntimeError(
            f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        )
    senders[part].send(found)
    senders[part].close()


def _collect(waiting: dict[Connection, int], context: Any) -> list[Any]:
    found: dict[int, Any] = {}
    while waiting:
        for pipe in cast(list[Connection], connection.wait(list(waiting))):
            part = waiting.pop(pipe)
            try:
                value = pipe.recv()
            except EOFError:
                # It was killed, for its memory perhaps: this raises by what.
                while not context.join():
                    pass
                raise
            if isinstance(value, Exception):
                raise value
            found[part] = value
    return [found[part] for part in sorted(found)]


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Let processes that are started inside have one thread each, if they are forked.

    OpenMP's threads do not survive a fork, and a forked process that asks for more
    than one waits for them forever. What a machine has to give is used by as many
    processes as it has cores.
    """
    if start_method(device) != "fork":
        yield
        return
    name = "OMP_NUM_THREADS"
    threads, said = torch.get_num_threads(), os.environ.get(name)
    try:
        # Without the name Lightning would give its processes more.
        os.environ[name] = "1"
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)
        if said is None:
            del os.environ[name]
        else:
            os.environ[name] = said

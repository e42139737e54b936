"""Memory of a process: what its allocator keeps, and when Python looks for circles."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["keep_freed_memory", "uncollected"]

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h of the GNU C library


def keep_freed_memory() -> bool:
    """Let the allocator keep what a training step, or an image, frees for the next.

    By default the GNU C library returns every large array to the system and asks for
    it again a moment later, page by page. The process holds its peak afterwards, which
    it reaches either way (`benchmarks/speed/ecamp_step.py` shows what it saves).

    Returns:
        Whether this system's C library has the switch.
    """
    if not sys.platform.startswith("linux"):
        return False
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is None:  # another C library
        return False
    return bool(adjust(_M_MMAP_MAX, 0) and adjust(_M_TRIM_THRESHOLD, 2**31 - 1))


@contextmanager
def uncollected() -> Iterator[None]:
    """Let Python not look for circles of objects while millions of others are made.

    A table becomes objects without circles, and looking for some in all of them, again
    and again while they grow in number, is a fifth of the time of reading it.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()

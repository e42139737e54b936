"""Files written whole or not at all, and the folder of caches."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable
from io import FileIO
from pathlib import Path

__all__ = ["append", "cache_folder", "configs_folder", "write_whole"]


def cache_folder() -> Path:
    """Where caches go: ``VLPZOO_CACHE``, else ``~/.cache/vlpzoo``."""
    named = os.environ.get("VLPZOO_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "vlpzoo"


def configs_folder() -> Path:
    """The folder of packaged configs: inside a wheel, or at the top of a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "configs"


def append(file: FileIO, content: bytes) -> None:
    """Add bytes to the end of a file: all of them on the disk, or none and an error.

    Args:
        file: Open for appending, unbuffered and locked by the caller.
        content: What to add.

    Raises:
        OSError: If not all was written, as on a full disk; the file is as before.
    """
    end = file.seek(0, os.SEEK_END)
    try:
        left = memoryview(content)
        while left:
            # A disk that fills up takes a part without an error.
            count = file.write(left)
            if not count:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file.name))
            left = left[count:]
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
        if size != end + len(content):
            raise OSError(errno.EIO, f"{size - end} of {len(content)} bytes written")
    except BaseException:
        with contextlib.suppress(OSError):
            file.truncate(end)
        raise


def write_whole(path: Path, content: str | Callable[[Path], object]) -> None:
    """Write a file so that no reader, and no later run, ever sees half of it.

    Args:
        path: The file; folders above it are made.
        content: Text, written as UTF-8, or a function that writes a given path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    aside = Path(name)
    try:
        if isinstance(content, str):
            aside.write_text(content, encoding="utf-8", newline="")
        else:
            content(aside)
        # mkstemp's files are for their owner alone; results are to be shared.
        aside.chmod(0o666 & ~_umask())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

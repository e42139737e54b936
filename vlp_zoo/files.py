"""Files written whole or not at all, and the folder of caches."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

from vlp_zoo.errors import FileWriteError, VLPZooError

__all__ = [
    "FINISHED",
    "append",
    "cache_folder",
    "clear_leftovers",
    "configs_folder",
    "made_once",
    "require_writable",
    "slug",
    "write_whole",
]

FINISHED = "finished.json"
"""In a run's folder: written when the training has come to its own end."""


def cache_folder() -> Path:
    """Where caches go: ``VLPZOO_CACHE``, else ``~/.cache/vlpzoo``."""
    named = os.environ.get("VLPZOO_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "vlpzoo"


def configs_folder() -> Path:
    """The folder of packaged configs: inside a wheel, or at the top of a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "configs"


def slug(name: str) -> str:
    """A folder's name for any name.

    Example:
        >>> slug("no super-resolution, mask_ratio=0.35")
        'no-super-resolution-mask_ratio=0.35'
    """
    short = re.sub(r"[^A-Za-z0-9._=+-]+", "-", name).strip("-.") or "variant"
    if len(short) <= 80:
        return short
    return f"{short[:70]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


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


def write_whole(path: Path, content: str | bytes | Callable[[Path], object]) -> None:
    """Write a file so that no reader, and no later run, ever sees half of it.

    The content goes to a file beside the target, reaches the disk, and then takes the
    target's name: after a kill, a power cut or on a full disk the older file is whole.

    Args:
        path: The file; folders above it are made.
        content: Text, written as UTF-8, bytes, or a function that writes a given path.

    Raises:
        FileWriteError: If the disk is full, the folder cannot be written, or the like.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = _held_aside(path)
        try:
            if isinstance(content, str):
                content = content.encode("utf-8")
            if isinstance(content, bytes):
                aside.write_bytes(content)
            else:
                content(aside)
            # mkstemp's files are for their owner alone; results are to be shared.
            aside.chmod(0o666 & ~_umask())
            _to_disk(aside)
            aside.replace(path)
            _to_disk(path.parent)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
    except VLPZooError:
        raise
    except OSError as error:
        kept = "the older file is as it was" if path.exists() else "nothing was written"
        raise FileWriteError(
            f"to write {path}",
            f"{error.strerror or error}; {kept}",
            _ADVICE.get(error.errno or 0, "look at the folder and its disk"),
        ) from error


@contextlib.contextmanager
def made_once(path: Path) -> Iterator[None]:
    """Let one process at a time look for a file and make it; the others wait.

    Where the folder cannot be written or its disk knows no locks, nobody waits.

    Args:
        path: A file of the cache.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = held.enter_context(path.with_suffix(".lock").open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


PROBE = 65536
"""Bytes that `require_writable` writes: a full disk takes none or only a part."""


def require_writable(folder: Path) -> None:
    """Refuse a folder for results before anything is computed for it.

    Nothing is left behind: a small file is written in the folder, or in the nearest one
    above that is there, and removed.

    Args:
        folder: It may not be there yet.

    Raises:
        FileWriteError: If a file is in its way, or its disk is full or read-only.
    """
    try:
        near = next(
            each for each in (folder, *folder.absolute().parents) if each.exists()
        )
        if not near.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{near} is a file")
        with tempfile.TemporaryFile(dir=near, buffering=0) as probe:
            append(probe, bytes(PROBE))
    except OSError as error:
        raise FileWriteError(
            f"a folder that can be written: {folder}",
            f"{error.strerror or error}; nothing was computed",
            _ADVICE.get(error.errno or 0, "give another folder"),
        ) from error


_ADVICE = {
    errno.ENOSPC: "make room on that disk, then run the same command again",
    errno.EDQUOT: "make room in your quota, then run the same command again",
    errno.EFBIG: "raise the limit on the size of files, then run it again",
    errno.EROFS: "choose a folder on a disk that can be written",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
}


def clear_leftovers(path: Path) -> None:
    """Remove what killed writers of a file left beside it.

    What another process is writing at this moment stays: it holds a lock on it.

    Args:
        path: A file that `write_whole` writes.
    """
    if not path.parent.is_dir():
        return
    for aside in path.parent.iterdir():
        if not aside.name.startswith(f".{path.name}.") or not aside.is_file():
            continue
        with contextlib.suppress(OSError), aside.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            aside.unlink(missing_ok=True)


def _held_aside(path: Path) -> tuple[int, Path]:
    """A new file beside ``path``, locked so that `clear_leftovers` lets it be."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with contextlib.suppress(OSError):  # some network disks know no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # cleared between its making and its lock


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some disks of other machines cannot do this for folders.
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

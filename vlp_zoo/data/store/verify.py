"""Whether a prepared store still is what was written: every file read, hashed, decoded."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy.typing as npt

from vlp_zoo.data.store.index import INDEX, Index, part_path
from vlp_zoo.data.store.prepare import file_sha256, in_order, worker_pool
from vlp_zoo.data.store.reading import describe
from vlp_zoo.errors import DataRejectedError, StoreError
from vlp_zoo.pixels import read_grey, read_levels, read_rgb

__all__ = ["verify"]

BLOCK = 64
"""Rows per task."""

COLUMNS = ("image", "sha256", "masks", "height", "width")
Fault = tuple[str, str]
"""A file of the store, and what is wrong with it."""

Reader = Callable[[Path], npt.NDArray[Any]]


def verify(
    store: Path,
    *,
    workers: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> int:
    """Read a whole store and compare it with its description.

    Args:
        store: Folder of the store.
        workers: Processes; 0 does everything in this one.
        progress: Called with the rows done and their number.

    Returns:
        Files that were read.

    Raises:
        DatasetNotFoundError: If there is no store.
        StoreError: If anything is missing, changed or left over, naming some of it.
    """
    description = describe(store)
    faults: list[Fault] = []
    files = [(store / INDEX, description["index_sha256"])]
    files += [
        (part_path(store, number), part["sha256"])
        for number, part in enumerate(description["parts"])
    ]
    for path, sha256 in files:
        if not path.is_file():
            faults.append((str(path.relative_to(store)), "missing"))
        elif file_sha256(path) != sha256:
            faults.append((str(path.relative_to(store)), "changed"))
    if faults:
        # Without the index nobody knows what the other files should be.
        raise _damaged(store, faults)

    index = Index(store / INDEX)
    total = len(index)
    if total != description["images"]["stored"]:
        faults.append((INDEX, f"{total} rows"))
    colour = description["domain"] == "fundus"
    expected: Counter[str] = Counter()
    done = 0
    with worker_pool(workers) as submit:
        for block, (folders, found) in in_order(
            lambda block: submit(check_rows, store, block, colour),
            _blocks(index),
            ahead=2 * workers + 1,
        ):
            expected.update(folders)
            faults += found
            done += len(block)
            if progress is not None:
                progress(done, total)
    faults += _left_over(store, expected)
    if faults:
        raise _damaged(store, faults)
    return len(files) + sum(expected.values())


def _blocks(index: Index) -> Iterator[list[dict[str, Any]]]:
    rows = index.rows(COLUMNS)
    while block := list(islice(rows, BLOCK)):
        yield block


def check_rows(
    store: Path, rows: list[dict[str, Any]], colour: bool
) -> tuple[Counter[str], list[Fault]]:
    """The files of some rows: how many there are per folder, and what is wrong."""
    folders: Counter[str] = Counter()
    faults: list[Fault] = []
    for row in rows:
        size = (row["height"], row["width"])
        masks = json.loads(row["masks"])
        picture: Reader = read_rgb if colour else read_grey
        entries = [(row["image"], row["sha256"], picture)]
        entries += [(mask["file"], mask["sha256"], read_levels) for mask in masks]
        for name, sha256, read in entries:
            folders[str(Path(name).parent)] += 1
            path = store / name
            try:
                content = path.read_bytes()
                if hashlib.sha256(content).hexdigest() != sha256:
                    faults.append((name, "changed"))
                elif read(path).shape[:2] != size:
                    faults.append((name, "size"))
            except OSError:
                faults.append((name, "missing"))
            except DataRejectedError as error:
                faults.append((name, error.found.split(":")[0]))
    return folders, faults


def _left_over(store: Path, expected: Counter[str]) -> list[Fault]:
    faults = []
    for kind in ("images", "masks"):
        for folder in sorted((store / kind).iterdir()):
            name = f"{kind}/{folder.name}"
            found = sum(1 for _ in folder.iterdir()) if folder.is_dir() else 1
            if found > expected[name]:
                faults.append((name, f"{found - expected[name]} files too many"))
    return faults


def _damaged(store: Path, faults: list[Fault]) -> StoreError:
    shown = ", ".join(f"{name} ({reason})" for name, reason in faults[:5])
    more = ", ..." if len(faults) > 5 else ""
    return StoreError(
        f"every file of {store} as it was written",
        f"{len(faults)} faults: {shown}{more}",
        "restore them from a copy, or delete the store and prepare the data set again",
    )

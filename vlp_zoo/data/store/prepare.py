"""A raw data set becomes a prepared store (`vlp_zoo.data.store.reading`), once.

Records go to worker processes in small slices; what comes back is gathered in order and
written as parts of some thousand rows. A part is finished when its Parquet file is
there, which is renamed into place after the images. Whatever stops a run, the next one
keeps finished parts, does the rest again and ends with the same bytes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, astuple
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, TypeVar

import cv2

from vlp_zoo import __version__
from vlp_zoo.allocator import keep_freed_memory
from vlp_zoo.data.precheck import Rejected, write_rejected
from vlp_zoo.data.store.index import (
    INDEX,
    part_path,
    read_part,
    row_schema,
    write_index,
    write_part,
)
from vlp_zoo.data.store.raw_sets import RawSet
from vlp_zoo.data.store.reading import BACKEND, DESCRIPTION, FORMAT, describe
from vlp_zoo.data.store.slices import Settings, Slice, convert
from vlp_zoo.errors import ConfigError, DataRejectedError, StoreError, VLPZooError
from vlp_zoo.files import write_whole

__all__ = ["file_sha256", "in_order", "prepare", "worker_pool"]

UNFINISHED = "unfinished.json"
SLICE = 16
"""Records per task: few enough to spread a small data set and to stop soon."""

OURS = ("index", "images", "masks", UNFINISHED, "rejects.csv", INDEX)
ASIDE = (f".{DESCRIPTION}.", ".rejects.csv.", f".{INDEX}.")
"""Starts of what a killed run leaves of files that were not yet renamed."""

Progress = Callable[[int, int], object]
Work = TypeVar("Work")
Result = TypeVar("Result")


def prepare(
    name: str,
    scan: Callable[[], RawSet],
    out: Path,
    settings: Settings | None = None,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Write a store, or what is missing of it.

    Args:
        name: Name of the data set.
        scan: Does the metadata pass; not called where the store is whole.
        out: Folder of the store: new, empty, or begun with the same data and settings.
        settings: Size and format; None = the usual ones.
        workers: Processes; 0 does everything in this one.
        progress: Called with the records done and their number.
        command: How to make the store again; goes into its description.

    Returns:
        The content of store.json.

    Raises:
        ConfigError: If ``out`` holds something else, or other data or settings.
        StoreError: If it cannot be written.
        DataRejectedError: If no record can be used.
    """
    settings = settings or Settings()
    wanted = {"dataset": name, "settings": asdict(settings)}
    if (out / DESCRIPTION).exists():
        found = describe(out)
        _check_same(out, wanted, found)
        with contextlib.suppress(OSError):
            # A run may have been killed between its last two steps.
            (out / UNFINISHED).unlink(missing_ok=True)
        return found
    with _writing(out):
        _check_folder(out)
        out.mkdir(parents=True, exist_ok=True)
    raw = scan()
    with _writing(out), _locked(out, {**wanted, "records_sha256": raw.fingerprint}):
        _write_parts(raw, name, out, settings, workers, progress)
        return _finish(raw, wanted, out, settings, command)


# What may be in the folder -------------------------------------------------------


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigError(
            f"a folder to write to: --out {out}", "it is a file", "give another --out"
        )
    inside = sorted(path.name for path in out.iterdir()) if out.exists() else []
    foreign = [n for n in inside if n not in OURS and not n.startswith(ASIDE)]
    if foreign or (inside and UNFINISHED not in inside):
        shown = (foreign or inside)[0]
        raise ConfigError(
            f"an empty folder to write to: --out {out}",
            f"{len(inside)} files or folders, such as {shown}",
            "give another --out; only a store that was begun here is gone on with",
        )


def _check_same(out: Path, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    differing = [
        f"{key} {found.get(key)!r} instead of {value!r}"
        for key, value in wanted.items()
        if found.get(key) != value
    ]
    if differing:
        raise ConfigError(
            f"a store of the same data and settings in --out {out}",
            "; ".join(differing),
            "give another --out, or delete this store",
        )


@contextlib.contextmanager
def _locked(out: Path, wanted: dict[str, Any]) -> Iterator[None]:
    """Sign the folder, and keep a second run out of it while this one lasts."""
    with (out / UNFINISHED).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"nobody else at work in {out}",
                "another vlpzoo prepare",
                "wait for it, or stop it and run this command again",
            ) from error
        file.seek(0)
        text = file.read()
        begun = any((out / "index").glob("part-*.parquet"))
        if begun or text.endswith("\n"):
            found = json.loads(text)
            if found.get("records_sha256") != wanted["records_sha256"]:
                found["records_sha256"] = str(found.get("records_sha256"))[:12]
            _check_same(out, wanted, found)
        else:
            # Empty, or cut by a kill before anything else was written.
            file.truncate(0)
            file.write(json.dumps(wanted, sort_keys=True) + "\n")
            file.flush()
        yield


# Parts ---------------------------------------------------------------------------


def _write_parts(
    raw: RawSet,
    name: str,
    out: Path,
    settings: Settings,
    workers: int,
    progress: Progress | None,
) -> None:
    total = len(raw.uids)
    finished = _clear_unfinished(out, settings, total)
    done = sum(min(settings.rows, total - part * settings.rows) for part in finished)
    report = progress or (lambda done, total: None)
    report(done, total)
    schema = row_schema(list(raw.splits))
    with worker_pool(workers) as submit:
        tasks = _tasks(raw, name, out, settings, finished)
        # Workers go on with the next part while one is written.
        converted = in_order(
            lambda task: submit(convert, task[2]), tasks, ahead=4 * max(workers, 1)
        )
        rows: list[dict[str, Any]] = []
        rejected: list[Rejected] = []
        for (start, part, slice_), piece in converted:
            for place, row in piece.rows:
                at = start + place
                row["split"] = raw.released[at]
                row |= {f"split_{n}": s[at] for n, s in raw.splits.items()}
                rows.append(row)
            rejected += piece.rejected
            end = start + len(slice_.studies)
            done += len(slice_.studies)
            report(done, total)
            if end < min((part + 1) * settings.rows, total):
                continue
            for kind in ("images", "masks"):
                _aside(out, kind, part).rename(out / kind / f"{part:05d}")
            notes = {
                "rejected": [astuple(item) for item in rejected],
                "notes": Counter(note for row in rows for note in row["notes"]),
            }
            write_part(part_path(out, part), rows, schema, notes)
            rows, rejected = [], []


def _clear_unfinished(out: Path, settings: Settings, total: int) -> set[int]:
    """The finished parts; what is left of others goes."""
    parts = range(-(-total // settings.rows))
    finished = {part for part in parts if part_path(out, part).is_file()}
    for part in finished:
        read_part(part_path(out, part))
    keep = {f"{part:05d}" for part in finished}
    for kind in ("images", "masks"):
        (out / kind).mkdir(exist_ok=True)
        for folder in (out / kind).iterdir():
            if folder.name not in keep:
                shutil.rmtree(folder)
    (out / "index").mkdir(exist_ok=True)
    leftovers = [path for path in out.iterdir() if path.name.startswith(ASIDE)]
    for path in (*leftovers, *(out / "index").glob(".part-*")):
        path.unlink()
    return finished


def _aside(out: Path, kind: str, part: int) -> Path:
    # With the process: what an older run's workers still write lands elsewhere.
    return out / kind / f".{part:05d}-{os.getpid()}"


Task = tuple[int, int, Slice]
"""The number of the first record, the part, and the slice."""


def _tasks(
    raw: RawSet, name: str, out: Path, settings: Settings, finished: set[int]
) -> Iterator[Task]:
    """Slices of unfinished parts, in order."""
    seen: set[str] = set()
    duplicates = set()
    for position, uid in enumerate(raw.uids):
        if uid in seen:
            duplicates.add(position)
        seen.add(uid)
    del seen
    contexts = "reports" in raw.card["gives"] and raw.card["domain"] == "chest"
    position = 0
    # Slices must not straddle parts: read parts whole, hand them out in pieces.
    for studies in raw.read(settings.rows):
        part = position // settings.rows
        if part not in finished:
            for kind in ("images", "masks"):
                _aside(out, kind, part).mkdir()
            for first in range(0, len(studies), SLICE):
                places = range(first, min(first + SLICE, len(studies)))
                start = position + first
                task = Slice(
                    studies=studies.subset(places, studies.name),
                    skip=frozenset(
                        k for k in range(len(places)) if start + k in duplicates
                    ),
                    first=first,
                    part=part,
                    images=_aside(out, "images", part),
                    masks=_aside(out, "masks", part),
                    root=raw.root,
                    settings=settings,
                    contexts=contexts,
                    dataset=name,
                )
                yield start, part, task
        position += len(studies)


# The end -------------------------------------------------------------------------


def _finish(
    raw: RawSet, wanted: dict[str, Any], out: Path, settings: Settings, command: str
) -> dict[str, Any]:
    parts = range(-(-len(raw.uids) // settings.rows))
    said = [read_part(part_path(out, part)) for part in parts]
    rejected = [Rejected(*item) for part in said for item in part["rejected"]]
    write_rejected(out / "rejects.csv", rejected)
    stored = sum(part["rows"] for part in said)
    reasons = dict(sorted(Counter(item.reason for item in rejected).items()))
    if not stored:
        raise DataRejectedError(
            f"images of {raw.card['title']} that can be used in {raw.root}",
            f"none of {len(raw.uids)} ({_listed(reasons)}); see {out / 'rejects.csv'}",
            f"mend the data set, delete {out} and start again",
        )
    write_index(out, len(parts), row_schema(list(raw.splits)))
    notes: Counter[str] = Counter()
    for part in said:
        notes.update(part["notes"])
    hashes = [part["rows_sha256"] for part in said]
    content = json.dumps([list(raw.label_names), hashes])
    description: dict[str, Any] = {
        "format": FORMAT,
        "backend": BACKEND,
        **raw.card,
        **wanted,
        "label_names": list(raw.label_names),
        "images": {
            "read": len(raw.uids),
            "stored": stored,
            "rejected": len(rejected),
        },
        "rejected": reasons,
        "notes": dict(sorted(notes.items())),
        "splits": raw.rules,
        "parts": [
            {
                "rows": part["rows"],
                "rows_sha256": part["rows_sha256"],
                "sha256": file_sha256(part_path(out, number)),
            }
            for number, part in enumerate(said)
        ],
        "index_sha256": file_sha256(out / INDEX),
        "records_sha256": raw.fingerprint,
        "content_sha256": hashlib.sha256(content.encode()).hexdigest(),
        "tool": f"vlp_zoo {__version__}, OpenCV {cv2.__version__}",
        "command": command,
    }
    write_whole(out / DESCRIPTION, json.dumps(description, indent=2) + "\n")
    (out / UNFINISHED).unlink()
    return description


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in counts.items())


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Processes -----------------------------------------------------------------------


def in_order(
    submit: Callable[[Work], Future[Result]], tasks: Iterable[Work], *, ahead: int
) -> Iterator[tuple[Work, Result]]:
    """Tasks and what became of them, in order.

    Args:
        submit: Hands a task out.
        tasks: In order.
        ahead: Tasks that are handed out and not yet taken back.
    """
    left = iter(tasks)
    waiting: deque[tuple[Work, Future[Result]]] = deque()
    while True:
        for task in islice(left, ahead - len(waiting)):
            waiting.append((task, submit(task)))
        if not waiting:
            return
        task, future = waiting.popleft()
        yield task, future.result()


@contextlib.contextmanager
def worker_pool(workers: int) -> Iterator[Callable[..., Future[Any]]]:
    """Something that runs functions, in processes or, with 0 workers, at once.

    Processes are spawned and not forked: libraries with threads do not survive a
    fork. They leave Ctrl-C to their parent, and end when it does.
    """
    if workers < 1:
        yield _at_once
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_start_worker
    )
    try:
        yield pool.submit
    except BrokenProcessPool as error:
        raise StoreError(
            "workers that live as long as their work",
            "one ended without a word, as those do that run out of memory",
            "run the same command again, with fewer --workers",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _at_once(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(function(*arguments))
    return future


def _start_worker() -> None:
    cv2.setNumThreads(1)
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        # A parent that was killed cannot say so; its queue would stay open for ever.
        os._exit(1)


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except VLPZooError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StoreError(
            f"a folder that can be written to, with room for the store: --out {out}",
            str(error),
            (
                "make room, or give another --out"
                if full
                else "give a folder that you may write to"
            )
            + "; what is done is kept, and the same command goes on from there",
        ) from error

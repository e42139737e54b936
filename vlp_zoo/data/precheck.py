"""Finding unusable rows before training starts rather than in its third hour.

Every image is decoded and every report opened once, in threads (both release the
interpreter lock). The outcome is cached under a key made of the source's fingerprint
and the size and time of each file, so a second start only asks for those.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TypeVar

from vlp_zoo.data.boxes import box_fault
from vlp_zoo.data.studies import FileStudies
from vlp_zoo.data.tables import check_word
from vlp_zoo.errors import DataRejectedError
from vlp_zoo.files import cache_folder, write_whole
from vlp_zoo.reading import parse_json
from vlp_zoo.reports.blank import is_blank

__all__ = [
    "Rejected",
    "box_fault",
    "find_rejected",
    "usable",
    "with_bar",
    "write_rejected",
]

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

VERSION = 4
"""Part of the cache key; goes up when a check changes."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot be used.

    Attributes:
        uid: The image's unique name.
        row: Line in its table, the header being line 1.
        path: The image file.
        reason: One or two words: ``missing``, ``empty``, ``truncated``,
            ``damaged``, ``undecodable``, ``too_large``, ``frames``, ``not_finite``,
            ``unsupported`` (all of `vlp_zoo.pixels`), ``missing_report``,
            ``unreadable_report``, ``empty_report``, ``bad_mask``, ``bad_boxes``, ``nan_box``,
            ``inverted_box``, ``outside_box``, ``duplicate``, or ``unforeseen`` and the
            name of an error.
    """

    uid: str
    row: int
    path: str
    reason: str


def find_rejected(
    studies: FileStudies,
    *,
    need_report: bool = True,
    workers: int | None = None,
    progress: bool = True,
) -> list[Rejected]:
    """Look at every row.

    Args:
        studies: All rows of a data set, before it is split.
        need_report: Reject studies whose report says nothing.
        workers: Threads; None = one per core.
        progress: Show a bar on a terminal.

    Returns:
        The unusable rows in order, each under the first reason found.
    """
    first = {uid: i for i, uid in reversed(list(enumerate(studies.uids)))}
    duplicate = [first[uid] != i for i, uid in enumerate(studies.uids)]
    indices = range(len(studies))
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        reasons = pool.map(lambda i: _reason(studies, i, need_report), indices)
        words = f"Checking {len(studies)} images and reports (once)"
        shown = with_bar(reasons, words, len(studies)) if progress else reasons
        found = [
            reason or ("duplicate" if duplicate[i] else None)
            for i, reason in enumerate(shown)
        ]
    return [
        Rejected(studies.uids[i], studies.rows[i], str(studies.images[i]), reason)
        for i, reason in enumerate(found)
        if reason is not None
    ]


def with_bar(items: Iterable[Item], words: str, total: int) -> Iterator[Item]:
    """Items as they come, with a bar on a terminal.

    Args:
        items: To go through.
        words: What is done.
        total: How many there are.
    """
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return iter(
        track(
            items,
            words,
            total=total,
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
    )


def _reason(studies: FileStudies, index: int, need_report: bool) -> str | None:
    try:
        return _known_reason(studies, index, need_report)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001
        # Nobody foresaw this one; it costs its row, by name, and no other.
        logger.warning("%s: %s: %s", studies.images[index], type(error).__name__, error)
        return f"unforeseen {type(error).__name__}"


def _known_reason(studies: FileStudies, index: int, need_report: bool) -> str | None:
    try:
        height, width = studies.pixels(index).shape[:2]
        if need_report and is_blank(studies.report(index).body):
            return "empty_report"
    except DataRejectedError as error:
        return error.found.split(":")[0]
    try:
        studies.masks_of(index, height, width)
    except DataRejectedError:
        return "bad_mask"
    try:
        boxes = studies.boxes_of(index)
    except DataRejectedError:
        return "bad_boxes"
    return box_fault(boxes, height, width)


def usable(
    studies: FileStudies,
    *,
    on_error: str = "raise",
    need_report: bool = True,
    rejects_path: Path | None = None,
    progress: bool = True,
) -> list[int]:
    """Indices of the rows that can be used; the others are listed in a CSV file.

    Safe to call from several processes: files are written aside and renamed.

    Args:
        studies: All rows of a data set.
        on_error: ``"raise"`` or ``"skip"``.
        need_report: Reject studies whose report says nothing.
        rejects_path: The list; None = beside the cache.
        progress: Show a bar on a terminal.

    Raises:
        DataRejectedError: If rows are unusable and ``on_error`` is ``"raise"``, or if
            nothing is left.
        ConfigError: If ``on_error`` is another word.
    """
    check_word(on_error, ("raise", "skip"), "--data.on_error")
    key = _key(studies, need_report)
    cache = cache_folder() / "precheck" / f"{key}.json"
    rejected = _read_cache(cache)
    if rejected is None:
        rejected = find_rejected(studies, need_report=need_report, progress=progress)
        _write_cache(cache, rejected)
    if not rejected:
        return list(range(len(studies)))

    listed = rejects_path or cache.with_name(f"{key[:12]}-rejects.csv")
    write_rejected(listed, rejected)
    counts = Counter(item.reason for item in rejected)
    summary = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
    found = f"{len(rejected)} of {len(studies)} rows unusable ({summary})"
    if on_error == "raise" or len(rejected) == len(studies):
        raise DataRejectedError(
            f"images and reports that can be read in all rows of {studies.name}",
            f"{found}; listed in {listed}",
            "mend these rows, or leave them out with --data.on_error skip",
        )
    logger.warning("%s: %s; going on without them, see %s", studies.name, found, listed)
    # Both: a line of a table can stand for two eyes, and a name can be there twice.
    bad = {(item.row, item.uid) for item in rejected}
    pairs = zip(studies.rows, studies.uids, strict=True)
    return [i for i, pair in enumerate(pairs) if pair not in bad]


def _key(studies: FileStudies, need_report: bool) -> str:
    start = f"{VERSION} {need_report} {studies.fingerprint}"
    digest = hashlib.sha256(start.encode())
    for i, (image, text) in enumerate(zip(studies.images, studies.texts, strict=True)):
        masks = [mask.ref for mask in studies.masks[i]]
        for path in (image, text, *masks):
            if isinstance(path, os.PathLike):
                try:
                    stat = os.stat(path)
                    digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}".encode())
                # A ValueError is a NUL byte in the name.
                except (OSError, ValueError):
                    digest.update(f"{path} missing".encode())
    return digest.hexdigest()


def _read_cache(path: Path) -> list[Rejected] | None:
    try:
        rows = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(rows, list):
            raise TypeError("no list of rows")
        found = [Rejected(*row) for row in rows]
        if not all(isinstance(e.row, int) and isinstance(e.uid, str) for e in found):
            raise TypeError("other rows")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        logger.warning("%s is damaged (%s): checking again", path, error)
        return None
    return found


def _write_cache(path: Path, rejected: list[Rejected]) -> None:
    try:
        write_whole(path, json.dumps([astuple(item) for item in rejected]))
    except OSError as error:
        logger.warning("the outcome of the check could not be kept: %s", error)


def write_rejected(path: Path, rejected: Iterable[Rejected]) -> None:
    """List unusable rows in a CSV file."""
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(["uid", "row", "path", "reason"])
    writer.writerows(astuple(item) for item in rejected)
    write_whole(path, lines.getvalue())

"""One look at every image: its pixel hash, two small pictures, acquisition features.

Images are decoded once, in threads (decoding releases the interpreter lock), and what
was seen is kept in a small database under the path, size and time of the file, so that
a second audit reads no image that did not change.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.data.audit.hashing import SIDE
from vlp_zoo.data.precheck import with_bar
from vlp_zoo.data.studies import FileStudies
from vlp_zoo.errors import DataRejectedError
from vlp_zoo.files import cache_folder
from vlp_zoo.pixels import ACQUISITION, acquisition_features, read_grey, shrunk
from vlp_zoo.types import StudySource

__all__ = [
    "FEATURES",
    "Print",
    "Prints",
    "grey_pixels",
    "look",
    "look_at_all",
    "without_borders",
]

logger = logging.getLogger(__name__)

VERSION = 1
"""Version of what is measured; part of the database's name."""

FEATURES = ACQUISITION
FLAT_SPREAD = 8
BLANK_SPREAD = 2

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Print:
    """What is kept of one image.

    Attributes:
        reason: Why it cannot be used, in the words of `vlp_zoo.data.precheck`, or
            ``"blank"`` for an image without contrast; "" where it can.
        sha256: SHA-256 of the decoded grey levels and their shape.
        full: (64, 64) the whole image.
        inner: (64, 64) without flat borders; the same as ``full`` without any.
        features: (F,) float32 in the order of `FEATURES`.
    """

    reason: str
    sha256: bytes
    full: Grey
    inner: Grey
    features: npt.NDArray[np.float32]


_NO_PICTURE = np.zeros((SIDE, SIDE), np.uint8)
_NO_FEATURES = np.full(len(FEATURES), np.nan, np.float32)


def _unusable(reason: str) -> Print:
    return Print(reason, b"", _NO_PICTURE, _NO_PICTURE, _NO_FEATURES)


class Prints:
    """The prints of many images, as columns.

    Args:
        prints: In order.
    """

    def __init__(self, prints: Sequence[Print]) -> None:
        self.reasons = [p.reason for p in prints]
        self.sha256 = [p.sha256 for p in prints]
        empty = np.empty((0, SIDE, SIDE), np.uint8)
        self.full = np.stack([p.full for p in prints]) if prints else empty
        self.inner = np.stack([p.inner for p in prints]) if prints else empty
        self.features = (
            np.stack([p.features for p in prints])
            if prints
            else np.empty((0, len(FEATURES)), np.float32)
        )

    def __len__(self) -> int:
        return len(self.reasons)


def look(pixels: Grey) -> Print:
    """The print of one image.

    Args:
        pixels: uint8 (H, W).

    Example:
        >>> look(np.full((80, 90), 7, np.uint8)).reason
        'blank'
    """
    digest = hashlib.sha256(f"{pixels.shape} ".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    small = shrunk(pixels)
    full = _resized(small, SIDE, SIDE)
    inner = _resized(without_borders(small), SIDE, SIDE)
    blank = _spread(full.ravel()[None], 1)[0] < BLANK_SPREAD
    reason = "blank" if blank else ""
    features = acquisition_features(pixels, small)
    return Print(reason, digest.digest(), full, inner, features)


def _resized(pixels: Grey, width: int, height: int) -> Grey:
    scaled = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(scaled, np.uint8)


def _spread(values: Grey, axis: int) -> npt.NDArray[np.float64]:
    low, high = np.percentile(values, [2, 98], axis=axis)
    difference: npt.NDArray[np.float64] = high - low
    return difference


def without_borders(pixels: Grey) -> Grey:
    """The part inside of flat rows and columns: padding, black around a fundus."""
    top, bottom, left, right = 0, pixels.shape[0], 0, pixels.shape[1]
    for _ in range(4):
        rows = np.nonzero(_spread(pixels[top:bottom, left:right], 1) > FLAT_SPREAD)[0]
        if len(rows) < 16:
            return pixels
        top, bottom = top + rows[0], top + rows[-1] + 1
        across = _spread(pixels[top:bottom, left:right], 0) > FLAT_SPREAD
        columns = np.nonzero(across)[0]
        if len(columns) < 16:
            return pixels
        settled = len(rows) == bottom - top and len(columns) == right - left
        left, right = left + columns[0], left + columns[-1] + 1
        if settled:
            break
    return pixels[top:bottom, left:right]


def grey_pixels(source: StudySource, index: int) -> Grey:
    """The grey levels of one study, file or drawn, whatever channels it has.

    Files are always decoded to grey here, so that an image is the same image for a
    data set that keeps colour and for one that does not.

    Raises:
        DataRejectedError: If the image cannot be read.
    """
    if isinstance(source, FileStudies):
        return read_grey(source.images[index])
    pixels = source[index].image
    if pixels.ndim == 3:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    return pixels


def look_at_all(
    sources: Iterable[StudySource],
    *,
    workers: int | None = None,
    progress: bool = True,
) -> Prints:
    """Prints of all images of several sources, one source after another.

    Args:
        sources: Any; files are cached under path, size and time, others under the
            source's fingerprint.
        workers: Threads; None = one per core.
        progress: Show a bar on a terminal.
    """
    jobs = [(source, i) for source in sources for i in range(len(source))]
    keys = [_key(source, i) for source, i in jobs]
    found: dict[int, Print] = {}
    with contextlib.closing(_Store()) as store:
        for i, key in enumerate(keys):
            if key and (kept := store.get(key)):
                found[i] = kept
        missing = [i for i in range(len(jobs)) if i not in found]
        if missing:
            with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
                seen = pool.map(lambda i: _look_at(*jobs[i]), missing)
                words = f"Looking at {len(missing)} images (once)"
                shown = with_bar(seen, words, len(missing)) if progress else seen
                for i, result in zip(missing, shown, strict=True):
                    found[i] = result
                    if keys[i]:
                        store.put(keys[i], result)
    return Prints([found[i] for i in range(len(jobs))])


def _look_at(source: StudySource, index: int) -> Print:
    try:
        return look(grey_pixels(source, index))
    except DataRejectedError as error:
        return _unusable(error.found.split(":")[0])


def _key(source: StudySource, index: int) -> str:
    if not isinstance(source, FileStudies):
        return f"{source.fingerprint} {index}"
    path = Path(source.images[index])
    try:
        stat = path.stat()
    except OSError:
        return ""
    return f"{path.absolute()} {stat.st_size} {stat.st_mtime_ns}"


class _Store:
    """Prints by key in SQLite; without one that can be written, nothing is kept."""

    def __init__(self) -> None:
        path = cache_folder() / "audit" / f"prints-{VERSION}.sqlite"
        self._database: sqlite3.Connection | None = None
        self._waiting = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60)
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS prints (key BLOB PRIMARY KEY, reason TEXT,"
                " sha256 BLOB, full BLOB, inner BLOB, features BLOB) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            self._give_up(path, error)

    def _give_up(self, path: Path | str, error: Exception) -> None:
        logger.warning("what was seen of the images is not kept (%s): %s", path, error)
        if self._database is not None:
            self._database.close()
        self._database = None

    def _run(self, words: str, *values: Any) -> sqlite3.Cursor | None:
        if self._database is None:
            return None
        try:
            return self._database.execute(words, values)
        except sqlite3.Error as error:
            self._give_up("the database of the audit", error)
            return None

    def get(self, key: str) -> Print | None:
        columns = "reason, sha256, full, inner, features"
        found = self._run(f"SELECT {columns} FROM prints WHERE key=?", _hashed(key))
        row = found.fetchone() if found is not None else None
        if row is None:
            return None
        reason, sha256, full, inner, features = row
        if not full:
            return _unusable(reason)
        first, second = (
            np.frombuffer(raw or full, np.uint8).reshape(SIDE, SIDE)
            for raw in (full, inner)
        )
        return Print(reason, sha256, first, second, np.frombuffer(features, np.float32))

    def put(self, key: str, seen: Print) -> None:
        pictures: tuple[bytes, bytes, bytes] = (b"", b"", b"")
        if seen.sha256:
            # Most images have no flat border: their second picture is the first.
            same = np.array_equal(seen.full, seen.inner)
            inner = b"" if same else seen.inner.tobytes()
            pictures = (seen.full.tobytes(), inner, seen.features.tobytes())
        values = (_hashed(key), seen.reason, seen.sha256, *pictures)
        self._run("INSERT OR REPLACE INTO prints VALUES (?, ?, ?, ?, ?, ?)", *values)
        self._waiting += 1
        if self._waiting >= 500:
            self._run("COMMIT")
            self._waiting = 0

    def close(self) -> None:
        if self._database is not None:
            self._database.commit()
            self._database.close()


def _hashed(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()

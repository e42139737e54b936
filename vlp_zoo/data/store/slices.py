"""A slice of raw studies becomes files and index rows: what the workers of prepare do.

One image is decoded once, shrunk once and encoded once. Boxes and masks follow it; the
original size is kept in its row, so that boxes can go back.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.data.boxes import box_fault, inside
from vlp_zoo.data.masks import resized
from vlp_zoo.data.precheck import Rejected
from vlp_zoo.data.studies import FileStudies
from vlp_zoo.errors import ConfigError, DataRejectedError, DatasetNotFoundError
from vlp_zoo.pixels import read_spacing
from vlp_zoo.reading import read_bytes
from vlp_zoo.reports.blank import is_blank
from vlp_zoo.reports.contexts.context import distil
from vlp_zoo.types import Report

__all__ = ["Converted", "Settings", "Slice", "convert", "scaled", "shrink"]

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the bytes of a store.

    Attributes:
        size: Pixels of the side that is limited; smaller images stay as they are.
        side: Which side that is, the ``"short"`` or the ``"long"`` one.
        format: ``"jpeg"`` (quality 95), or ``"png"``, which loses nothing.
        rows: Records per part of the index and per folder of images.
    """

    size: int = 512
    side: Literal["short", "long"] = "short"
    format: Literal["jpeg", "png"] = "jpeg"
    rows: int = 4096


@dataclass(frozen=True, slots=True)
class Slice:
    """One task of a worker.

    Attributes:
        studies: Whose labels are raw and whose images nobody has opened.
        skip: Places in ``studies`` whose uid was seen before.
        first: Place of the first study in its part; files are named by it.
        part: The part, as images are named in the index.
        images: Folder to write images to.
        masks: Folder to write masks to.
        root: Root folder of the raw data set.
        settings: Settings of the store.
        contexts: Distil the reports.
        dataset: Short name of the data set.
    """

    studies: FileStudies
    skip: frozenset[int]
    first: int
    part: int
    images: Path
    masks: Path
    root: Path
    settings: Settings
    contexts: bool
    dataset: str


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of a slice.

    Attributes:
        rows: Index rows without the splits, each with its place in the slice.
        rejected: Records that cannot be used.
    """

    rows: list[tuple[int, dict[str, Any]]]
    rejected: list[Rejected]


def convert(task: Slice) -> Converted:
    """Decode, shrink and write the images of a slice.

    Raises:
        OSError: If the store cannot be written.
        DependencyNotFoundError: If the images need a package that is not installed.
    """
    done = Converted([], [])
    studies = task.studies
    for place in range(len(studies)):
        try:
            if place in task.skip:
                raise _Unusable("duplicate")
            done.rows.append((place, _row(task, place)))
        except _Unusable as error:
            uid, row = studies.uids[place], studies.rows[place]
            path = str(studies.images[place])
            done.rejected.append(Rejected(uid, row, path, error.reason))
    return done


class _Unusable(Exception):
    """Why a record is left out, in the words of `vlp_zoo.data.precheck`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextlib.contextmanager
def _refusing(reason: str = "") -> Iterator[None]:
    """What readers refuse, under a reason or their own."""
    try:
        yield
    except DataRejectedError as error:
        raise _Unusable(reason or error.found.split(":")[0]) from error


def _row(task: Slice, place: int) -> dict[str, Any]:
    studies, path = task.studies, Path(task.studies.images[place])
    with _refusing():
        try:
            content = read_bytes(path, "the image")
        except (DatasetNotFoundError, ConfigError) as error:
            raise _Unusable("missing") from error
        image = studies.pixels(place, content)
        spacing = _spacing(path, content)
    height, width = image.shape[:2]
    original = studies.original_sizes[place] or (height, width)
    notes = [] if _is_inside(path, task.root) else ["outside_root"]
    with _refusing("bad_mask"):
        masks = studies.masks_of(place, height, width)
    with _refusing("bad_boxes"):
        boxes = studies.boxes_of(place)
    if fault := box_fault(boxes, height, width):
        raise _Unusable(fault)
    report = _report(studies, place, notes)

    stored = shrink(image, task.settings)
    rows, columns = stored.shape[:2]
    name = f"{task.first + place:05d}"
    encoded, suffix = _encode(stored, stored is image, content, task.settings)
    (task.images / f"{name}{suffix}").write_bytes(encoded)
    kept_masks = []
    for k, (mask, pixels) in enumerate(masks.items()):
        small = resized(pixels, rows, columns)
        if pixels.any() and not small.any():
            notes.append("mask_vanished")
        file = f"{name}-{k}.png"
        bits = _encoded(".png", small * np.uint8(255), cv2.IMWRITE_PNG_BILEVEL, 1)
        (task.masks / file).write_bytes(bits)
        entry = {"name": mask, "file": f"masks/{task.part:05d}/{file}"}
        kept_masks.append({**entry, "sha256": hashlib.sha256(bits).hexdigest()})

    body = report.body
    seen = not is_blank(body)
    return {
        "uid": studies.uids[place],
        "dataset": task.dataset,
        "image": f"images/{task.part:05d}/{name}{suffix}",
        "patient_id": studies.patient_ids[place],
        "study_id": studies.study_ids[place],
        "view": studies.views[place],
        # A text whose headings hold nothing that was seen stands for no report.
        "text": report.text if seen else "",
        "indication": report.indication,
        "comparison": report.comparison,
        "findings": report.findings,
        "impression": report.impression,
        "context": distil(body) if task.contexts and seen else report.context,
        "has_report": seen,
        "labels": studies.labels[place].tolist(),
        "boxes": json.dumps(
            [
                {
                    "name": box.name,
                    "kind": box.kind,
                    "xyxy": scaled(box.xyxy, (height, width), (rows, columns)),
                }
                for box in inside(boxes, height, width)
            ]
        ),
        "masks": json.dumps(kept_masks),
        "height": rows,
        "width": columns,
        "original_height": original[0],
        "original_width": original[1],
        "spacing_mm": spacing
        and [spacing[0] * height / rows, spacing[1] * width / columns],
        "sha256": hashlib.sha256(encoded).hexdigest(),
        "source": os.path.relpath(path, task.root)
        .encode("utf-8", "backslashreplace")
        .decode(),
        "source_sha256": hashlib.sha256(content).hexdigest(),
        "facts": json.dumps(dict(studies.facts[place]), default=_plain),
        "notes": notes,
        "row": studies.rows[place],
    }


def shrink(image: Pixels, settings: Settings) -> Pixels:
    """An image at the size of the store.

    Area averaging is cv2's only antialiased way to shrink; images are never enlarged,
    because nothing is gained that a loader could not make up.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        settings: Settings of the store.

    Returns:
        The image itself where it is small enough.

    Example:
        >>> shrink(np.zeros((300, 400), np.uint8), Settings(size=150)).shape
        (150, 200)
        >>> shrink(np.zeros((300, 400), np.uint8), Settings(100, "long")).shape
        (75, 100)
    """
    height, width = image.shape[:2]
    limited = (min if settings.side == "short" else max)(height, width)
    if limited <= settings.size:
        return image
    factor = settings.size / limited
    # max: a very long image must not lose its other side.
    sides = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(image, sides, interpolation=cv2.INTER_AREA), np.uint8)


def _encode(
    image: Pixels, untouched: bool, content: bytes, settings: Settings
) -> tuple[bytes, str]:
    """Bytes of an image file, and its suffix."""
    if settings.format == "png":
        return _encoded(".png", image), ".png"
    if untouched and content.startswith(b"\xff\xd8"):
        # A JPEG that need not shrink stays as it is: to encode it again would lose.
        return content, ".jpg"
    settings_of_cv2 = [cv2.IMWRITE_JPEG_QUALITY, 95]
    if image.ndim == 3:
        # The smallest red lesions would go with half of the colour resolution.
        settings_of_cv2 += [
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        ]
    return _encoded(".jpg", image, *settings_of_cv2), ".jpg"


def _encoded(suffix: str, image: Pixels, *parameters: int) -> bytes:
    if image.ndim == 3:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
    _, buffer = cv2.imencode(suffix, image, list(parameters))
    return buffer.tobytes()


def _spacing(path: Path, content: bytes) -> tuple[float, float] | None:
    dicom = content[128:132] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom")
    return read_spacing(path) if dicom else None


def _is_inside(path: Path, root: Path) -> bool:
    # Archives are often linked from another disk: followed, and counted.
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _report(studies: FileStudies, place: int, notes: list[str]) -> Report:
    """The report; a missing one costs the report and not the image."""
    try:
        return studies.report(place)
    except DataRejectedError as error:
        notes.append(error.found.split(":")[0])
        return Report(text="")


def scaled(
    xyxy: tuple[float, float, float, float],
    old: tuple[int, int],
    new: tuple[int, int],
) -> tuple[float, float, float, float]:
    """A box of an image of the size ``old`` in the same image at the size ``new``.

    Args:
        xyxy: In pixels of the old size.
        old: (height, width).
        new: (height, width).

    Example:
        >>> scaled((0, 10, 40, 20), (20, 40), (10, 10))
        (0.0, 5.0, 10.0, 10.0)
    """
    x1, y1, x2, y2 = (float(value) for value in xyxy)
    # Multiplied first: the image's own border must land on the border.
    return (
        x1 * new[1] / old[1],
        y1 * new[0] / old[0],
        x2 * new[1] / old[1],
        y2 * new[0] / old[0],
    )


def _plain(value: object) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a fact of the type {type(value).__name__} has no place in JSON")

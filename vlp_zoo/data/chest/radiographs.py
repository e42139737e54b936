"""What readers of chest data sets share: finding files, frames, two-step splits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import mul
from pathlib import Path

from vlp_zoo.errors import ConfigError, DataRejectedError
from vlp_zoo.pixels import read_size
from vlp_zoo.types import Box

__all__ = [
    "PROBED",
    "files_by_stem",
    "first_layout",
    "fitted",
    "frame_of",
    "lesion",
    "split_once",
    "two_step_split",
]

SUFFIXES = (".dcm", ".dicom", ".png", ".jpg", ".jpeg")
"""Endings of radiographs; the native ones first."""

PROBED = 500
"""Files that are looked for to find out how folders are laid out."""


def files_by_stem(folders: Iterable[Path], *, deep: bool = False) -> dict[str, Path]:
    """Images by their names without the ending: packs re-encode them.

    Args:
        folders: Where to look, the best first; those that are not there do not count.
        deep: Look into folders of folders too.

    Returns:
        The file of each name: of the first folder that has it, DICOM before others.
    """
    files: dict[str, Path] = {}
    for folder in folders:
        found: dict[str, Path] = {}
        for path in sorted(folder.rglob("*") if deep else folder.glob("*")):
            # Archives made on a Mac hold a ._ twin of every file.
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                known = found.get(path.stem)
                if known is None or _rank(path) < _rank(known):
                    found[path.stem] = path
        files = found | files
    return files


def first_layout(
    folders: Iterable[Path], suffixes: Sequence[str], stems: Sequence[str]
) -> tuple[Path, str] | None:
    """How the files of a table are laid out.

    Args:
        folders: What their paths may be relative to, the best first.
        suffixes: Endings that they may have, the best first.
        stems: Paths without the ending that are looked for; a few hundred will do.

    Returns:
        Folder and ending that a file is found with, None if there is no such file.
    """
    for folder in folders:
        for suffix in suffixes:
            if any((folder / f"{stem}{suffix}").is_file() for stem in stems):
                return folder, suffix
    return None


def _rank(path: Path) -> int:
    return SUFFIXES.index(path.suffix.lower())


def frame_of(path: Path) -> tuple[int, int] | None:
    """(height, width) of a PNG or JPEG file, from its first bytes.

    Boxes are published in pixels of the original files; where an image was made smaller
    since, only the image itself tells. Its pixels are not decoded.

    Args:
        path: The file.

    Returns:
        None for DICOM, which is the original, and for files that are missing or broken:
        those are rejected when they are decoded.
    """
    if path.suffix.lower() not in SUFFIXES[2:]:
        return None
    try:
        return read_size(path)
    except DataRejectedError:
        return None


def lesion(name: str, corner: Iterable[float]) -> Box:
    """A box from its upper left corner, width and height."""
    x, y, width, height = corner
    return Box(name, (x, y, x + width, y + height), "lesion")


def fitted(
    boxes: Iterable[Box], size: tuple[float, float], image: Path
) -> tuple[Box, ...]:
    """Boxes in pixels of the image file, which may be a smaller copy.

    Args:
        boxes: In pixels of the original image.
        size: (height, width) of the original.
        image: The file at hand.
    """
    boxes = tuple(boxes)
    frame = frame_of(image) if boxes else None
    if frame is None or frame == size:
        return boxes
    down, across = frame[0] / size[0], frame[1] / size[1]
    scale = (across, down, across, down)
    return tuple(replace(box, xyxy=tuple(map(mul, box.xyxy, scale))) for box in boxes)


def split_once(
    rows: Sequence[int],
    size: float,
    seed: int,
    strata: Sequence[float] | None = None,
) -> tuple[list[int], list[int]]:
    """Rows to train on and rows that are held out, drawn by scikit-learn.

    Args:
        rows: Numbers of rows, in the order of the original.
        size: Share (float) or number (int) of rows that are held out.
        seed: ``random_state``.
        strata: A class for each number of a row, to keep the shares of.

    Raises:
        ConfigError: If there are too few rows, in all or of a class.
    """
    from sklearn.model_selection import train_test_split

    classes = None if strata is None else [strata[row] for row in rows]
    try:
        kept, left = train_test_split(
            rows, test_size=size, random_state=seed, stratify=classes
        )
    except ValueError as error:
        raise ConfigError(
            f"enough images for a published split ({len(rows)} rows)",
            str(error),
            "use --data.split canonical, or the complete data set",
        ) from error
    return list(kept), list(left)


def two_step_split(
    count: int,
    *,
    held_out: float,
    seed: int,
    test_first: bool,
    strata: Sequence[float] | None = None,
) -> list[str]:
    """Training rows against held-out rows, then these into halves, by scikit-learn.

    The recipe of GLoRIA's scripts and of those that followed them. It hangs on the order
    of the rows: who calls it brings them into that of the original.

    Args:
        count: Rows.
        held_out: Share (float) or number (int) of rows that are not for training.
        seed: ``random_state`` of both steps.
        test_first: The first of the two halves is the test set (as in MGCA's code), not
            the validation set (as in BenchX's).
        strata: A class per row to keep the shares of, in both steps.

    Returns:
        ``"train"``, ``"val"`` or ``"test"`` per row.

    Raises:
        ConfigError: If there are too few rows, in all or of a class.
    """
    _, rest = split_once(range(count), held_out, seed, strata)
    first, second = split_once(rest, 0.5, seed, strata)
    names = ("test", "val") if test_first else ("val", "test")
    splits = ["train"] * count
    for rows, name in zip((first, second), names, strict=True):
        for row in rows:
            splits[row] = name
    return splits

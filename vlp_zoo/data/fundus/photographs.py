"""What the readers of retinal data sets share: finding files, grades."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vlp_zoo.data.tables import AGAIN, number
from vlp_zoo.errors import DatasetNotFoundError

__all__ = ["GRADES", "Photographs", "bare", "one_hot"]

GRADES = (
    "no diabetic retinopathy",
    "mild nonproliferative diabetic retinopathy",
    "moderate nonproliferative diabetic retinopathy",
    "severe nonproliferative diabetic retinopathy",
    "proliferative diabetic retinopathy",
)
"""The international clinical scale, grades 0 to 4 (Wilkinson et al., 2003)."""

SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"}


def bare(name: str) -> str:
    """A file's name without folders and without the ending of a picture.

    Example:
        >>> bare("x/10_left.JPEG"), bare("10_left"), bare("fig. 3")
        ('10_left', '10_left', 'fig. 3')
    """
    path = Path(name.strip())
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


class Photographs:
    """Pictures by name, whatever their ending: packs re-encode and rename them.

    Args:
        folders: Where to look, the best first; those that are not there do not count.
        deep: Look into folders of folders too.
    """

    def __init__(self, folders: Iterable[Path], *, deep: bool = False) -> None:
        self._exact: dict[str, Path] = {}
        self._folded: dict[str, Path] = {}
        for folder in folders:
            if not folder.is_dir():
                continue
            for path in sorted(folder.rglob("*") if deep else folder.iterdir()):
                # Archives made on a Mac hold a ._ twin of every file.
                if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                    self._exact.setdefault(path.stem, path)
                    self._folded.setdefault(path.stem.lower(), path)

    @classmethod
    def in_copies(cls, root: Path, *names: str) -> Photographs:
        """Pictures in folders of a root, or in folders of the same name in these."""
        folders = [root / name for name in names]
        return cls([*folders, *(folder / folder.name for folder in folders)])

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._exact)

    def find(self, name: str) -> Path | None:
        """The file of that name; other capitals count where nothing fits exactly."""
        stem = bare(name)
        return self._exact.get(stem) or self._folded.get(stem.lower())


def one_hot(cell: str, classes: int, where: str) -> tuple[float, ...]:
    """A column per class from a grade; all NaN where the cell is blank.

    Args:
        cell: ``"2"``, ``"2.0"`` or blank.
        classes: How many there are.
        where: For the message: which table and line.

    Raises:
        DatasetNotFoundError: If it is no grade from 0 to ``classes - 1``.

    Example:
        >>> one_hot("1", 3, "line 2")
        (0.0, 1.0, 0.0)
    """
    cell = cell.strip()
    if cell.lower() in ("", "nan"):
        return (float("nan"),) * classes
    grade = number(cell)
    if grade not in range(classes):
        raise DatasetNotFoundError(
            f"a grade from 0 to {classes - 1} in {where}", repr(cell), AGAIN
        )
    return tuple(float(k == grade) for k in range(classes))

"""Small photographs, level masks and spreadsheets for the fakes of retinal data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["cut", "paint", "paint_rings", "write_sheet"]


def paint(path: Path, seed: int, size: tuple[int, int] = (40, 48)) -> None:
    """A colour picture of noise; noise, so that cutting the file loses something."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def cut(path: Path) -> None:
    """Lose the end of a file, as partial downloads do."""
    path.write_bytes(path.read_bytes()[:-200])


def paint_rings(
    path: Path, outer: int, inner: int, ground: int = 0, *, size: tuple[int, int]
) -> None:
    """A mask of three levels: rows 8 to 32 are ``outer``, in them 16 to 24 ``inner``.

    Columns 10 to 30, and 15 to 25.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.full(size, ground, np.uint8)
    levels[8:32, 10:30] = outer
    levels[16:24, 15:25] = inner
    Image.fromarray(levels).save(path)


def write_sheet(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """An ``.xlsx`` file of the rows, numbers as numbers."""
    import pandas as pd

    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_excel(path, index=False)

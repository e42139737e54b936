"""DRIVE in its layout: four images to train on, three to test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.fakes.photographs import paint

__all__ = ["BROKEN", "write_drive"]

BROKEN = "23_training"
"""A TIFF of no bytes."""


def write_drive(root: Path, *, old: bool = False, faults: bool = True) -> None:
    """Write the data set.

    Args:
        root: Folder to fill.
        old: With the vessels of the test images, which today's download lacks.
        faults: Empty one image.
    """
    for part, numbers in (("training", range(21, 25)), ("test", range(1, 4))):
        folder = root / part
        for number in numbers:
            uid = f"{number:02d}_{part}"
            path = folder / "images" / f"{uid}.tif"
            paint(path, number)
            if faults and uid == BROKEN:
                path.write_bytes(b"")
            _gif(folder / "mask" / f"{uid}_mask.gif", slice(2, 38))
            if part == "training" or old:
                _gif(folder / "1st_manual" / f"{number:02d}_manual1.gif", slice(18, 21))
            if part == "test" and old:
                _gif(folder / "2nd_manual" / f"{number:02d}_manual2.gif", slice(18, 22))


def _gif(path: Path, rows: slice) -> None:
    """White where marked; the palette has white first, so that indices mislead."""
    path.parent.mkdir(parents=True, exist_ok=True)
    indices = np.ones((40, 48), np.uint8)
    indices[rows] = 0
    picture = Image.fromarray(indices, mode="P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(path)

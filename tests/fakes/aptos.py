"""APTOS-2019 as Kaggle packs it: ten labelled images."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.photographs import cut, paint

__all__ = ["BROKEN", "NAMES", "write_aptos"]

NAMES = [f"{i:x}0c1{i:x}d8d{i:03x}" for i in range(10)]
GRADES = [2, 4, 1, 0, 0, 4, 0, 2, 2, 3]
BROKEN = NAMES[5]
"""A PNG cut in the middle."""


def write_aptos(root: Path, *, repacked: bool = False, faults: bool = True) -> None:
    """Write the data set.

    Args:
        root: Folder to fill.
        repacked: Write the re-pack with three labelled tables and doubled folders.
        faults: Cut one image.
    """
    parts = [("train.csv", "train_images", 0, 10)]
    if repacked:
        parts = [
            ("train_1.csv", "train_images/train_images", 0, 6),
            ("valid.csv", "val_images/val_images", 6, 8),
            ("test.csv", "test_images/test_images", 8, 10),
        ]
    for table, folder, start, stop in parts:
        lines = ["id_code,diagnosis"]
        for i in range(start, stop):
            path = root / folder / f"{NAMES[i]}.png"
            paint(path, i)
            if faults and NAMES[i] == BROKEN:
                cut(path)
            lines.append(f"{NAMES[i]},{GRADES[i]}")
        (root / table).write_text("\n".join(lines) + "\n")
    if not repacked:
        (root / "test.csv").write_text("id_code\nf00d1fd8d00f\n")
        paint(root / "test_images" / "f00d1fd8d00f.png", 99)

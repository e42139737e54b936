"""FLAIR's assembly in its layout: two sets with a table each."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.fakes.photographs import cut, paint

__all__ = ["BROKEN", "write_flair"]

BROKEN = "15_APTOS/15_APTOS/train_images/002.png"
"""A PNG cut in the middle."""

ROWS = {
    "03_IDRID": [
        ("03_IDRID/001.jpg", "[]", "['mild diabetic retinopathy', 'hard exudates']"),
        ("03_IDRID/002.jpg", "['noisy']", "['normal']"),
        ("03_IDRID/003.jpg", "", "[]"),
    ],
    "15_APTOS": [
        ("15_APTOS/train_images/001.png", "[]", "['severe diabetic retinopathy']"),
        ("15_APTOS/train_images/002.png", "[]", "['no diabetic retinopathy']"),
        ("15_APTOS/train_images/003.png", "['clean', '']", "['normal']"),
    ],
}


def write_flair(root: Path, *, faults: bool = True) -> None:
    """Write the assembly; tables have the index that pandas writes."""
    folder = root / "dataframes" / "pretraining"
    folder.mkdir(parents=True)
    for name, rows in ROWS.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            heading = "atributes"  # codespell:ignore
            writer.writerow(["", "image", heading, "categories"])
            for i, (image, attributes, categories) in enumerate(rows):
                paint(root / "datasets" / image, len(image) + i)
                if faults and f"{name}/{image}" == BROKEN:
                    cut(root / "datasets" / image)
                writer.writerow([i, image, attributes, categories])

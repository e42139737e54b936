"""COVIDx 9A as COVID-Net's scripts leave it: ten images of eight patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.fakes.radiographs import cut, paint

__all__ = ["BROKEN", "write_covidx", "write_lists"]

Line = tuple[str, str, str, str]

BROKEN = "train/COVID-00011.jpg"
"""A JPEG cut in the middle."""

TRAIN: list[Line] = [
    # patient, file, class, source
    ("3", "SARS-10.1148.png", "pneumonia", "cohen"),
    ("7", "0a1b.png", "normal", "rsna"),
    ("8", "0a1c.png", "normal", "rnsa"),
    ("8", "0a1c.jpg", "normal", "rsna"),
    ("9", "11547_2020 fig1.png", "COVID-19", "sirm"),
    ("COVID 11", "COVID-00011.jpg", "COVID-19", "actmed"),
    ("12", "0a1d.png", "pneumonia", "rsna"),
]
TEST: list[Line] = [
    ("419639-000025", "MIDRC-RICORD-1C-419639-000025.png", "COVID-19", "ricord"),
    ("21", "0b1b.png", "normal", "rsna"),
    ("22", "0b1c.png", "pneumonia", "rsna"),
]


def write_covidx(
    root: Path, *, faults: bool = True, name: str = "{split}_COVIDx9A.txt"
) -> None:
    """Write the data set.

    Args:
        root: Folder to fill.
        faults: Cut one image.
        name: Name of the lists.
    """
    write_lists(root, {"train": TRAIN, "test": TEST}, name)
    if faults:
        cut(root / BROKEN)


def write_lists(root: Path, splits: Mapping[str, Sequence[Line]], name: str) -> None:
    """A list per split and an image per line."""
    for i, (split, lines) in enumerate(splits.items()):
        path = root / name.format(split=split)
        path.parent.mkdir(parents=True, exist_ok=True)
        # The official lists have no heading.
        path.write_text("".join(" ".join(line) + "\n" for line in lines))
        for j, line in enumerate(lines):
            paint(root / split / line[1], 10 * i + j)

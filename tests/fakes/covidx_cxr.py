"""COVIDx CXR-4 as Kaggle packs it: nine images of eight patients."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.covidx import Line, write_lists
from tests.fakes.radiographs import cut

__all__ = ["BROKEN", "write_covidx_cxr"]

BROKEN = "val/c2.png"
"""A PNG cut in the middle."""

SPLITS: dict[str, list[Line]] = {
    "train": [
        ("1", "a1.png", "positive", "cohen"),
        ("1", "a1.jpg", "positive", "cohen"),
        ("2", "a2.png", "negative", "rsna"),
        ("3", "a3.jpeg", "negative", "rsna"),
        ("4", "a4.png", "positive", "stonybrook"),
    ],
    "val": [("5", "c1.png", "negative", "rsna"), ("6", "c2.png", "positive", "ricord")],
    "test": [
        ("7", "e1.png", "negative", "rsna"),
        ("8", "e2.png", "positive", "ricord"),
    ],
}


def write_covidx_cxr(
    root: Path, *, faults: bool = True, val: bool = True, name: str = "{split}.txt"
) -> None:
    """Write the data set.

    Args:
        root: Folder to fill.
        faults: Cut one image of the validation set.
        val: With a validation list, as from CXR-4 on.
        name: Name of the lists.
    """
    splits = {k: v for k, v in SPLITS.items() if val or k != "val"}
    write_lists(root, splits, name)
    if faults and val:
        cut(root / BROKEN)

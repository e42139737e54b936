"""MuReD in its layout: ten images of three sources."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.photographs import cut, paint
from vlp_zoo.data.fundus.mured import LABEL_NAMES

__all__ = ["BROKEN", "write_mured"]

BROKEN = "1001"
"""A PNG cut in the middle."""

TRAIN = [
    ("im0001", "DR"),
    ("im0002", "CRVO"),
    ("1001", "DR"),
    ("11", "NORMAL"),
    ("12", "ODC DN"),
    ("aria_c_1_2", "NORMAL"),
]
TEST = [
    ("13", "TSLN DN"),
    ("im0003", "DN OTHER"),
    ("aria_a_3_4", "ARMD"),
    ("5", "MH"),
]


def write_mured(root: Path, *, faults: bool = True) -> None:
    """Write the data set; images of ARIA are TIFF, all others PNG."""
    for file, part in (("train_data.csv", TRAIN), ("val_data.csv", TEST)):
        lines = [",".join(["ID", *LABEL_NAMES])]
        for name, found in part:
            suffix = "tif" if name.startswith("aria") else "png"
            path = root / "images" / "images" / f"{name}.{suffix}"
            paint(path, len(lines) + 10 * len(part))
            if faults and name == BROKEN:
                cut(path)
            values = [str(int(label in found.split())) for label in LABEL_NAMES]
            lines.append(",".join([name, *values]))
        (root / file).write_text("\r\n".join(lines) + "\r\n")

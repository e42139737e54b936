"""MM-Retinal in its layout: photographs, angiographies and tomographies."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.fakes.photographs import cut, paint

__all__ = ["BROKEN", "write_mm_retinal"]

BROKEN = "FFA/2-2"
"""A JPEG cut in the middle."""

FIGURES = {
    "CFP": ["1-1a.png", "1-1A.jpg", "1-2.png", "3-15.jpeg"],
    "FFA": ["2-1.png", "2-2.jpg", "2-3.png"],
    "OCT": ["4-1.png"],
}


def write_mm_retinal(root: Path, *, faults: bool = True) -> None:
    """Write the data set; two photographs differ in a capital letter."""
    seed = 0
    for kind, files in FIGURES.items():
        columns = ["Image_ID", "en_caption", "cn_caption"]
        columns += ["is_multipic"] if kind == "OCT" else []
        rows = []
        for file in files:
            seed += 1
            path = root / kind / file
            paint(path, seed)
            if faults and f"{kind}/{path.stem}" == BROKEN:
                cut(path)
            caption = f'Figure {path.stem}, "soft" drusen.\nBoth eyes.'
            rows.append([path.stem, caption, "\u73bb\u7483\u819c\u75a3", "0"])
        name = root / f"{kind}_translated_v1.csv"
        with name.open("w", newline="", encoding="utf-8-sig") as stream:
            writer = csv.writer(stream)
            writer.writerow(columns)
            writer.writerows(row[: len(columns)] for row in rows)

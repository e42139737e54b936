"""Object-CXR in the layout of Kaggle's copy: nine images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["ANNOTATIONS", "BROKEN", "write_object_cxr"]

BROKEN = "train/00000.jpg"
"""A JPEG cut in the middle; other tables have a line of the same number."""

ANNOTATIONS = {
    "train": [
        "",
        "0 10 5 20 15",
        "1 4 6 24 16;0 30 30 40 36",
        "2 10 10 30 10 30 30 10 30",
        "",
    ],
    "dev": ["2 5 5 25 5 15 20;", "", "0 20 15 10 5"],
    "test": ["", "1 10 10 20 20"],
}
"""One cell per image: rectangles (0), ellipses (1), polygons (2)."""


def write_object_cxr(root: Path, *, faults: bool = True, test: bool = True) -> None:
    """Write the data set; ``test`` is what only Kaggle's copy has."""
    number = 0
    for folder, cells in ANNOTATIONS.items():
        if folder == "test" and not test:
            continue
        (root / folder).mkdir(parents=True, exist_ok=True)
        heading = "image_path" if folder == "test" else "image_name"
        lines = [f"{heading},annotation"]
        for cell in cells:
            name = f"{number:05d}.jpg"
            number += 1
            rng = np.random.default_rng(number)
            pixels = rng.integers(0, 256, (40, 48), np.uint8)
            path = root / folder / name
            Image.fromarray(pixels).save(path, quality=90)
            if faults and f"{folder}/{name}" == BROKEN:
                path.write_bytes(path.read_bytes()[:-200])
            place = f"/data/object-CXR/test/{name}" if folder == "test" else name
            lines.append(f"{place},{cell}")
        (root / f"{folder}.csv").write_text("\n".join(lines) + "\n")

"""SIIM-ACR as Kaggle packed stage 1, and as its PNG re-pack: eight images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.fakes.radiographs import cut, paint, write_dicom

__all__ = ["BROKEN", "image_id", "write_siim", "write_siim_png"]

PREFIX = "1.2.276.0.7230010.3.1.4.8323329"


def image_id(i: int) -> str:
    """A DICOM identifier, as the official names: full of dots."""
    return f"{PREFIX}.{300 + i}.15178752{i:02d}.850819"


BROKEN = image_id(4)
"""A DICOM file, or its PNG copy, cut in the middle."""

REGIONS: dict[int, list[str]] = {
    # Two pixels down the second column, from row 3 on; then one in the third.
    1: ["1027 2 1022 1"],
    # Two regions, each in a row of its own.
    2: ["0 3", "2050 4"],
    4: ["5 5"],
    6: ["7 7"],
}


def write_siim(root: Path, *, faults: bool = True, test: bool = False) -> None:
    """Write the Kaggle archive.

    Args:
        root: Folder to fill.
        faults: Cut one image.
        test: Put the last two images in the test folder and name the table as in
            stage 2.
    """
    lines = ["ImageId, EncodedPixels"]
    for i in range(8):
        uid = image_id(i)
        # A copy of the table has the blank before -1 too.
        lines += [f"{uid},{rle}" for rle in REGIONS.get(i, ["-1" if i % 2 else " -1"])]
        folder = "dicom-images-test" if test and i > 5 else "dicom-images-train"
        study, series = f"{PREFIX}.{i}.1", f"{PREFIX}.{i}.2"
        path = root / folder / study / series / f"{uid}.dcm"
        write_dicom(path, i)
        if faults and uid == BROKEN:
            cut(path)
    name = "stage_2_train.csv" if test else "train-rle.csv"
    (root / name).write_text("\n".join(lines) + "\n")


def write_siim_png(root: Path, *, faults: bool = True) -> None:
    """Write the re-pack: six training and two test images."""
    for split, images in (("train", range(6)), ("test", range(6, 8))):
        lines = ["new_filename,ImageId,has_pneumo"]
        for i in images:
            positive = int(i in REGIONS)
            name = f"{i}_{split}_{positive}_.png"
            lines.append(f"{name},{image_id(i)},{positive}")
            path = root / "png_images" / name
            paint(path, i)
            if faults and image_id(i) == BROKEN:
                cut(path)
            mask = np.zeros((40, 48), np.uint8)
            mask[4:8, 10:20] = 255 * positive
            (root / "png_masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(root / "png_masks" / name)
        (root / f"stage_1_{split}_images.csv").write_text("\n".join(lines) + "\n")

"""IDRiD in its layout: parts A, B and C with a few images each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.fakes.photographs import cut, paint

__all__ = ["BROKEN", "write_idrid"]

BROKEN = "grading/train/IDRiD_003"
"""A JPEG cut in the middle."""

SETS = {"train": "a. Training Set", "test": "b. Testing Set"}
FOLDERS = {
    "MA": "1. Microaneurysms",
    "HE": "2. Haemorrhages",
    "EX": "3. Hard Exudates",
    "SE": "4. Soft Exudates",
    "OD": "5. Optic Disc",
}
GRADES = {
    "train": [(1, 3, 2), (2, 3, 2), (3, 2, 2), (4, 0, 0), (5, 4, 0), (118, 1, 0)],
    "test": [(1, 4, 0), (2, 2, 1), (64, 1, 0)],
}
OUTLINED = {"train": [1, 2, 3, 54], "test": [55, 81]}


def write_idrid(
    root: Path, *, encoded: bool = False, doubled: bool = False, faults: bool = True
) -> None:
    """Write the data set; in part A only image 1 has soft exudates.

    Args:
        root: Folder to fill.
        encoded: ``%20`` for blanks in the names of folders and files.
        doubled: Each part in a folder of its own name.
        faults: Cut one image.
    """

    def folder(*names: str) -> Path:
        parts = [names[0], *names] if doubled else list(names)
        if encoded:
            parts = [name.replace(" ", "%20") for name in parts]
        path = root.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    for split, name in SETS.items():
        word = "Training" if split == "train" else "Testing"
        for number in OUTLINED[split]:
            stem = f"IDRiD_{number:02d}"
            place = ("1. Original Images", name, f"{stem}.jpg")
            paint(folder("A. Segmentation", *place), number)
            for code, lesion in FOLDERS.items():
                if code == "SE" and number != 1:
                    continue
                truth = ("2. All Segmentation Groundtruths", name, lesion)
                _outline(folder("A. Segmentation", *truth, f"{stem}_{code}.tif"))
        # Empty columns follow the last one, whose heading ends in a blank.
        lines = ["Image name,Retinopathy grade,Risk of macular edema ,,,"]
        discs = ["Image No,X- Coordinate,Y - Coordinate,,,,"]
        for number, grade, risk in GRADES[split]:
            stem = f"IDRiD_{number:03d}"
            path = folder(
                "B. Disease Grading", "1. Original Images", name, f"{stem}.jpg"
            )
            paint(path, number + 100)
            if faults and f"grading/{split}/{stem}" == BROKEN:
                cut(path)
            lines.append(f"{stem},{grade},{risk},,,")
            discs.append(f"{stem},{number + 20},{number + 30},,,,")
        labels = f"{name[0]}. IDRiD_Disease Grading_{word} Labels.csv"
        table = folder("B. Disease Grading", "2. Groundtruths", labels)
        table.write_text("\r\n".join(lines) + "\r\n")
        for inner, file in (
            ("1. Optic Disc Center Location", f"{name[0]}. IDRiD_OD_Center_{word} Set"),
            ("2. Fovea Center Location", f"IDRiD_Fovea_Center_{word} Set"),
        ):
            place = ("2. Groundtruths", inner, f"{file}_Markups.csv")
            centres = folder("C. Localization", *place)
            centres.write_text("\r\n".join([*discs, ",,,,,,", ""]))


def _outline(path: Path) -> None:
    """Palette TIFF with red for the lesion, as released."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.zeros((40, 48), np.uint8)
    levels[4:10, 6:20] = 1
    picture = Image.fromarray(levels, mode="P")
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.save(path)

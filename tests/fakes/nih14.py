"""NIH ChestX-ray14 in the official layout: twelve images of seven patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["BROKEN", "write_nih14"]

BROKEN = "00000006_000.png"
"""A PNG cut in the middle, as partial downloads have them."""

# The last two columns are what the unquoted commas of the official heading make.
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = [
    # patient, follow-up, findings, age, sex, view
    (1, 0, "Cardiomegaly", 57, "M", "PA"),
    (1, 1, "Cardiomegaly|Emphysema", 58, "M", "PA"),
    (1, 2, "Cardiomegaly|Effusion", 58, "M", "AP"),
    (2, 0, "No Finding", 80, "M", "PA"),
    (3, 0, "Hernia", 74, "F", "PA"),
    (3, 1, "Infiltration|Pleural_Thickening", 75, "F", "PA"),
    (4, 0, "Mass|Nodule", 411, "M", "AP"),
    (5, 0, "No Finding", 69, "F", "PA"),
    (5, 1, "No Finding", 69, "F", "PA"),
    (6, 0, "Pneumothorax", 70, "F", "PA"),
    (7, 0, "Atelectasis", 81, "F", "PA"),
    (7, 1, "No Finding", 82, "F", "AP"),
]


def write_nih14(root: Path, *, flat: bool = False, faults: bool = True) -> None:
    """Write the data set; patients 3 and 7 are in the official test list.

    Args:
        root: Folder to fill.
        flat: All images in ``images`` instead of the folders of the archives.
        faults: Cut one image.
    """
    lines = [HEADER]
    lists: dict[str, list[str]] = {"train_val_list.txt": [], "test_list.txt": []}
    for i, (patient, visit, findings, age, sex, view) in enumerate(ROWS):
        name = f"{patient:08d}_{visit:03d}.png"
        inner = "images" if flat else f"images_{i % 12 + 1:03d}/images"
        path = root / inner / name
        path.parent.mkdir(parents=True, exist_ok=True)
        channels = (40, 48, 4) if i == 2 else (40, 48)
        pixels = np.random.default_rng(i).integers(0, 256, channels, np.uint8)
        Image.fromarray(pixels).save(path)
        if faults and name == BROKEN:
            path.write_bytes(path.read_bytes()[:-60])
        lines.append(
            f"{name},{findings},{visit},{patient},{age},{sex},{view},2682,2749,0.143,0.143"
        )
        held_out = patient in (3, 7)
        lists["test_list.txt" if held_out else "train_val_list.txt"].append(name)
    (root / "Data_Entry_2017_v2020.csv").write_text("\r\n".join(lines) + "\r\n")
    for file, names in lists.items():
        (root / file).write_text("\n".join(names))
    (root / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00000003_001.png,Infiltrate,10.5,4.25,20.0,16.0,,,\n"
        "00000001_000.png,Cardiomegaly,8,20,30,12,,,\n"
    )

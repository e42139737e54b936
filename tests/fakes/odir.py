"""ODIR-5K as Kaggle packs it and as the challenge released it: six patients."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.fakes.photographs import cut, paint, write_sheet

__all__ = ["BROKEN", "write_odir"]

BROKEN = "4_right"
"""A JPEG cut in the middle."""

PATIENTS = [
    # id, age, sex, left, right, the patient's columns N D G C A H M O
    (0, 69, "Female", "cataract", "normal fundus", "00010000"),
    (
        1,
        57,
        "Male",
        "normal fundus",
        "lens dust\uff0csuspected glaucoma\uff0cdrusen",
        "00100001",
    ),
    (
        2,
        42,
        "Male",
        "moderate non proliferative retinopathy\uff0chypertensive retinopathy",
        "mild nonproliferative retinopathy",
        "01000100",
    ),
    (4, 53, "Male", "pathological myopia", "dry age-related macular degeneration", ""),
    (6, 60, "Female", "low image quality", "anterior segment image", "10000000"),
    (7, 1, "Female", "laser spot,severe proliferative diabetic retinopathy", "", ""),
]
LETTERS = "NDGCAHMO"


def write_odir(root: Path, *, official: bool = False, faults: bool = True) -> None:
    """Write the data set.

    Args:
        root: Folder to fill.
        official: The spreadsheet, a row per patient, instead of a row per eye.
        faults: Cut one image.
    """
    folder = root / ("ODIR-5K_Training_Dataset" if official else "preprocessed_images")
    rows: list[dict[str, object]] = []
    for patient, age, sex, left, right, flags in PATIENTS:
        row: dict[str, object] = {
            "ID": patient,
            "Patient Age": age,
            "Patient Sex": sex,
            "Left-Fundus": f"{patient}_left.jpg",
            "Right-Fundus": f"{patient}_right.jpg",
            "Left-Diagnostic Keywords": left,
            "Right-Diagnostic Keywords": right,
        }
        row |= {k: int(v) for k, v in zip(LETTERS, flags or "0" * 8, strict=True)}
        for i, eye in enumerate(("left", "right")):
            path = folder / f"{patient}_{eye}.jpg"
            paint(path, 2 * patient + i)
            if faults and path.stem == BROKEN:
                cut(path)
        rows.append(row)
    if official:
        write_sheet(root / "ODIR-5K_Training_Annotations(Updated)_V2.xlsx", rows)
        return
    # The Kaggle table lists right eyes first, then left ones, with a class of its own.
    eyes = [
        row
        | {
            "filepath": f"../input/ODIR-5K/Training Images/{row['ID']}_{eye}.jpg",
            "labels": "['N']",
            "target": "[1, 0, 0, 0, 0, 0, 0, 0]",
            "filename": f"{row['ID']}_{eye}.jpg",
        }
        for eye in ("right", "left")
        for row in rows
    ]
    with (root / "full_df.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(eyes[0]))
        writer.writeheader()
        writer.writerows(eyes)

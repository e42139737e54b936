"""REFUGE in its layout: four images to train on, three to validate, three to test."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.photographs import cut, paint, paint_rings, write_sheet

__all__ = ["BROKEN", "write_refuge"]

BROKEN = "V0002"
"""A JPEG cut in the middle."""

SIZE = (40, 48)
TRAIN = ["g0001", "g0002", "n0001", "n0002"]
GLAUCOMA = {"V0001": 1, "V0002": 0, "V0003": 0, "T0001": 1, "T0002": 0, "T0003": 0}


def write_refuge(root: Path, *, sheets: bool = True, faults: bool = True) -> None:
    """Write the data set.

    Args:
        root: Folder to fill.
        sheets: Write the spreadsheets, which have labels and foveas.
        faults: Cut one image.
    """
    for i, uid in enumerate([*TRAIN, *GLAUCOMA]):
        kind = uid[0]
        folder = "Glaucoma" if kind == "g" else "Non-Glaucoma"
        image, mask = {
            "V": ("REFUGE-Validation400", "REFUGE-Validation400-GT/Disc_Cup_Masks"),
            "T": (
                "REFUGE-Test400/Test400",
                f"REFUGE-Test-GT/Disc_Cup_Masks/{'NG'[GLAUCOMA.get(uid, 0)]}",
            ),
        }.get(
            kind,
            (
                f"REFUGE-Training400/Training400/{folder}",
                f"Annotation-Training400/Annotation-Training400/Disc_Cup_Masks/{folder}",
            ),
        )
        paint(root / image / f"{uid}.jpg", i, SIZE)
        if faults and uid == BROKEN:
            cut(root / image / f"{uid}.jpg")
        paint_rings(root / mask / f"{uid}.bmp", 128, 0, 255, size=SIZE)
    if not sheets:
        return
    fovea = {"Fovea_X": 20.5, "Fovea_Y": 18.25}
    annotation = root / "Annotation-Training400" / "Annotation-Training400"
    write_sheet(
        annotation / "Fovea_location.xlsx",
        [{"ID": i, "ImgName": f"{uid}.jpg"} | fovea for i, uid in enumerate(TRAIN, 1)],
    )
    for letter, file, column in (
        ("V", "REFUGE-Validation400-GT/Fovea_locations.xlsx", "Glaucoma Label"),
        (
            "T",
            "REFUGE-Test-GT/Glaucoma_label_and_Fovea_location.xlsx",
            "Label(Glaucoma=1)",
        ),
    ):
        rows = [
            {"ID": i, "ImgName": f"{uid}.jpg"} | fovea | {column: label}
            for i, (uid, label) in enumerate(GLAUCOMA.items(), 1)
            if uid[0] == letter
        ]
        write_sheet(root / file, rows)

"""MESSIDOR-2 with the adjudicated grades: ten images of five examinations."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.photographs import cut, paint

__all__ = ["BROKEN", "write_messidor2"]

BROKEN = "IM000103"
"""A JPEG cut in the middle."""

PAIRS = [
    ("20050101_10001_0400_PP.png", "20050101_10002_0400_PP.png"),
    ("20050101_10003_0400_PP.png", "20050101_10004_0400_PP.png"),
    ("20050202_20001_0100_PP.png", "20050202_20002_0100_PP.png"),
    ("IM000101.JPG", "IM000100.JPG"),
    ("IM000103.JPG", "IM000102.JPG"),
]
GRADES = ["0", "1", "2", "2", "0", "0", "4", "", "3", "0"]


def write_messidor2(root: Path, *, repacked: bool = False, faults: bool = True) -> None:
    """Write the data set.

    Args:
        root: Folder to fill.
        repacked: Write the Kaggle re-pack: other headings and folders, no pairs.
        faults: Cut one image.
    """
    head = "id_code,diagnosis" if repacked else "image_id,adjudicated_dr_grade"
    lines = [f"{head},adjudicated_dme,adjudicated_gradable"]
    folder = root / ("messidor-2/messidor-2/preprocess" if repacked else "IMAGES")
    names = [name for pair in PAIRS for name in pair]
    for i, (name, grade) in enumerate(zip(names, GRADES, strict=True)):
        # The table says .jpg where the files say .JPG.
        paint(folder / name, i)
        if faults and Path(name).stem == BROKEN:
            cut(folder / name)
        dme, gradable = ("0", "1") if grade else ("", "0")
        lines.append(f"{name.replace('.JPG', '.jpg')},{grade},{dme},{gradable}")
    (root / "messidor_data.csv").write_text("\n".join(lines) + "\n")
    if not repacked:
        pairs = ["left;right ", *(";".join(pair) for pair in PAIRS)]
        (root / "messidor-2.csv").write_text("\r\n".join(pairs) + "\r\n")

"""MS-CXR 1.1.0 beside the MIMIC-CXR-JPG images it is about: eight phrases."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tests.fakes.radiographs import cut, paint

__all__ = ["BROKEN", "dicom_id", "write_ms_cxr"]

SIZE = (80, 96)


def dicom_id(i: int) -> str:
    """Five groups of eight hexadecimal digits, as the official names."""
    return "-".join(f"{i * 16 + k:08x}" for k in range(5))


BROKEN = f"{dicom_id(4)}/0"
"""Its image is a JPEG cut in the middle."""

ROWS = [
    # image, category, phrase, box, split
    (
        0,
        "Pleural Effusion",
        "Small bilateral effusions, left more",
        (4, 50, 20, 12),
        "test",
    ),
    (
        0,
        "Pleural Effusion",
        "Small bilateral effusions, left more",
        (60, 52, 24, 16),
        "test",
    ),
    (0, "Cardiomegaly", "moderate cardiomegaly", (30, 30, 40.5, 30.25), "test"),
    (1, "Pneumothorax", "large right pneumothorax", (6, 6, 30, 40), "val"),
    (
        2,
        "Consolidation",
        'a "round" opacity, likely pneumonia',
        (50, 20, 9, 9),
        "train",
    ),
    (2, "Pneumonia", 'a "round" opacity, likely pneumonia', (49, 19, 11, 11), "train"),
    (3, "Atelectasis", "moderate cardiomegaly", (1, 2, 3, 4), "train"),
    (4, "Edema", "mild edema", (10, 10, 60, 50), "train"),
    (5, "Lung Opacity", "an opacity", (0, 0, 96, 80), "train"),
    (5, "Lung Opacity", "another opacity", (8, 8, 8, 8), "train"),
]


def write_ms_cxr(
    root: Path,
    *,
    faults: bool = True,
    tree: bool = False,
    files: bool = True,
    suffix: str = ".jpg",
    size: tuple[int, int] = SIZE,
    old: bool = False,
) -> None:
    """Write tables and images.

    Args:
        root: Folder to fill.
        faults: Cut one image.
        tree: Folders as PhysioNet has them, instead of the images in the root.
        files: With the folder ``files``.
        suffix: Suffix of the images' names.
        size: Height and width of the images; boxes are in 80 x 96 pixels.
        old: Release 1.0.0, which has no column split.
    """
    version = "1.0.0" if old else "1.1.0"
    tables = root / "ms-cxr" / version if tree else root
    images = root / "mimic-cxr-jpg" / "2.1.0" if tree else root
    tables.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, category, phrase, (x, y, w, h), split in ROWS:
        # Two images of one patient.
        patient = f"1000003{min(i, 4)}"
        path = f"files/p10/p{patient}/s5041426{i}/{dicom_id(i)}.jpg"
        row = {
            "dicom_id": dicom_id(i),
            "category_name": category,
            "label_text": phrase,
            "path": path,
            "x": x,
            "y": y,
            "w": w,
            "h": h,
            "image_width": SIZE[1],
            "image_height": SIZE[0],
            "split": split,
        }
        if old:
            del row["split"]
        rows.append(row)
        place = (images / (path if files else path[6:])).with_suffix(suffix)
        paint(place, i, size)
        if faults and i == 4:
            cut(place)
    stem = f"MS_CXR_Local_Alignment_v{version}"
    with (tables / f"{stem}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (tables / f"{stem}.json").write_text(json.dumps(_as_coco(rows)))


def _as_coco(rows: list[dict[str, object]]) -> dict[str, object]:
    names = sorted({str(row["category_name"]) for row in rows})
    dicoms = list(dict.fromkeys(str(row["dicom_id"]) for row in rows))
    paths = {str(row["dicom_id"]): row["path"] for row in rows}
    return {
        "info": {"version": "1.1.0"},
        "categories": [{"id": k, "name": name} for k, name in enumerate(names, 1)],
        "images": [
            {
                "id": k,
                "file_name": f"{dicom}.jpg",
                "path": paths[dicom],
                "width": SIZE[1],
                "height": SIZE[0],
            }
            for k, dicom in enumerate(dicoms)
        ],
        "annotations": [
            {
                "id": k,
                "image_id": dicoms.index(str(row["dicom_id"])),
                "category_id": names.index(str(row["category_name"])) + 1,
                "label_text": row["label_text"],
                "bbox": [row[corner] for corner in "xywh"],
            }
            | ({"split": row["split"]} if "split" in row else {})
            for k, row in enumerate(rows)
        ],
    }

"""RSNA Pneumonia as Kaggle packs it, with RSNA's mapping: eight images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.fakes.radiographs import cut, write_dicom

__all__ = ["BROKEN", "image_id", "write_rsna"]


def image_id(i: int) -> str:
    """A UUID, as the official names; not in order."""
    return f"{i * 2654435761 % 2**32:08x}-14fd-4e49-80ba-63a80b6bdd{i:02x}"


BROKEN = image_id(5)
"""A DICOM file cut in the middle."""

IMAGES = [
    # ChestX-ray14's name, class, boxes
    ("00000001_000.png", "Normal", []),
    ("00000013_005.png", "Lung Opacity", [(264.0, 152.0, 213.0, 379.0)]),
    (
        "00000013_007.png",
        "Lung Opacity",
        [(8.0, 16.0, 64.0, 128.0), (562.0, 0, 462, 453)],
    ),
    ("00000021_001.png", "No Lung Opacity / Not Normal", []),
    ("00000100_000.png", "Normal", []),
    ("00000101_000.png", "Lung Opacity", [(100.0, 100.0, 50.0, 60.0)]),
    ("00000102_000.png", "No Lung Opacity / Not Normal", []),
    ("00000103_000.png", "Normal", []),
]


def write_rsna(
    root: Path, *, faults: bool = True, mapping: bool = False, side: int = 0
) -> None:
    """Write the data set.

    Args:
        root: Folder to fill.
        faults: Cut one image.
        mapping: Add RSNA's mapping to ChestX-ray14 and a table of DICOM headers.
        side: PNG copies of this size instead of DICOM files of the official one.
    """
    labels = ["patientId,x,y,width,height,Target"]
    classes = ["patientId,class"]
    headers = ["PatientID,PatientAge,PatientSex,ViewPosition"]
    for i, (_, kind, boxes) in enumerate(IMAGES):
        uid = image_id(i)
        labels += [f"{uid},{x},{y},{w},{h},1" for x, y, w, h in boxes]
        labels += [] if boxes else [f"{uid},,,,,0"]
        classes += [f"{uid},{kind}"] * max(len(boxes), 1)
        headers.append(f"{uid},{155 if i == 2 else 40 + i},{'FM'[i % 2]},PA")
        if side:
            path = root / "stage_2_train_images" / f"{uid}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(i).integers(0, 256, (side, side), np.uint8)
            Image.fromarray(pixels).save(path)
        else:
            path = root / "stage_2_train_images" / f"{uid}.dcm"
            write_dicom(path, i, (1024, 1024))
        if faults and uid == BROKEN:
            cut(path)
    root.joinpath("stage_2_train_labels.csv").write_text("\n".join(labels) + "\n")
    info = root / "stage_2_detailed_class_info.csv"
    info.write_text("\n".join(classes) + "\n")
    if mapping:
        entries = [
            {
                "subset_img_id": image_id(i),
                "img_id": name,
                "SOPInstanceUID": f"1.2.276.0.{i}",
                "orig_labels": ["No Finding"],
            }
            for i, (name, _, _) in enumerate(IMAGES)
        ]
        path = root / "pneumonia-challenge-dataset-mappings_2018.json"
        path.write_text(json.dumps(entries))
        (root / "stage_2_dicom_headers.csv").write_text("\n".join(headers) + "\n")

"""CheXpert v1.0-small, with the test set that was released later: twelve images."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from tests.fakes.radiographs import cut, paint

__all__ = ["BROKEN", "LABELS", "write_chexpert", "write_labels"]

BROKEN = "train/patient00004/study1/view1_frontal"
"""A JPEG cut in the middle."""

LABELS = [
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
]

Row = tuple[str, str, str, dict[str, float]]

TRAIN: list[Row] = [
    # image, sex and age, projection, labels; others are blank
    ("patient00001/study1/view1_frontal", "Female,68", "AP", {"No Finding": 1}),
    (
        "patient00002/study2/view1_frontal",
        "Female,87",
        "AP",
        {"Cardiomegaly": -1, "Edema": -1, "Pneumonia": -1, "Atelectasis": -1},
    ),
    ("patient00002/study1/view1_frontal", "Female,83", "PA", {"Lung Opacity": 1}),
    ("patient00002/study1/view2_lateral", "Female,83", "", {"Lung Opacity": 1}),
    ("patient00003/study1/view1_frontal", "Unknown,0", "LL", {"Edema": 1}),
    ("patient00004/study1/view1_frontal", "Male,41", "AP", {"Edema": 0}),
    ("patient00005/study1/view1_frontal", "Male,20", "AP", {"Pleural Effusion": 1}),
    ("patient00006/study1/view1_frontal", "Male,42", "PA", {"Fracture": 1}),
]
VALID: list[Row] = [
    ("patient64541/study1/view1_frontal", "Male,73", "AP", {"Cardiomegaly": 1}),
    ("patient64542/study1/view1_frontal", "Male,70", "PA", {"Support Devices": 1}),
]
TEST: list[Row] = [
    ("patient64741/study1/view1_frontal", "", "", {"Cardiomegaly": 1}),
    ("patient64742/study1/view2_lateral", "", "", {}),
]


def write_chexpert(
    root: Path,
    *,
    faults: bool = True,
    folder: str = "CheXpert-v1.0-small",
    inside: bool = False,
    test: bool = True,
) -> None:
    """Write the data set.

    Args:
        root: Folder to fill.
        faults: Cut one image.
        folder: The first part of the paths in the tables.
        inside: Put everything into a folder of that name.
        test: Add the test set, whose table has fewer columns and shorter paths.
    """
    base = root / folder if inside else root
    write_labels(base, "train.csv", f"{folder}/train", TRAIN)
    write_labels(base, "valid.csv", f"{folder}/valid", VALID)
    if test:
        write_labels(base, "test_labels.csv", "test", TEST)
    if faults:
        cut(base / f"{BROKEN}.jpg")


def write_labels(
    base: Path,
    table: str,
    start: str,
    rows: Sequence[Row],
    *,
    images: str | None = None,
    size: tuple[int, int] = (40, 48),
) -> None:
    """One table and its images.

    Args:
        base: Folder of the table.
        table: Its name.
        start: What the paths in it begin with; the last part is the split.
        rows: Rows of the table.
        images: Folder of the images in ``base``; None = the split.
        size: Height and width of the images.
    """
    split = start.rsplit("/", maxsplit=1)[-1]
    base.mkdir(parents=True, exist_ok=True)
    judged = split != "train"
    people = ["Sex", "Age", "Frontal/Lateral", "AP/PA"] if split != "test" else []
    with (base / table).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Path", *people, *LABELS])
        for i, (stem, person, projection, labels) in enumerate(rows):
            paint(base / (images or split) / f"{stem}.jpg", len(split) * 100 + i, size)
            side = "Lateral" if stem.endswith("lateral") else "Frontal"
            cells = [*person.split(","), side, projection] if people else []
            values = [labels.get(name, 0 if judged else None) for name in LABELS]
            texts = ["" if v is None else f"{float(v)}" for v in values]
            writer.writerow([f"{start}/{stem}.jpg", *cells, *texts])

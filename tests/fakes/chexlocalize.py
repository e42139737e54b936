"""CheXlocalize as unpacked: eight images of seven patients, six with findings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.fakes.chexpert import Row, write_labels
from tests.fakes.radiographs import cut

__all__ = ["BROKEN", "compressed", "write_chexlocalize"]

BROKEN = "test/patient64743/study1/view1_frontal"
"""A JPEG cut in the middle."""

SIZE = (40, 48)
FINDINGS = [
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Airspace Opacity",
    "Edema",
    "Consolidation",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Support Devices",
]
"""In the order of the tables of the masks, and in their words."""

VAL: list[Row] = [
    ("patient64541/study1/view1_frontal", "Male,73", "AP", {"Lung Opacity": 1}),
    ("patient64542/study1/view1_frontal", "Male,70", "PA", {"Cardiomegaly": 1}),
    ("patient64542/study1/view2_lateral", "Male,70", "", {"Cardiomegaly": 1}),
]
TEST: list[Row] = [
    ("patient64741/study1/view1_frontal", "", "", {"Lung Opacity": 1}),
    ("patient64742/study1/view1_frontal", "", "", {"No Finding": 1}),
    ("patient64743/study1/view1_frontal", "", "", {"Edema": 1}),
    # Pneumonia is none of the ten that were drawn.
    ("patient64744/study1/view1_frontal", "", "", {"Pneumonia": 1}),
    ("patient64745/study1/view1_frontal", "", "", {"Lung Opacity": 1}),
]
UNDRAWN = ("patient64742", "patient64744", "patient64745")


def write_chexlocalize(
    root: Path, *, faults: bool = True, size: tuple[int, int] = SIZE
) -> None:
    """Write the data set.

    Args:
        root: Folder to fill.
        faults: Cut one image.
        size: Size of the images; masks are always 40 x 48.
    """
    base, masks = root / "CheXpert", root / "CheXlocalize"
    start = "CheXpert-v1.0/valid"
    write_labels(base, "val_labels.csv", start, VAL, images="val", size=size)
    write_labels(base, "test_labels.csv", "test", TEST, size=size)
    if faults:
        cut(base / f"{BROKEN}.jpg")
    masks.mkdir()
    for split, rows in (("val", VAL), ("test", TEST)):
        polygons, lengths = {}, {}
        for i, (stem, _, _, labels) in enumerate(rows):
            key = stem.replace("/", "_")
            if key.startswith(UNDRAWN):
                continue
            drawn: dict[str, Any] = {"img_size": list(SIZE)}
            encoded = {}
            for name in FINDINGS:
                label = {"Airspace Opacity": "Lung Opacity"}.get(name, name)
                mask = np.zeros(SIZE, np.bool_)
                if labels.get(label) == 1:
                    # Two rectangles of an opacity are two polygons of one finding.
                    shapes = [(4 + i, 6, 20, 18)] + [(28, 30, 34, 41)] * (i == 0)
                    for top, left, bottom, right in shapes:
                        mask[top : bottom + 1, left : right + 1] = True
                    drawn[name] = [
                        [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
                        for y1, x1, y2, x2 in shapes
                    ]
                encoded[name] = {"size": list(SIZE), "counts": compressed(mask)}
            polygons[key], lengths[key] = drawn, encoded
        (masks / f"gt_annotations_{split}.json").write_text(json.dumps(polygons))
        (masks / f"gt_segmentations_{split}.json").write_text(json.dumps(lengths))


def compressed(mask: npt.NDArray[np.bool_]) -> str:
    """A mask as COCO's tools write it: run lengths in six bits of a character."""
    flat = mask.T.ravel()
    counts = [len(list(run)) for _, run in groupby(flat)]
    return _packed([0, *counts] if flat[0] else counts)


def _packed(counts: Sequence[int]) -> str:
    text = ""
    for i, count in enumerate(counts):
        rest = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            code = rest & 0x1F
            rest >>= 5
            more = rest != (-1 if code & 0x10 else 0)
            text += chr((code | 0x20 if more else code) + 48)
    return text

"""CheXlocalize: CheXpert's validation and test images with masks of ten findings.

Layout, as unpacked or with the root one folder further down::

    CheXpert/val_labels.csv, CheXpert/test_labels.csv
    CheXpert/{val,test}/patient#####/study#/view#_{frontal,lateral}.jpg    # full size
    CheXlocalize/gt_segmentations_{val,test}.json    # COCO run lengths, ten per image
    CheXlocalize/gt_annotations_{val,test}.json      # the polygons they were made of

234 images of 200 patients and 668 of 500. The tables of the masks name images
``patient#####_study#_view#_frontal`` and one finding "Airspace Opacity", which is
"Lung Opacity" here. Where only the polygons are there, they are filled. The masks fit the
full size; on images of CheXpert-v1.0-small they are made smaller with them. Human
benchmark annotations and saliency maps (``hb_*``, ``gradcam_*``) are not read.

Masks: by two radiologists, named as the labels; the empty ones are given too. Images
without a finding are not in the tables of the masks: where none of the ten is labelled
they have ten empty masks, else none.

Labels: CheXpert's fourteen (`chexpert.LABEL_NAMES`), by radiologists, all 0 or 1.

Splits: ``official`` is val and test. There is nothing to train on: train on CheXpert,
whose validation and test images these are.

Access: registration and research-use agreement (Stanford AIMI). Cite Saporta et al.,
"Benchmarking saliency methods for chest X-ray interpretation", Nature Machine
Intelligence 4, 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlp_zoo.data.chest.chexpert import LABEL_NAMES, RENAMED, Folders, read_labels
from vlp_zoo.data.records import Card, MaskRef, Record, SplitRule
from vlp_zoo.data.splits import as_released
from vlp_zoo.data.tables import first_of, shaped, without
from vlp_zoo.reading import read_json

__all__ = ["CARD", "MASK_NAMES", "read"]

MASK_NAMES = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Lung Opacity",
    "Edema",
    "Consolidation",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Support Devices",
)
"""The order of the tables of the masks."""

BASES = (".", "CheXpert", "chexlocalize/CheXpert")
SIDES = (".", "CheXlocalize", "../CheXlocalize", "chexlocalize/CheXlocalize")


def read(root: Path) -> Iterator[Record]:
    """Records in the order of ``val_labels.csv``, then of ``test_labels.csv``.

    Args:
        root: Folder with ``CheXpert`` and ``CheXlocalize``, or the first of the two.

    Raises:
        DatasetNotFoundError: If both label tables, a column, all images or all masks are
            missing.
        ConfigError: If a table of masks cannot be read.
    """
    folders = Folders(root)
    records: list[Record] = []
    masked = False
    for split in ("val", "test"):
        path = first_of(root, [f"{base}/{split}_labels.csv" for base in BASES])
        # Either half is of use without the other.
        if path is None:
            continue
        masks = _masks(root, split)
        masked |= masks is not None
        records += [
            record if masks is None else replace(record, masks=_masks_of(record, masks))
            for record in read_labels(path, folders)
        ]
    if not records or not any(record.image.is_file() for record in records):
        example = "CheXpert/test/patient64741/study1/view1_frontal.jpg"
        what = f"CheXpert/test_labels.csv and images such as {example}"
        way = "give the folder that holds CheXpert and CheXlocalize: --data.root"
        raise without(what, root, way)
    if not masked:
        what = "CheXlocalize/gt_segmentations_test.json or gt_annotations_test.json"
        way = (
            "put the folder CheXlocalize there; or use the data set chexpert, no masks"
        )
        raise without(what, root, way)
    yield from records


def _masks_of(
    record: Record, masks: Mapping[str, tuple[MaskRef, ...]]
) -> tuple[MaskRef, ...]:
    _, patient, study, view = record.uid.split("/")
    found = masks.get(f"{patient}_{study}_{view}")
    if found is not None:
        return found
    labels = dict(zip(LABEL_NAMES, record.labels, strict=True))
    if any(labels[name] == 1 for name in MASK_NAMES):
        return ()
    return tuple(_empty(name, None) for name in MASK_NAMES)


def _empty(name: str, size: tuple[int, int] | None) -> MaskRef:
    return MaskRef(name, "rle_relative", "-1", size=size)


def _masks(root: Path, split: str) -> dict[str, tuple[MaskRef, ...]] | None:
    """Masks by ``patient_study_view``; None where their table is not there."""
    for kind, parse in (("segmentations", _run_lengths), ("annotations", _polygons)):
        places = (root / side / f"gt_{kind}_{split}.json" for side in SIDES)
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            continue
        masks = read_json(path)
        with shaped(f"{kind} of CheXlocalize", path):
            return {str(key): parse(value) for key, value in masks.items()}
    return None


def _run_lengths(entry: Mapping[str, Any]) -> tuple[MaskRef, ...]:
    masks = []
    for name, mask in entry.items():
        height, width = (int(side) for side in mask["size"])
        ref = {"size": [height, width], "counts": mask["counts"]}
        name = RENAMED.get(name, name)
        masks.append(MaskRef(name, "rle_coco", ref, size=(height, width)))
    return tuple(masks)


def _polygons(entry: Mapping[str, Any]) -> tuple[MaskRef, ...]:
    height, width = (int(side) for side in entry["img_size"])
    masks = []
    drawn = {
        RENAMED.get(k, k): shapes for k, shapes in entry.items() if k != "img_size"
    }
    for name in MASK_NAMES:
        shapes = drawn.get(name, [])
        masks += [
            MaskRef(name, "polygon", shape, size=(height, width)) for shape in shapes
        ]
        if not shapes:
            masks.append(_empty(name, (height, width)))
    return tuple(masks)


CARD = Card(
    name="chexlocalize",
    title="CheXlocalize",
    domain="chest",
    read=read,
    label_names=LABEL_NAMES,
    gives=("labels", "masks"),
    patients="true",
    markers=(
        "CheXlocalize/gt_*.json",
        "gt_*.json",
        "test_labels.csv",
        "chexlocalize/CheXlocalize/gt_*.json",
    ),
    access="registration with Stanford AIMI",
    licence="Stanford research-use agreement, non-commercial",
    citation="Saporta et al., CheXlocalize, Nature Machine Intelligence 2022",
    splits={
        "official": SplitRule(
            as_released,
            level="patient",
            source="released val and test; there are no training images",
            counts={"val": 234, "test": 668},
        ),
    },
    overlaps=("chexpert",),
)

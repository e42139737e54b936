"""VinDr-CXR: 18,000 frontal images of two Hanoi hospitals, read by 17 radiologists.

Layout of PhysioNet 1.0.0::

    train/<image_id>.dicom         # 15,000, three readers each
    test/<image_id>.dicom          # 3,000, consensus of five readers
    annotations/annotations_train.csv, annotations/annotations_test.csv    # boxes
    annotations/image_labels_train.csv, annotations/image_labels_test.csv

and of Kaggle's VinBigData challenge, which has the same 15,000 training images::

    train/<image_id>.dicom
    train.csv                      # one row per reader and box, 14 of the findings

The four tables may also lie in the root, and images may be PNG or JPEG; boxes are in
pixels of the DICOM file. Where ``train_meta.csv`` (image_id, dim0, dim1: height and
width), as packs of smaller copies have it, says its size, boxes are brought to the copy;
without it they fit only copies of the same size. Kaggle's test images have no labels and
are not listed.

Labels: the 28 columns of ``image_labels_train.csv`` in its order, 22 of them local and
six global. The test tables say "Other disease" where the training tables say "Other
diseases", which is the name here. Kaggle's pack knows 14 findings and "No finding";
the others are not stated there (NaN). Nothing is marked uncertain, but readers
disagree: `read` and `card` take ``votes``. The default, ``"union"``, counts a finding
that any reader saw, as most published numbers do; ``"majority"`` and ``"consensus"``
ask for more than half and for all of the readers, a number for that many of them. "No
finding" under union asks that nobody found anything. Boxes of all readers are kept for
the findings that pass, and how many readers saw what is in ``facts["votes"]``.

Splits: ``official`` is the released pair with validation images drawn from the first by
`canonical`'s rule; ``cxr_clip`` holds out a fifth of the training images with seed 0.
BenchX's 12,000 / 3,000 / 3,000 (stratified, seed 42) is a list whose row order is not
known, and not here. Patients are not released: no split can keep them apart.

Access: credentialed (PhysioNet), or the rules of the Kaggle challenge. Cite Nguyen et
al., "VinDr-CXR: An open dataset of chest X-rays with radiologist's annotations",
Scientific Data 9:429, 2022.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from vlp_zoo.data.chest.radiographs import files_by_stem, fitted, split_once
from vlp_zoo.data.records import Card, Record, SplitRule
from vlp_zoo.data.splits import released
from vlp_zoo.data.tables import Row, find_one, first_of, read_rows, without
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.types import Box

__all__ = ["CARD", "LABEL_NAMES", "Votes", "card", "read"]

logger = logging.getLogger(__name__)

LABEL_NAMES = (
    "Aortic enlargement",
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Clavicle fracture",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Enlarged PA",
    "ILD",
    "Infiltration",
    "Lung Opacity",
    "Lung cavity",
    "Lung cyst",
    "Mediastinal shift",
    "Nodule/Mass",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary fibrosis",
    "Rib fracture",
    "Other lesion",
    "COPD",
    "Lung tumor",
    "Pneumonia",
    "Tuberculosis",
    "Other diseases",
    "No finding",
)
"""Local findings, then global ones, in the order of the training table."""

NORMAL = "No finding"
RENAMED = {"Other disease": "Other diseases"}
"""The test tables spell one label otherwise."""

KAGGLE_NAMES = (
    "Aortic enlargement",
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Consolidation",
    "ILD",
    "Infiltration",
    "Lung Opacity",
    "Nodule/Mass",
    "Other lesion",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary fibrosis",
    "No finding",
)
"""What the challenge's table can say, in the order of its ``class_id``."""

Votes = Literal["union", "majority", "consensus"] | int
CORNERS = ("x_min", "y_min", "x_max", "y_max")


@dataclass
class _Image:
    """What the readers said of one image."""

    row: int
    split: str
    readers: set[str] = field(default_factory=set)
    seen: dict[str, set[str]] = field(default_factory=dict)
    boxes: list[Box] = field(default_factory=list)

    def says(self, reader: str, finding: str) -> None:
        self.readers.add(reader)
        self.seen.setdefault(finding, set()).add(reader)


def read(root: Path, *, votes: Votes = "union") -> Iterator[Record]:
    """Records in the order in which the tables first name an image, training first.

    Args:
        root: Folder with ``annotations``, or with Kaggle's ``train.csv``.
        votes: How many readers must have seen a finding: ``"union"`` (one),
            ``"majority"``, ``"consensus"`` (all), or a number. The test set has one
            consensus reading, so any choice gives the same there.

    Raises:
        DatasetNotFoundError: If tables, columns or all images are missing, or a table
            names a finding that the data set does not have.
        ConfigError: If ``votes`` is another word or below 1.
    """
    _needed(votes, 1)
    base = next((b for b in (root / "annotations", root) if _is_physionet(b)), None)
    images = _kaggle(root) if base is None else _physionet(base)
    names: tuple[str, ...] = KAGGLE_NAMES if base is None else LABEL_NAMES
    files = _files(root)
    sizes = _sizes(root)
    for uid, image in images.items():
        enough = _needed(votes, len(image.readers))
        counts = {name: len(image.seen.get(name, ())) for name in names}
        positive = {n for n, count in counts.items() if count >= enough}
        # Who found something overrules who did not.
        if votes == "union" and counts.get(NORMAL, 0) < len(image.readers):
            positive.discard(NORMAL)
        folder = "test" if image.split == "test" else "train"
        file = files.get((folder, uid)) or root / folder / f"{uid}.dicom"
        boxes = tuple(box for box in image.boxes if box.name in positive)
        size = sizes.get(uid)
        yield Record(
            uid=uid,
            image=file,
            split=image.split,
            labels=tuple(
                float(name in positive) if name in names else float("nan")
                for name in LABEL_NAMES
            ),
            boxes=boxes if size is None else fitted(boxes, size, file),
            row=image.row,
            facts={
                "readers": len(image.readers),
                "votes": {n: count for n, count in counts.items() if count},
            },
        )


def card(votes: Votes) -> Card:
    """The card of the data set with another way to join the readers.

    Args:
        votes: How many readers must have seen a finding, in a word or number that
            `read` takes.
    """
    _needed(votes, 1)
    return replace(CARD, read=partial(read, votes=votes))


def _needed(votes: Votes, readers: int) -> int:
    """How many of the readers must have seen a finding."""
    if isinstance(votes, int) and votes >= 1:
        return min(votes, max(readers, 1))
    words = {"union": 1, "majority": readers // 2 + 1, "consensus": max(readers, 1)}
    if votes not in words:
        raise ConfigError(
            "union, majority, consensus or a number of readers",
            repr(votes),
            "choose one of them",
        )
    return words[str(votes)]


def _is_physionet(base: Path) -> bool:
    return any(base.glob("image_labels_t*.csv*"))


def _physionet(base: Path) -> dict[str, _Image]:
    images: dict[str, _Image] = {}
    for split in ("train", "test"):
        path = first_of(base, [f"image_labels_{split}.csv*"])
        if path is None:
            # Either half is of use without the other.
            logger.warning("VinDr-CXR: no image_labels_%s.csv in %s", split, base)
            continue
        columns = ["image_id", *LABEL_NAMES]
        for row in read_rows(path, columns, ids=["image_id"], rename=RENAMED):
            image = images.setdefault(row["image_id"], _Image(row.line, split))
            reader = row.get("rad_id") if "rad_id" in row else "consensus"
            image.readers.add(reader)
            for name, said in zip(LABEL_NAMES, row.labels(LABEL_NAMES), strict=True):
                if said == 1:
                    image.says(reader, name)
        boxes = find_one(base, [f"annotations_{split}.csv*"], "boxes of VinDr-CXR")
        for uid, found in _boxes(boxes, LABEL_NAMES).items():
            if uid not in images:
                raise DatasetNotFoundError(
                    f"the image {uid} of {boxes} in {path}",
                    "no such row",
                    "download the two tables again: they belong together",
                )
            images[uid].boxes += found
    return images


def _kaggle(root: Path) -> dict[str, _Image]:
    path = find_one(
        root,
        ["train.csv", "train.csv.gz"],
        "annotations/image_labels_train.csv of PhysioNet's VinDr-CXR or the train.csv "
        "of Kaggle's",
    )
    images: dict[str, _Image] = {}
    columns = ["image_id", "class_name", "rad_id", *CORNERS]
    for row in read_rows(path, columns, ids=["image_id"]):
        # The challenge released no labelled test set.
        image = images.setdefault(row["image_id"], _Image(row.line, ""))
        image.says(row["rad_id"], _finding(row, KAGGLE_NAMES))
    for uid, found in _boxes(path, KAGGLE_NAMES).items():
        images[uid].boxes += found
    return images


def _boxes(path: Path, names: Sequence[str]) -> dict[str, list[Box]]:
    boxes: dict[str, list[Box]] = {}
    for row in read_rows(path, ["image_id", "class_name", *CORNERS], ids=["image_id"]):
        name = _finding(row, names)
        found = boxes.setdefault(row["image_id"], [])
        # Readers who found nothing have a row without corners.
        if name != NORMAL and any(row[corner] for corner in CORNERS):
            x1, y1, x2, y2 = row.numbers(*CORNERS)
            found.append(Box(name, (x1, y1, x2, y2), "lesion"))
    return boxes


def _finding(row: Row, names: Sequence[str]) -> str:
    name = RENAMED.get(row["class_name"], row["class_name"])
    if name not in names:
        raise row.refused("a finding of VinDr-CXR", name)
    return name


def _sizes(root: Path) -> dict[str, tuple[float, float]]:
    """Image id to (height, width) of the DICOM file, where a pack of copies says it."""
    path = root / "train_meta.csv"
    if not path.is_file():
        return {}
    sizes = {}
    for row in read_rows(path, ["image_id", "dim0", "dim1"]):
        height, width = row.numbers("dim0", "dim1")
        sizes[row["image_id"]] = height, width
    return sizes


def _files(root: Path) -> Mapping[tuple[str, str], Path]:
    """(train or test, image id) to files, however they were re-encoded."""
    files = {
        (folder, stem): path
        for folder in ("train", "test")
        for stem, path in files_by_stem([root / folder]).items()
    }
    if not files:
        what = "images such as train/*.dicom (or .dcm, .png, .jpg)"
        raise without(what, root, "put the folders train and test there")
    return files


def _cxr_clip(records: Sequence[Record]) -> list[str]:
    """A fifth of the training images, in the order of their ids, by scikit-learn."""
    pool = [i for i, record in enumerate(records) if record.split != "test"]
    pool.sort(key=lambda i: records[i].uid)
    _, held_out = split_once(pool, 0.2, 0)
    val = set(held_out)
    return [
        "test" if r.split == "test" else "val" if i in val else "train"
        for i, r in enumerate(records)
    ]


CARD = Card(
    name="vindr",
    title="VinDr-CXR",
    domain="chest",
    read=read,
    label_names=LABEL_NAMES,
    gives=("labels", "boxes"),
    patients="none",
    markers=(
        "annotations/image_labels_t*.csv*",
        "image_labels_t*.csv*",
        "train/*.dicom",
    ),
    access="credentialed (PhysioNet 1.0.0), or Kaggle's VinBigData challenge",
    licence="PhysioNet credentialed health data licence 1.5.0",
    citation="Nguyen et al., VinDr-CXR, Scientific Data 2022",
    splits={
        "official": released(
            "the released test set of VinDr-CXR",
            "use PhysioNet's release (Kaggle's pack has no labelled test images), or "
            "--data.split canonical",
            level="image",
            source="released train and test; validation images by the canonical rule",
        ),
        "cxr_clip": SplitRule(
            _cxr_clip,
            level="image",
            source="CXR-CLIP (You et al., MICCAI 2023), notes on data preparation",
            counts={"train": 12_000, "val": 3_000, "test": 3_000},
        ),
    },
)

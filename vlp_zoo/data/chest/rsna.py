"""RSNA Pneumonia (stage 2): 26,684 images of ChestX-ray14 with boxes by radiologists.

Layout of the Kaggle archive::

    stage_2_train_labels.csv           # patientId, x, y, width, height, Target
    stage_2_detailed_class_info.csv    # patientId, class; optional
    stage_2_train_images/<patientId>.dcm
    pneumonia-challenge-dataset-mappings_2018.json    # RSNA's, optional

The tables may be zipped. Images may also be PNG or JPEG copies, in the same folder or
in ``images``, ``png`` or ``train``, and smaller than the original 1024 x 1024: boxes
are brought to the size of the file. A table of the DICOM headers
(``*dicom_headers*.csv``: PatientID, PatientAge, PatientSex, ViewPosition), which some
packs hold, gives views, sex and ages (those above 120 are errors: the headers go to
155); the headers themselves are not read. The 3,000 images of ``stage_2_test_images``
came without labels and are not listed.

Labels: ``Pneumonia``, the Target. ``facts["class"]`` has the class of the second table:
"Normal", "No Lung Opacity / Not Normal" or "Lung Opacity". Boxes: one per row of a
positive image, x and y of the upper left corner, width and height. Masks: the boxes,
filled; there are no others, and "RSNA segmentation" means them.

Patients: ``patientId`` is new for every *image*, so nothing published keeps patients
apart. With RSNA's mapping to ChestX-ray14 each image has the patient number of that
data set, and ``canonical`` keeps patients apart by it; without it every image is its
own group. The card says "none" because most copies lack the mapping.

Splits (all by image): ``mgca-cls`` (18,678 / 4,003 / 4,003) and ``mgca-seg`` (16,010 /
5,337 / 5,337; also ECAMP's for detection and segmentation) with seed 0, ``benchx``
(18,678 / 4,003 / 4,003, stratified) with seed 42. The three work on the ids in
lexicographic order, for both codes group the rows of the table by id first; the order
of the table is another. LoVT's lists have the counts of ``mgca-seg`` but other images,
MRM's (and ECAMP's for classification) test on the stage 2 test images; neither follows
a rule, and they are not here. Test images of one split are training images of another:
never mix them. 4,086 of the 5,337 test images of ``mgca-seg`` have no box.

Access: Kaggle, competition rules. Cite Shih et al., "Augmenting the National Institutes
of Health Chest Radiograph Dataset with Expert Annotations of Possible Pneumonia",
Radiology: Artificial Intelligence 1(1), 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vlp_zoo.data.chest.radiographs import (
    files_by_stem,
    fitted,
    lesion,
    two_step_split,
)
from vlp_zoo.data.records import Card, MaskRef, Record, SplitRule
from vlp_zoo.data.studies import canonical_view
from vlp_zoo.data.tables import (
    Row,
    find_one,
    first_of,
    number,
    read_rows,
    shaped,
    without,
)
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.reading import read_json
from vlp_zoo.types import Box

__all__ = ["CARD", "read"]

LABEL = "Pneumonia"
SIZE = (1024, 1024)
"""Height and width of every original image: the frame of the boxes."""

FOLDERS = (
    "stage_2_train_images",
    "stage_2_train_images_png",
    "stage_2_train_images_jpg",
    "images",
    "png",
    "train",
    ".",
)
OLDEST = 120
CORNERS = ("x", "y", "width", "height")


def read(root: Path) -> Iterator[Record]:
    """Records in the order in which the label table first names an image.

    Args:
        root: Folder with ``stage_2_train_labels.csv``.

    Raises:
        DatasetNotFoundError: If the label table, a column or all images are missing, or
            a Target is neither 0 nor 1.
        ConfigError: If RSNA's mapping is there and cannot be read.
    """
    path = find_one(
        root,
        ["stage_2_train_labels.csv", "stage_2_train_labels.csv.*"],
        "the label table of RSNA Pneumonia",
    )
    rows = read_rows(path, ["patientId", *CORNERS, "Target"], ids=["patientId"])
    images = files_by_stem(root / folder for folder in FOLDERS)
    if not images:
        what = "stage_2_train_images/*.dcm, or PNG or JPEG copies,"
        raise without(what, root, "unpack the images there")
    # A row per box, like the label table: the same class each time.
    table = "stage_2_detailed_class_info.csv*"
    classes = _by_patient(root, table, ["patientId", "class"])
    sources = _sources(root)
    headers = _by_patient(root, "*dicom_headers*.csv*", ["PatientID"])
    first: dict[str, int] = {}
    targets: dict[str, float] = {}
    boxes: dict[str, list[Box]] = {}
    for row in rows:
        uid, target = row["patientId"], number(row["Target"])
        if target not in (0, 1):
            raise row.refused("0 or 1 as Target", row["Target"])
        first.setdefault(uid, row.line)
        targets[uid] = max(target, targets.get(uid, 0.0))
        found = boxes.setdefault(uid, [])
        if target == 1:
            found.append(lesion(LABEL, row.numbers(*CORNERS)))
    for uid, line in first.items():
        # An image that is nowhere is named where it would be, and is rejected there.
        image = images.get(uid, root / FOLDERS[0] / f"{uid}.dcm")
        header = headers.get(uid)
        patient, facts = uid, _person(header)
        if uid in classes:
            facts["class"] = classes[uid]["class"]
        if uid in sources:
            facts["nih14"] = sources[uid]
            # 00000013_005.png is the sixth image of patient 13.
            patient = sources[uid].split("_")[0].lstrip("0")
        yield Record(
            uid=uid,
            image=image,
            patient_id=patient,
            view=canonical_view(header.get("ViewPosition")) if header else None,
            labels=(targets[uid],),
            boxes=fitted(boxes[uid], SIZE, image),
            masks=_masks(boxes[uid]),
            row=line,
            facts=facts,
        )


def _masks(boxes: Sequence[Box]) -> tuple[MaskRef, ...]:
    if not boxes:
        return (MaskRef(LABEL, "rle_relative", "-1", size=SIZE),)
    return tuple(MaskRef(LABEL, "rectangle", box.xyxy, size=SIZE) for box in boxes)


def _person(header: Row | None) -> dict[str, Any]:
    if header is None:
        return {}
    age = number(header.get("PatientAge").rstrip("Y"))
    return {
        "sex": header.get("PatientSex"),
        "age": age if age <= OLDEST else float("nan"),
    }


def _by_patient(root: Path, pattern: str, columns: Sequence[str]) -> dict[str, Row]:
    """Lines of an optional table by their first column, the patient."""
    path = first_of(root, (pattern,))
    rows = read_rows(path, columns) if path is not None else []
    return {row[columns[0]]: row for row in rows}


def _sources(root: Path) -> dict[str, str]:
    """Ids to file names of ChestX-ray14."""
    path = first_of(root, ("*dataset-mappings*.json",))
    if path is None:
        return {}
    entries = read_json(path)
    with shaped("a list of subset_img_id and img_id", path):
        return {str(entry["subset_img_id"]): str(entry["img_id"]) for entry in entries}


def _by_id(
    held_out: float, seed: int, *, test_first: bool, stratified: bool = False
) -> Callable[[Sequence[Record]], list[str]]:
    """A two-step split of the sorted ids; see the head of this module."""

    def assign(records: Sequence[Record]) -> list[str]:
        order = sorted(range(len(records)), key=lambda i: records[i].uid)
        splits = two_step_split(
            len(order),
            held_out=held_out,
            seed=seed,
            test_first=test_first,
            strata=[int(records[i].labels[0]) for i in order] if stratified else None,
        )
        return [split for _, split in sorted(zip(order, splits, strict=True))]

    return assign


def _mgca_seg(records: Sequence[Record]) -> list[str]:
    held_out = 2 * 5337
    if len(records) <= held_out:
        raise DatasetNotFoundError(
            f"more than {held_out} images of RSNA Pneumonia for the split mgca-seg",
            f"{len(records)}",
            "use the complete release, or --data.split canonical",
        )
    return _by_id(held_out, 0, test_first=True)(records)


PATIENTS = "images of one patient are on different sides"

CARD = Card(
    name="rsna",
    title="RSNA Pneumonia",
    domain="chest",
    read=read,
    label_names=(LABEL,),
    gives=("labels", "boxes", "masks"),
    patients="none",
    markers=("stage_2_train_labels.csv*",),
    access="Kaggle, RSNA Pneumonia Detection Challenge (2018)",
    licence="competition rules and RSNA's terms; non-commercial research",
    citation="Shih et al., Radiology: Artificial Intelligence 2019",
    splits={
        "mgca-cls": SplitRule(
            _by_id(0.3, 0, test_first=True),
            level="image",
            source="MGCA (HKU-MedAI/MGCA @4075a69), preprocess/rsna.py, classification",
            counts={"train": 18_678, "val": 4_003, "test": 4_003},
            sha256="ba598b05bc4eedd41b5a6059831d0b29a0f7fbb551d060e861850a2e0708ff47",
            issues=(PATIENTS,),
            legacy=True,
        ),
        "mgca-seg": SplitRule(
            _mgca_seg,
            level="image",
            source="MGCA (HKU-MedAI/MGCA @4075a69), preprocess/rsna.py, detection",
            counts={"train": 16_010, "val": 5_337, "test": 5_337},
            sha256="49fb58fbdb85a89cebfde5fe838d68c3cb743dbb8a08ea7e17b64eb4a6863524",
            issues=(
                PATIENTS,
                "where empty on empty counts as 1, empty masks have a Dice of 0.766",
            ),
            legacy=True,
        ),
        "benchx": SplitRule(
            _by_id(0.3, 42, test_first=False, stratified=True),
            level="image",
            source="BenchX (yangzhou12/BenchX @e5f5c24), preprocess_rsna.py",
            counts={"train": 18_678, "val": 4_003, "test": 4_003},
            sha256="d2b8fda46d8b96645b4a645cdda42a0e78c67f69a88a960801e04220082ab5a0",
            issues=(PATIENTS,),
            legacy=True,
        ),
    },
    overlaps=("nih14", "siim", "covidx"),
)

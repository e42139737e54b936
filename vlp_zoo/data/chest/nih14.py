"""NIH ChestX-ray14: 112,120 frontal images of 30,805 patients, 14 findings mined from reports.

Layout::

    Data_Entry_2017_v2020.csv      # or Data_Entry_2017.csv, whose ages can be impossible
    BBox_List_2017.csv             # 984 boxes on 880 images, 8 findings
    train_val_list.txt, test_list.txt
    images_001/images/*.png ... images_012/images/*.png, or images/*.png

Images are 1024 x 1024 PNG, 8 bit, some of them RGBA. There are no lateral views.

Labels: findings as written in the table, 1 where named and 0 where not; "No Finding"
is the absence of all and no column here. They are mined from reports that were never
released, and nothing is marked uncertain.

Splits: ``official`` is the released pair of lists (patient-disjoint; 86,524 and 25,596
images), with validation patients drawn from the first by `canonical`'s rule.
Numbers on it never compare with those on the lists of MRM, ECAMP and BenchX, whose
training part holds 17,920 images of the official test set; those lists have no rule
that could be regenerated, and are not here.

Access: open, attribution asked for. Cite Wang et al., "ChestX-ray8: Hospital-scale
Chest X-ray Database and Benchmarks", CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vlp_zoo.data.chest.radiographs import fitted, frame_of, lesion
from vlp_zoo.data.records import Card, Record
from vlp_zoo.data.splits import released
from vlp_zoo.data.studies import canonical_view
from vlp_zoo.data.tables import check_join, find_one, number, read_rows
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.reading import read_text
from vlp_zoo.types import Box

__all__ = ["CARD", "LABEL_NAMES", "read"]

LABEL_NAMES = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
"""The order of the data set's paper and of most code that followed it."""

BOX_NAMES = {"Infiltrate": "Infiltration"}
"""The box table spells one finding otherwise than the label table."""

SIZE = (1024, 1024)
"""Height and width of every published image: the frame of the boxes."""

OLDEST = 120
"""Years; the 2017 table has ages above 400."""


def read(root: Path) -> Iterator[Record]:
    """Records in the order of the label table.

    Args:
        root: Folder with ``Data_Entry_2017_v2020.csv``.

    Raises:
        DatasetNotFoundError: If the table, its columns or all images are missing.
    """
    path = find_one(
        root,
        ["Data_Entry_2017_v2020.csv", "Data_Entry_2017*.csv", "Data_Entry*.csv"],
        "the label table of ChestX-ray14",
    )
    rows = read_rows(
        path, ["Image Index", "Finding Labels", "Patient ID"], ids=["Patient ID"]
    )
    images = _images(root)
    boxes = _boxes(root)
    released = _released(root)
    if released:
        names = [row["Image Index"] for row in rows]
        check_join(names, released, "splits of images", "the released lists")
    for row in rows:
        name, findings = row["Image Index"], row["Finding Labels"]
        # Some copies of the table write the underscore as a blank.
        found = {
            finding.strip().replace("Pleural Thickening", "Pleural_Thickening")
            for finding in findings.split("|")
        }
        if found - {*LABEL_NAMES, "No Finding"}:
            raise row.refused("findings of ChestX-ray14", findings)
        age = number(row.get("Patient Age").strip("Y"))
        follow_up = row.get("Follow-up #") if "Follow-up #" in row else name
        yield Record(
            uid=name,
            # An image that is nowhere is named where it would be, and is rejected there.
            image=images.get(name, root / "images" / name),
            patient_id=row["Patient ID"],
            study_id=f"{row['Patient ID']}-{follow_up}",
            view=canonical_view(row.get("View Position")),
            split=released.get(name, ""),
            labels=tuple(float(label in found) for label in LABEL_NAMES),
            boxes=_in_pixels_of(images.get(name), boxes.get(name, ())),
            row=row.line,
            facts={
                "sex": row.get("Patient Gender"),
                "age": age if age <= OLDEST else float("nan"),
            },
        )


def _images(root: Path) -> dict[str, Path]:
    """File names to files, however the twelve archives were unpacked."""
    patterns = ("images", "images_*/images", "images_*", "images-*")
    folders = [folder for p in patterns for folder in sorted(root.glob(p))]
    images: dict[str, Path] = {}
    for folder in [*folders, root]:
        for path in folder.glob("*.png"):
            images.setdefault(path.name, path)
    if not images:
        raise DatasetNotFoundError(
            f"*.png in images or images_0*/images of {root}",
            "none",
            "unpack the image archives there",
        )
    return images


def _in_pixels_of(image: Path | None, boxes: tuple[Box, ...]) -> tuple[Box, ...]:
    """Boxes on a copy that was made smaller; all images are square."""
    frame = frame_of(image) if image is not None and boxes else None
    if image is None or frame is None or frame[0] != frame[1]:
        return boxes
    return fitted(boxes, SIZE, image)


def _boxes(root: Path) -> dict[str, tuple[Box, ...]]:
    path = root / "BBox_List_2017.csv"
    if not path.exists():
        return {}
    boxes: dict[str, tuple[Box, ...]] = {}
    # The heading "Bbox [x, y, w, h]" holds unquoted commas: four columns by position.
    for row in read_rows(path, ["Image Index", "Finding Label"]):
        name, finding = row["Image Index"], row["Finding Label"]
        corner = map(number, row.cells[2:6])
        box = lesion(BOX_NAMES.get(finding, finding), corner)
        boxes[name] = (*boxes.get(name, ()), box)
    return boxes


def _released(root: Path) -> dict[str, str]:
    splits: dict[str, str] = {}
    for file, split in (("train_val_list.txt", "train"), ("test_list.txt", "test")):
        path = root / file
        if path.exists():
            # Some copies have blanks at line ends, and none at the end of the file.
            names = read_text(path, "the list").split()
            splits |= dict.fromkeys(names, split)
    return splits


CARD = Card(
    name="nih14",
    title="NIH ChestX-ray14",
    domain="chest",
    read=read,
    label_names=LABEL_NAMES,
    gives=("labels", "boxes"),
    patients="true",
    markers=("Data_Entry_2017*.csv",),
    access="open download, NIH Clinical Center",
    licence="no restriction; attribution and a link",
    citation="Wang et al., ChestX-ray8, CVPR 2017",
    splits={
        "official": released(
            "train_val_list.txt and test_list.txt of ChestX-ray14",
            "put the two lists beside the table, or use --data.split canonical",
            level="patient",
            source="released lists; validation patients by the canonical rule",
        ),
    },
    overlaps=("rsna", "siim", "covidx"),
)

"""MS-CXR: 1,162 phrases of MIMIC-CXR reports with boxes on the image they are about.

Layout (PhysioNet; 1.1.0 added the column ``split``)::

    MS_CXR_Local_Alignment_v1.1.0.csv, ....json    # v1.0.0 is read too

and, as the images are MIMIC-CXR-JPG's and not part of it, one of::

    files/p10/p10000032/s50414267/<dicom_id>.jpg   # in the same folder
    mimic-cxr-jpg/2.1.0/files/p10/...              # beside or below, as PhysioNet has it

The folder ``files`` may be left out, images may be PNG, and smaller than the original:
boxes are brought from the table's ``image_width`` and ``image_height`` to the size of
the file. The JSON table (in COCO's manner) is read where there is no CSV.

One record is one phrase on one image: ``text`` is the phrase, ``boxes`` are all of its
boxes, named by category. An image can be in several records; its uid has the phrase's
number on that image, in the order of the table.

Labels: the eight categories, 1 for those of the phrase; a phrase says nothing of the
others (NaN). Patients and examinations are MIMIC-CXR's. Views are not in the table.

Splits: ``official`` is the column of 1.1.0. It is not MIMIC-CXR's: most images are
*training* images there, so a model that was pre-trained on MIMIC-CXR has seen image and
sentence. Take the 851 patients out of pre-training, or report those in MIMIC-CXR's
training split apart.

Access: credentialed (PhysioNet). Cite Boecking et al., "Making the Most of Text
Semantics to Improve Biomedical Vision-Language Processing", ECCV 2022.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vlp_zoo.data.chest.radiographs import first_layout, fitted, lesion
from vlp_zoo.data.records import Card, Record
from vlp_zoo.data.splits import canonical_split, released
from vlp_zoo.data.tables import Row, find_one, read_rows, shaped, without
from vlp_zoo.reading import read_json
from vlp_zoo.types import Box, Report

__all__ = ["CARD", "LABEL_NAMES", "read"]

LABEL_NAMES = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Lung Opacity",
    "Pleural Effusion",
    "Pneumonia",
    "Pneumothorax",
)
TABLES = ("MS_CXR_Local_Alignment_v1.1*", "MS_CXR_Local_Alignment_v1*")
COLUMNS = (
    *("dicom_id", "category_name", "label_text", "path", "x", "y", "w", "h"),
    *("image_width", "image_height"),
)
IN_PATH = re.compile(r"(?:^|/)p\d\d/p(\d+)/s(\d+)/[^/]+$")
SUFFIXES = (".jpg", ".png", ".jpeg")


@dataclass
class _Phrase:
    """All rows of one phrase on one image."""

    row: int
    path: str
    split: str
    size: tuple[float, float]
    boxes: list[Box] = field(default_factory=list)


def read(root: Path) -> Iterator[Record]:
    """Records in the order in which the table first has a phrase on an image.

    Args:
        root: Folder with ``MS_CXR_Local_Alignment_v1.1.0.csv``.

    Raises:
        DatasetNotFoundError: If the table, a column or all images are missing, or a
            category or a path is none of MS-CXR.
        ConfigError: If only the JSON table is there and cannot be read.
    """
    names = [f"{base}{table}.csv" for base in ("", "ms-cxr*/**/") for table in TABLES]
    names += [name.replace(".csv", ".json") for name in names]
    table = find_one(root, names, "the table of MS-CXR")
    rows = read_rows(table, COLUMNS) if table.suffix == ".csv" else _json_rows(table)
    phrases: dict[tuple[str, str], _Phrase] = {}
    for row in rows:
        text, category = row["label_text"], row["category_name"]
        path = row["path"].replace("\\", "/")
        if category not in LABEL_NAMES or not IN_PATH.search(path):
            what = "a category of MS-CXR and a path of MIMIC-CXR"
            raise row.refused(what, f"{category}, {path}")
        height, width = row.numbers("image_height", "image_width")
        split = canonical_split(row.get("split")) or ""
        phrase = phrases.setdefault(
            (row["dicom_id"], text), _Phrase(row.line, path, split, (height, width))
        )
        phrase.boxes.append(lesion(category, row.numbers(*"xywh")))
    base, suffix = _images(root, [phrase.path for phrase in phrases.values()])
    count: dict[str, int] = {}
    for (dicom, text), phrase in phrases.items():
        count[dicom] = count.get(dicom, -1) + 1
        found = IN_PATH.search(phrase.path)
        patient, study = found.groups() if found else ("", "")
        image = base / f"{_stem(phrase.path)}{suffix}"
        said = {box.name for box in phrase.boxes}
        yield Record(
            uid=f"{dicom}/{count[dicom]}",
            image=image,
            patient_id=patient,
            study_id=study,
            text=Report(text, findings=text),
            split=phrase.split,
            labels=tuple(1.0 if name in said else float("nan") for name in LABEL_NAMES),
            boxes=fitted(phrase.boxes, phrase.size, image),
            row=phrase.row,
            facts={"dicom_id": dicom},
        )


def _json_rows(path: Path) -> list[Row]:
    """The JSON table, entry by entry, under the headings of the CSV table."""
    content = read_json(path)
    with shaped("images, categories and annotations with label_text", path):
        images = {entry["id"]: entry for entry in content["images"]}
        categories = {entry["id"]: entry["name"] for entry in content["categories"]}
        lines = []
        for entry in content["annotations"]:
            image = images[entry["image_id"]]
            x, y, w, h = entry["bbox"]
            said = (categories[entry["category_id"]], entry["label_text"])
            cells = (Path(image["file_name"]).stem, *said, image["path"], x, y, w, h)
            size = (image["width"], image["height"])
            lines.append((*cells, *size, entry.get("split", "")))
    headings = {name: place for place, name in enumerate((*COLUMNS, "split"))}
    return [Row(headings, cells, line, path) for line, cells in enumerate(lines, 1)]


def _images(root: Path, paths: Sequence[str]) -> tuple[Path, str]:
    """The folder that holds the images, with or without ``files``, and their ending."""
    bases = [root]
    # PhysioNet's tree: <project>/<version>/files below one folder.
    for near in (root, root.parent, root.parent.parent):
        for pattern in ("mimic-cxr-jpg*", "mimic-cxr-jpg*/2.*"):
            bases += sorted(near.glob(pattern), reverse=True)
    folders = [folder for base in bases for folder in (base / "files", base)]
    if found := first_layout(folders, SUFFIXES, list(map(_stem, paths))):
        return found
    raise without(
        f"images of MIMIC-CXR-JPG such as {paths[0]}, here or in mimic-cxr-jpg beside,",
        root,
        "put MIMIC-CXR-JPG or a link to it there, named mimic-cxr-jpg",
    )


def _stem(path: str) -> str:
    """A path without the folder ``files`` and without its ending."""
    return path.removeprefix("files/").rpartition(".")[0]


CARD = Card(
    name="ms_cxr",
    title="MS-CXR",
    domain="chest",
    read=read,
    label_names=LABEL_NAMES,
    gives=("reports", "labels", "boxes"),
    patients="true",
    markers=("MS_CXR_Local_Alignment_v1*", "ms-cxr*/**/MS_CXR_Local_Alignment_v1*"),
    access="credentialed (PhysioNet), together with MIMIC-CXR-JPG",
    licence="PhysioNet credentialed health data licence 1.5.0",
    citation="Boecking et al., ECCV 2022",
    splits={
        "official": released(
            "the column split of MS_CXR_Local_Alignment_v1.1.0.csv",
            "take release 1.1.0, or use --data.split canonical",
            level="image",
            source="the column split of release 1.1.0",
            issues=("it is not MIMIC-CXR's: most images are training images there",),
        ),
    },
    overlaps=("mimic_cxr",),
)

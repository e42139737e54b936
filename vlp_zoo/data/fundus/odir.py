"""ODIR-5K: both eyes of 3,500 Chinese patients, eight kinds of finding, keywords.

Layout, one of::

    full_df.csv                                        # Kaggle pack, a row per eye
    preprocessed_images/<ID>_{left,right}.jpg          # 512 x 512
    ODIR-5K/ODIR-5K/Training Images/<ID>_{left,right}.jpg

    ODIR-5K_Training_Annotations(Updated)_V2.xlsx      # official, a row per patient
    ODIR-5K_Training_Dataset/<ID>_{left,right}.jpg

The spreadsheet is read where there is no ``full_df.csv`` (it needs openpyxl). The Kaggle
table has 6,392 of the 7,000 eyes.

Labels: the columns N to O of the tables are per *patient*; an eye would inherit the
disease of the other. Here they are per eye, from that eye's keywords (which a
full-width comma parts): the keyword of a class sets it, "suspected" or "suspicious" in front makes it
-1 (uncertain), a keyword of no class sets ``other``. Remarks on the picture (lens dust,
low quality, ...) say nothing of the eye: an eye with nothing else has no labels (NaN),
nor has one whose picture shows no fundus. The patient's columns are in
``facts["patient_labels"]``, the single class that Kaggle's pack gives the eye in
``facts["kaggle_label"]``. Order: that of the columns N to O.

Text: the keywords of the eye as a sentence.

Splits: none was released with labels. ECAMP's lists are by image (861 of 1,279 test
images have the other eye in training) and follow no rule; they are not here.

Access: registration with the ODIR-2019 challenge, or Kaggle. Cite Li et al., "A
Benchmark of Ocular Disease Intelligent Recognition", Bench 2020.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlp_zoo.data.fundus.photographs import Photographs, bare
from vlp_zoo.data.records import Card, Record
from vlp_zoo.data.tables import Row, find_one, number, read_rows

__all__ = ["CARD", "LABEL_NAMES", "eye_labels", "read"]

LABEL_NAMES = (
    "normal",
    "diabetic retinopathy",
    "glaucoma",
    "cataract",
    "age-related macular degeneration",
    "hypertensive retinopathy",
    "pathological myopia",
    "other",
)
LETTERS = "NDGCAHMO"
"""The columns of the tables, in the order of `LABEL_NAMES`."""

WORDS = (
    (0, r"normal fundus"),
    (1, r"diabetic|proliferative"),
    (2, r"glaucoma"),
    (3, r"cataract"),
    (4, r"macular degeneration"),
    (5, r"hypertensive"),
    (6, r"myopi"),
)
"""Class and what its keywords have in common, in all their spellings."""

REMARKS = {
    "lens dust",
    "optic disk photographically invisible",
    "low image quality",
    "image offset",
}
NO_FUNDUS = {"anterior segment image", "no fundus image"}
FOLDERS = (
    "preprocessed_images",
    "ODIR-5K/ODIR-5K/Training Images",
    "ODIR-5K/Training Images",
    "Training Images",
    "ODIR-5K_Training_Dataset",
    "ODIR-5K_Training_Images",
)


def read(root: Path) -> Iterator[Record]:
    """Records in the order of the table, left before right.

    Args:
        root: Folder with ``full_df.csv`` or the official spreadsheet.

    Raises:
        DatasetNotFoundError: If the table or a column is missing, or a row belongs to
            neither eye.
        DependencyNotFoundError: If only the spreadsheet is there, and no openpyxl.
    """
    path = find_one(
        root,
        [
            "full_df.csv",
            "*Training_Annotations*.xlsx",
            "ODIR-5K/ODIR-5K/data.xlsx",
            "ODIR-5K/data.xlsx",
            "data.xlsx",
        ],
        "the annotations of ODIR-5K",
    )
    columns = ["ID"]
    for side in ("Left", "Right"):
        columns += [f"{side}-Fundus", f"{side}-Diagnostic Keywords"]
    per_eye = path.suffix == ".csv"
    columns += ["filename"] if per_eye else []
    images = Photographs(root / folder for folder in FOLDERS)
    for row in read_rows(path, columns, ids=["ID"]):
        eyes = {bare(row[f"{side}-Fundus"]): side for side in ("Left", "Right")}
        if per_eye:
            name = bare(row["filename"])
            if name not in eyes:
                way = f"its eyes are {', '.join(eyes)}; download the table again"
                raise row.refused("a left or right eye", name, way)
            eyes = {name: eyes[name]}
        for name, side in eyes.items():
            image = images.find(name) or root / FOLDERS[0] / f"{name}.jpg"
            yield _record(row, name, side, image)


def _record(row: Row, name: str, side: str, image: Path) -> Record:
    keywords = _keywords(row[f"{side}-Diagnostic Keywords"])
    facts: dict[str, Any] = {
        "eye": side.lower(),
        "age": number(row.get("Patient Age")),
        "sex": row.get("Patient Sex"),
        "keywords": tuple(keywords),
        "fundus": not NO_FUNDUS & set(keywords),
        "patient_labels": tuple(
            label
            for label, stated in zip(LABEL_NAMES, row.numbers(*LETTERS), strict=True)
            if stated == 1
        ),
    }
    if "labels" in row:
        facts["kaggle_label"] = row["labels"].strip("[]' ")
    sentence = ", ".join(keywords)
    return Record(
        uid=name,
        image=image,
        patient_id=row["ID"],
        study_id=row["ID"],
        text=f"{sentence[:1].upper()}{sentence[1:]}." if sentence else "",
        labels=eye_labels(keywords),
        row=row.line,
        facts=facts,
    )


def _keywords(cell: str) -> list[str]:
    words = [word.strip().lower() for word in re.split("[\uff0c,]", cell)]
    return [word for word in words if word]


def eye_labels(keywords: list[str]) -> tuple[float, ...]:
    """Labels of one eye from its keywords, in the order of `LABEL_NAMES`.

    Example:
        >>> eye_labels(["lens dust", "suspected glaucoma", "drusen"])
        (0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    """
    telling = [word for word in keywords if word not in REMARKS]
    if not telling or NO_FUNDUS & set(telling):
        return (float("nan"),) * len(LABEL_NAMES)
    values = [0.0] * len(LABEL_NAMES)
    for word in telling:
        classes = [k for k, pattern in WORDS if re.search(pattern, word)]
        for k in classes or [len(LABEL_NAMES) - 1]:
            if not word.startswith("susp"):
                values[k] = 1.0
            elif values[k] == 0.0:
                values[k] = -1.0
    return tuple(values)


CARD = Card(
    name="odir",
    title="ODIR-5K",
    domain="fundus",
    read=read,
    label_names=LABEL_NAMES,
    gives=("reports", "labels"),
    patients="true",
    markers=("full_df.csv", "*Training_Annotations*.xlsx", "ODIR-5K/**/data.xlsx"),
    access="registration with the challenge, or Kaggle",
    licence="research use",
    citation="Li et al., A Benchmark of Ocular Disease Intelligent Recognition, 2020",
    overlaps=("flair",),
)

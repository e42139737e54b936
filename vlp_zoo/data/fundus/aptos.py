"""APTOS-2019: 3,662 fundus photographs of an Indian hospital, graded 0 to 4.

Layout (Kaggle, "APTOS 2019 Blindness Detection")::

    train.csv                      # id_code, diagnosis
    train_images/<id_code>.png
    test.csv, test_images/         # never labelled: not read

Also read: the re-pack with ``train_1.csv``, ``valid.csv`` and ``test.csv``, all three
labelled, and ``{train,val,test}_images``, often one folder deeper. How it was divided is
the packer's choice and no split here. Images may be JPEG.

Labels: one column per grade of the international scale (`photographs.GRADES`), exactly
one of them 1. Grades were given by one reader each and are noisy.

Splits: none was released; the images have no patient ids, and some are in the set
twice. ``ecamp`` cuts the sorted file names at 70 and 80 percent.

Access: Kaggle account, competition rules. Cite Karthik, Maggie and Dane, "APTOS 2019
Blindness Detection", Kaggle, 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vlp_zoo.data.fundus.photographs import GRADES, Photographs, bare, one_hot
from vlp_zoo.data.records import Card, Record, SplitRule
from vlp_zoo.data.tables import find_one, number, read_rows

__all__ = ["CARD", "read"]

TABLES = {
    "train.csv": "train_images",
    "train_1.csv": "train_images",
    "valid.csv": "val_images",
    "test.csv": "test_images",
}
"""Labelled tables and where their images are; the first alone, or the other three."""


def read(root: Path) -> Iterator[Record]:
    """Records in the order of the tables.

    Args:
        root: Folder with ``train.csv``.

    Raises:
        DatasetNotFoundError: If a table or column is missing, or a grade is none.
    """
    first = find_one(
        root, ["train.csv", "train_1.csv"], "the label table of APTOS-2019"
    )
    names = ["train_1.csv", "valid.csv", "test.csv"]
    tables = [first] if first.name == "train.csv" else [root / name for name in names]
    for path in tables:
        images = Photographs.in_copies(root, TABLES[path.name])
        for row in read_rows(path, ["id_code", "diagnosis"], ids=["id_code"]):
            uid, grade = bare(row["id_code"]), row["diagnosis"]
            yield Record(
                uid=uid,
                image=images.find(uid) or root / TABLES[path.name] / f"{uid}.png",
                labels=one_hot(grade, len(GRADES), row.where),
                row=row.line,
                facts={"grade": number(grade), "table": path.name},
            )


def _ecamp(records: Sequence[Record]) -> list[str]:
    """The first 70 % of the sorted names, the next 10 %, the rest; both rounded down."""
    ordered = sorted(range(len(records)), key=lambda i: records[i].uid)
    train, val = int(0.7 * len(records)), int(0.1 * len(records))
    names = [""] * len(records)
    for place, index in enumerate(ordered):
        late = "val" if place < train + val else "test"
        names[index] = "train" if place < train else late
    return names


CARD = Card(
    name="aptos",
    title="APTOS-2019",
    domain="fundus",
    read=read,
    label_names=GRADES,
    gives=("labels",),
    patients="none",
    markers=("train.csv", "train_1.csv"),
    access="Kaggle account, competition rules",
    licence="competition rules; research use",
    citation="Karthik, Maggie and Dane, APTOS 2019 Blindness Detection, Kaggle 2019",
    splits={
        "ecamp": SplitRule(
            _ecamp,
            level="image",
            source="ECAMP's lists (ToniChopp/ECAMP @ddf4285): sorted names, 70/10/20",
            counts={"train": 2563, "val": 366, "test": 733},
            issues=(
                "repeated images and the eyes of a patient can be on two sides: no ids",
                "it is not stratified by grade",
            ),
            legacy=True,
        ),
    },
    single_label=True,
    ordinal=True,
    overlaps=("flair",),
)

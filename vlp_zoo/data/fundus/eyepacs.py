"""EyePACS (Kaggle 2015): 88,702 fundus photographs, both eyes of a patient, graded 0 to 4.

Layout::

    trainLabels.csv                     # image, level
    train/<id>_{left,right}.jpeg        # 35,126
    retinopathy_solution.csv            # image, level, Usage: of the test images
    test/<id>_{left,right}.jpeg         # 53,576

Also read: resized packs (``resized_train/resized_train``, ``resized_train_cropped``, PNG
or ``.jpg``). The solution file is optional; without it the test images have no grades
and are not read.

Labels: one column per grade of the international scale (`photographs.GRADES`), one
reader each; many images are blurred or cannot be graded, and are graded all the same.

Splits: ``official`` is training, public leaderboard (validation) and private
leaderboard (test), as ``Usage`` says. The number in front of the side is the patient.

Access: Kaggle account, competition rules. Cite Dugas et al., "Diabetic Retinopathy
Detection", Kaggle, 2015.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vlp_zoo.data.fundus.photographs import GRADES, Photographs, bare, one_hot
from vlp_zoo.data.records import Card, Record
from vlp_zoo.data.splits import released
from vlp_zoo.data.tables import find_one, number, read_rows

__all__ = ["CARD", "read"]

USAGE = {"public": "val", "private": "test"}


def read(root: Path) -> Iterator[Record]:
    """Records in the order of the tables.

    Args:
        root: Folder with ``trainLabels.csv``.

    Raises:
        DatasetNotFoundError: If the table or a column is missing, or a grade is none.
    """
    path = find_one(root, ["trainLabels.csv", "trainLabels*.csv"], "EyePACS' grades")
    yield from _part(root, path, "train")
    solution = root / "retinopathy_solution.csv"
    if solution.is_file():
        yield from _part(root, solution, "test")


def _part(root: Path, path: Path, part: str) -> Iterator[Record]:
    images = Photographs.in_copies(
        root, part, f"resized_{part}", f"resized_{part}_cropped"
    )
    for row in read_rows(path, ["image", "level"], ids=["image"]):
        uid, level = bare(row["image"]), row["level"]
        patient, _, eye = uid.rpartition("_")
        usage = USAGE.get(row.get("Usage").lower(), "")
        yield Record(
            uid=uid,
            image=images.find(uid) or root / part / f"{uid}.jpeg",
            patient_id=patient or uid,
            study_id=patient or uid,
            split="train" if part == "train" else usage,
            labels=one_hot(level, len(GRADES), row.where),
            row=row.line,
            facts={"grade": number(level), "eye": eye},
        )


CARD = Card(
    name="eyepacs",
    title="EyePACS",
    domain="fundus",
    read=read,
    label_names=GRADES,
    gives=("labels",),
    patients="true",
    markers=("trainLabels*.csv",),
    access="Kaggle account, competition rules",
    licence="competition rules; research use",
    citation="Dugas et al., Diabetic Retinopathy Detection, Kaggle 2015",
    splits={
        "official": released(
            "retinopathy_solution.csv of EyePACS",
            "put it beside trainLabels.csv, or use --data.split canonical",
            level="patient",
            source="the competition: training, public and private leaderboard",
        ),
    },
    single_label=True,
    ordinal=True,
    overlaps=("flair",),
)

"""MESSIDOR-2: 1,748 fundus photographs of 874 examinations, both eyes each.

Layout::

    messidor_data.csv       # image_id, adjudicated_dr_grade, ..._dme, ..._gradable
    messidor-2.csv          # left;right: which two images are one examination
    IMAGES/*.{png,JPG}

The images come from ADCIS; they have no grades. The grades are those of Krause et al.,
from Kaggle. Also read: the Kaggle re-pack whose table says ``id_code`` and
``diagnosis``, with its images in ``messidor-2/messidor-2/preprocess``. Endings differ
between table and folder (``.JPG``, ``.jpg``, ``.png``); the name counts.

Labels: one column per grade of the international scale (`photographs.GRADES`). The four
images that could not be graded have none (NaN), and ``facts["gradable"]`` False;
``facts["macular_edema"]`` is the adjudicated one. MESSIDOR-1 has another scale, 0 to 3.

Patients: the examination is the patient. Without ``messidor-2.csv`` every image is its
own, which parts the two eyes; a warning says so.

Splits: none released. Part of MESSIDOR-1 is in this set and in RIGA.

Access: registration with ADCIS; grades from Kaggle. Cite Decencière et al., Image
Analysis & Stereology 33, 2014; Abràmoff et al., JAMA Ophthalmology 131, 2013; Krause et
al., Ophthalmology 125, 2018.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from vlp_zoo.data.fundus.photographs import GRADES, Photographs, bare, one_hot
from vlp_zoo.data.records import Card, Record
from vlp_zoo.data.tables import AGAIN, check_join, find_one, first_of, number, read_rows
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.reading import read_text

__all__ = ["CARD", "read"]

logger = logging.getLogger(__name__)

IMAGE_COLUMNS = ("image_id", "id_code", "image")
GRADE_COLUMNS = ("adjudicated_dr_grade", "diagnosis")
FOLDERS = ("IMAGES", "images", "messidor-2/messidor-2/preprocess", "preprocess")


def read(root: Path) -> Iterator[Record]:
    """Records in the order of the grade table.

    Args:
        root: Folder with ``messidor_data.csv``.

    Raises:
        DatasetNotFoundError: If the table or its columns are missing, or a grade is
            none.
    """
    path = find_one(
        root,
        ["messidor_data.csv", "messidor-2/messidor_data.csv"],
        "the grades of MESSIDOR-2 by Krause et al.",
    )
    rows = read_rows(path)
    headings = list(rows[0].headings)
    image_column = next((name for name in IMAGE_COLUMNS if name in headings), "")
    grade_column = next((name for name in GRADE_COLUMNS if name in headings), "")
    if not image_column or not grade_column:
        raise DatasetNotFoundError(
            f"a column {' or '.join(IMAGE_COLUMNS)} and a column "
            f"{' or '.join(GRADE_COLUMNS)} in {path}",
            f"columns {', '.join(headings)}",
            AGAIN,
        )
    images = Photographs(root / folder for folder in FOLDERS)
    pairs = _pairs(root)
    if pairs:
        eyes = [bare(row[image_column]).lower() for row in rows]
        check_join(eyes, pairs, "the examinations of images", "messidor-2.csv")
    for row in rows:
        name = row[image_column]
        uid = bare(name)
        examination = pairs.get(uid.lower(), uid)
        gradable = number(row.get("adjudicated_gradable") or "1") != 0
        grade = row[grade_column] if gradable else ""
        yield Record(
            uid=uid,
            image=images.find(uid) or root / FOLDERS[0] / name,
            patient_id=examination,
            study_id=examination,
            labels=one_hot(grade, len(GRADES), row.where),
            row=row.line,
            facts={
                "grade": number(grade),
                "macular_edema": number(row.get("adjudicated_dme")),
                "gradable": gradable,
            },
        )


def _pairs(root: Path) -> dict[str, str]:
    """Image name in small letters to the name of the examination."""
    path = first_of(root, ("messidor-2.csv", "messidor-2/messidor-2.csv"))
    if path is None:
        logger.warning(
            "no messidor-2.csv in %s: every image counts as its own patient, and the two "
            "eyes of one can come to be on two sides of a split",
            root,
        )
        return {}
    pairs: dict[str, str] = {}
    # The heading is "left;right", with a blank behind it.
    for line in read_text(path, "the pairs of eyes").splitlines()[1:]:
        eyes = [bare(name) for name in line.split(";") if name.strip()]
        pairs |= {eye.lower(): eyes[0] for eye in eyes}
    return pairs


CARD = Card(
    name="messidor2",
    title="MESSIDOR-2",
    domain="fundus",
    read=read,
    label_names=GRADES,
    gives=("labels",),
    patients="proxy",
    markers=("messidor_data.csv", "messidor-2/messidor_data.csv"),
    access="registration with ADCIS; grades from Kaggle",
    licence="research use, no redistribution",
    citation="Decencière et al. 2014; Abràmoff et al. 2013; grades: Krause et al. 2018",
    single_label=True,
    ordinal=True,
    overlaps=("riga",),
)

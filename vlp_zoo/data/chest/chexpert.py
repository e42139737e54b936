"""CheXpert: 224,316 images of 65,240 patients of Stanford with labels from reports.

Layout of v1.0-small (about 390 x 320 pixels) and, under the same names, of v1.0::

    train.csv, valid.csv
    train/patient#####/study#/view#_{frontal,lateral}.jpg
    valid/...
    test.csv or test_labels.csv, and test/...    # later release, optional

The root may also be the folder that holds ``CheXpert-v1.0-small`` or ``CheXpert-v1.0``.
The full size comes in four parts, which are read where they lie as well: ``CheXpert-v1.0
batch 1 (validate & csv)`` with the tables and ``valid``, and ``... batch 2 (train 1)``
to ``... batch 4 (train 3)``, which hold patients without a folder ``train``. ``Path`` in
the tables starts with a folder that need not be there. Test images and their labels are
found as CheXlocalize packs them too: ``CheXpert/test_labels.csv`` and ``CheXpert/test``
in the root or in ``chexlocalize``; `chexlocalize` reads their masks.

Labels: the fourteen columns in the order of ``train.csv``; 1, 0, -1 (uncertain) and
blank (not mentioned: NaN). For uncertain labels the card follows GLoRIA and MGCA: 1 for
Atelectasis, Edema and Pleural Effusion, 0 for Cardiomegaly and Consolidation; for the
others they say nothing and -1 becomes unknown. These codes (and MRM, ECAMP) also take
blanks for 0, without which most negatives are unknown: ``card(blank=0)``. Labels of
``valid`` and ``test`` are by radiologists, all of them 0 or 1.

Views: "Frontal" rows with LL or RL as projection (17 images) stay "FRONTAL", as their
column says; ``facts["projection"]`` has the word. Age 0 and sex "Unknown" count as not
known.

Splits: ``official`` is train, valid (234 images) and test (668). Without the test set
most papers report on ``valid``, which ``valid-as-test`` does, with validation patients
drawn by `canonical`'s rule. ``mgca`` is MGCA's recipe as it was coded, with its defect:
it takes 1,000 images (``5x200``: of each of five findings 200 frontal images with that
finding alone) out of the training table, draws 5,000 positions of what is left for
validation, but drops those *numbers of the original table* from training. So 4,907 of
the 5,000 stay in training too, and 4,888 others are lost. A record has one split here:
the 5,000 are validation images, the lost are in no split, and training has 212,526
images instead of 217,433. ``mgca-5x200`` has the 1,000 as its test set. MRM's and
ECAMP's lists (by image, all views) follow no rule and are not here.

Access: registration and research-use agreement (Stanford AIMI). Cite Irvin et al.,
"CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels and Expert
Comparison", AAAI 2019.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from vlp_zoo.data.records import Card, Record, SplitRule
from vlp_zoo.data.splits import canonical_split, released, validation_as_test
from vlp_zoo.data.studies import canonical_view
from vlp_zoo.data.tables import Row, find_one, read_rows, without
from vlp_zoo.errors import DatasetNotFoundError

__all__ = ["CARD", "LABEL_NAMES", "Folders", "card", "read", "read_labels"]

logger = logging.getLogger(__name__)

LABEL_NAMES = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
FIVE = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
"""The findings of the competition, in the order of MGCA's and GLoRIA's code."""

EACH, HELD_OUT = 200, 5000
"""Images of each finding in 5x200, and validation images, in MGCA's code."""

RENAMED = {"Airspace Opacity": "Lung Opacity"}
"""Later tables and CheXlocalize's masks spell one label otherwise."""

NAMES = {"train": ("train",), "valid": ("valid", "val"), "test": ("test",)}
"""Folders of a split, the name in the first release first."""

BASES = ("CheXpert-v1.0*", "CheXpert", "chexlocalize/CheXpert")
TABLES = {
    "train": ("train.csv", "train.csv.gz"),
    "valid": ("valid.csv", "valid.csv.gz"),
    "test": ("test_labels.csv", "test.csv"),
}
SUFFIXES = (".jpg", ".png", ".jpeg")


def read(root: Path, *, blank: float = float("nan")) -> Iterator[Record]:
    """Records in the order of ``train.csv``, then of the tables of valid and test.

    Args:
        root: Folder with ``train.csv``, or the folder that holds that folder.
        blank: What a blank label becomes; published code takes 0.

    Raises:
        DatasetNotFoundError: If the training table, a column or all images are missing,
            or a path in a table is none of CheXpert.
    """
    folders = Folders(root)
    found = False
    missing = []
    for split, names in TABLES.items():
        places = [*names, *(f"{base}/{name}" for base in BASES for name in names)]
        try:
            path = find_one(root, places, f"{names[0]} of CheXpert")
        except DatasetNotFoundError:
            if split == "train":
                raise
            logger.warning("CheXpert: no %s in %s", names[0], root)
            continue
        for record in read_labels(path, folders, blank=blank):
            # Not one image at all is a wrong root, not a broken file.
            if not found and not record.image.is_file():
                missing.append(record)
                continue
            yield from missing
            found, missing = True, []
            yield record
    if not found:
        what = "images of CheXpert such as train/patient00001/study1/view1_frontal.jpg"
        raise without(what, root, "put the folders train and valid beside train.csv")


def card(*, blank: float) -> Card:
    """The card of the data set with another meaning of blank labels.

    Args:
        blank: What a blank label becomes: NaN, or 0 as in MGCA, MRM and ECAMP.
    """
    return replace(CARD, read=partial(read, blank=blank))


class Folders:
    """Where the images of a split are; the place that had the last one comes first.

    Args:
        root: Root folder of the data set.
    """

    def __init__(self, root: Path) -> None:
        bases = [
            root,
            *(base for pattern in BASES for base in sorted(root.glob(pattern))),
        ]
        self._places = {
            split: [
                (base / name, end)
                for base in bases
                for name in names
                for end in SUFFIXES
            ]
            for split, names in NAMES.items()
        }
        # The parts of the full size hold patients without a folder of the split.
        self._places["train"] += [
            (base, end) for base in bases if "(train" in base.name for end in SUFFIXES
        ]

    def find(self, split: str, stem: str) -> Path:
        """An image file, or where it would be.

        Args:
            split: ``"train"``, ``"valid"`` or ``"test"``.
            stem: ``patient#####/study#/view#_frontal``.
        """
        places = self._places[split]
        for i, (folder, end) in enumerate(places):
            path = folder / f"{stem}{end}"
            if path.is_file():
                places.insert(0, places.pop(i))
                return path
        folder, end = places[0]
        return folder / f"{stem}{end}"


def read_labels(
    path: Path, folders: Folders, *, blank: float = float("nan")
) -> Iterator[Record]:
    """Records of one table.

    Args:
        path: ``train.csv``, ``valid.csv``, ``test_labels.csv`` or ``val_labels.csv``.
        folders: Where the images are.
        blank: What a blank label becomes.

    Raises:
        DatasetNotFoundError: If the table or a column is missing, or a path in it is
            none of CheXpert.
    """
    # No Finding follows from the others, and some tables of the test set leave it out.
    columns = ["Path", *(name for name in LABEL_NAMES if name != "No Finding")]
    for row in read_rows(path, columns, rename=RENAMED):
        split, stem = _located(row)
        patient, study, _ = stem.split("/")
        (age,) = row.numbers("Age")
        sex = row.get("Sex")
        yield Record(
            uid=f"{split}/{stem}",
            image=folders.find(split, stem),
            patient_id=patient,
            study_id=f"{patient}/{study}",
            view=_view(row, stem),
            split=canonical_split(split) or "",
            labels=tuple(
                blank if np.isnan(value) else value for value in row.labels(LABEL_NAMES)
            ),
            row=row.line,
            facts={
                "sex": "" if sex == "Unknown" else sex,
                "age": age if age > 0 else float("nan"),
                "projection": row.get("AP/PA"),
            },
        )


def _located(row: Row) -> tuple[str, str]:
    """Split and ``patient/study/view`` of a path in a table."""
    parts = row["Path"].replace("\\", "/").split("/")
    if len(parts) >= 4:
        for split, names in NAMES.items():
            if parts[-4] in names:
                return split, "/".join(parts[-3:]).rsplit(".", 1)[0]
    example = "a path such as train/patient00001/study1/view1_frontal.jpg"
    raise row.refused(example, row["Path"])


def _view(row: Row, stem: str) -> str | None:
    # The tables of the test set have no such column: the file's name says it.
    if "lateral" in (row.get("Frontal/Lateral").lower(), stem.rpartition("_")[2]):
        return "LATERAL"
    view = canonical_view(row.get("AP/PA"))
    return view if view in ("AP", "PA") else "FRONTAL"


def _five_times(records: Sequence[Record]) -> list[int]:
    """Indices of the images of MGCA's 5x200, finding after finding."""
    frontal = [
        i for i, r in enumerate(records) if r.split == "train" and r.view != "LATERAL"
    ]
    values = np.array([records[i].labels for i in frontal], np.float32)
    values = np.nan_to_num(values.reshape(len(frontal), len(LABEL_NAMES)))
    named = [k for k, name in enumerate(LABEL_NAMES) if name != "No Finding"]
    chosen: list[int] = []
    for name in FIVE:
        wanted = np.array([float(LABEL_NAMES[k] == name) for k in named], np.float32)
        (pool,) = np.nonzero((values[:, named] == wanted).all(axis=1))
        if len(pool) < EACH:
            raise DatasetNotFoundError(
                f"{EACH} frontal training images of CheXpert with {name} alone",
                f"{len(pool)}",
                "use the complete release, or --data.split official",
            )
        # What pandas does for DataFrame.sample(random_state=0).
        draw = np.random.RandomState(0).choice(len(pool), EACH, replace=False)
        chosen += [frontal[i] for i in pool[draw]]
    return chosen


def _mgca_5x200(records: Sequence[Record]) -> list[str]:
    chosen = set(_five_times(records))
    return ["test" if i in chosen else "" for i in range(len(records))]


def _mgca(records: Sequence[Record]) -> list[str]:
    """MGCA's split of the training table, with the images of ``valid`` to test on."""
    chosen = set(_five_times(records))
    train = [i for i, record in enumerate(records) if record.split == "train"]
    left = [i for i in train if i not in chosen]
    if len(left) <= HELD_OUT:
        raise DatasetNotFoundError(
            f"more than {HELD_OUT} training images of CheXpert",
            f"{len(left)}",
            "use the complete release, or --data.split official",
        )
    drawn = np.random.RandomState(0).choice(len(left), HELD_OUT, replace=False)
    splits = ["test" if record.split == "val" else "" for record in records]
    for i in left:
        splits[i] = "train"
    for position in drawn:
        # The defect: a position in what is left, used as a number in the whole table.
        splits[train[position]] = ""
    for position in drawn:
        splits[left[position]] = "val"
    return splits


def _valid_as_test(records: Sequence[Record]) -> list[str]:
    if not any(record.split == "val" for record in records):
        raise DatasetNotFoundError(
            "valid.csv of CheXpert", "no image of it", "put it beside train.csv"
        )
    return validation_as_test(records)


CARD = Card(
    name="chexpert",
    title="CheXpert",
    domain="chest",
    read=read,
    label_names=LABEL_NAMES,
    gives=("labels",),
    patients="true",
    markers=("train.csv*", "CheXpert-v1.0*/train.csv*"),
    access="registration with Stanford AIMI",
    licence="Stanford research-use agreement, non-commercial",
    citation="Irvin et al., CheXpert, AAAI 2019",
    uncertain={
        "Atelectasis": 1.0,
        "Edema": 1.0,
        "Pleural Effusion": 1.0,
        "Cardiomegaly": 0.0,
        "Consolidation": 0.0,
        "*": float("nan"),
    },
    splits={
        "official": released(
            "test_labels.csv and the test images of CheXpert",
            "add them, or use --data.split valid-as-test or canonical",
            level="patient",
            source="released train, valid and test",
            counts={"train": 223_414, "val": 234, "test": 668},
        ),
        "valid-as-test": SplitRule(
            _valid_as_test,
            level="patient",
            source="the released valid to test on; validation by the canonical rule",
            issues=("the 234 test images are few: intervals are wide",),
        ),
        "mgca": SplitRule(
            _mgca,
            level="image",
            source="MGCA (HKU-MedAI/MGCA @6445a90), preprocess/chexpert.py",
            counts={"train": 212_526, "val": 5_000, "test": 234},
            issues=(
                "patients are in training and in validation",
                "4,907 of the 5,000 validation images are training images too: not here",
            ),
            legacy=True,
        ),
        "mgca-5x200": SplitRule(
            _mgca_5x200,
            level="image",
            source="MGCA (HKU-MedAI/MGCA @6445a90), preprocess/chexpert.py",
            counts={"test": 1_000},
            sha256="d4c041c9f46179a29b11513a05e441306d04eac43b9a8f289ccd3cd549bc1204",
            issues=("GLoRIA and PRIOR have other 1,000 images under this name",),
        ),
    },
    overlaps=("chexpert_plus", "chexlocalize"),
)

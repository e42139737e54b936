"""PadChest: 160 thousand images of 67 thousand patients, with reports in Spanish.

Layout::

    PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv    # or .csv.gz
    <ImageDir>/<ImageID>           # numbered folders of 16-bit PNG files

The folders may also lie in ``images``, and copies of one size (images-224) in one
folder without numbers. 16-bit files are scaled by their own range when decoded.

Labels: the cell is a Python list of what a report says, such as ``['cardiomegaly', '
pleural effusion']`` with stray blanks. `LABEL_NAMES` are the ones that are columns
here, spelled as in the table; all 174 of the data set are in ``facts["findings"]``, and
where in the body in ``facts["localizations"]``. A label that a report does not name is
absent. Not stated (NaN) are the labels of a report without any, of one marked
"exclude", and of one that only says "unchanged": what was there before is in another
report. ``facts["method_label"]`` is "Physician" for 27 % of the reports, else
"RNN_model": evaluate on the first.

Reports: Spanish, lower-case and stemmed, without sections; they stand as findings.

Splits: none is released. ``physician`` tests on the images that physicians labelled, as
CheXzero and others do, and keeps their patients out of the rest.

Some files of the release are cut or missing; they are listed and rejected on reading.

Access: registration and research-use agreement (BIMCV). Cite Bustos et al., "PadChest:
A large chest x-ray image dataset with multi-label annotated reports", Medical Image
Analysis 66:101797, 2020.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from vlp_zoo.data.chest.radiographs import PROBED, first_layout
from vlp_zoo.data.records import Card, Record, SplitRule
from vlp_zoo.data.splits import canonical_after
from vlp_zoo.data.studies import canonical_view
from vlp_zoo.data.tables import Row, find_one, number, read_rows, without
from vlp_zoo.types import Report

__all__ = ["CARD", "LABEL_NAMES", "read"]

LABEL_NAMES = (
    "air trapping",
    "alveolar pattern",
    "aortic atheromatosis",
    "aortic elongation",
    "apical pleural thickening",
    "atelectasis",
    "bronchiectasis",
    "calcified granuloma",
    "callus rib fracture",
    "cardiomegaly",
    "chronic changes",
    "consolidation",
    "COPD signs",
    "costophrenic angle blunting",
    "emphysema",
    "endotracheal tube",
    "fibrotic band",
    "ground glass pattern",
    "heart insufficiency",
    "hemidiaphragm elevation",
    "hiatal hernia",
    "hilar congestion",
    "hilar enlargement",
    "infiltrates",
    "interstitial pattern",
    "kyphosis",
    "laminar atelectasis",
    "nodule",
    "normal",
    "NSG tube",
    "pacemaker",
    "pleural effusion",
    "pleural thickening",
    "pneumonia",
    "pneumothorax",
    "pseudonodule",
    "pulmonary edema",
    "pulmonary fibrosis",
    "pulmonary mass",
    "rib fracture",
    "scoliosis",
    "sternotomy",
    "tuberculosis",
    "tuberculosis sequelae",
    "vascular hilar enlargement",
    "vertebral degenerative changes",
    "volume loss",
)
"""Frequent findings and those that other chest data sets name, spelled as released."""

VIEWS = {"L": "LATERAL", "AP_horizontal": "AP", "UNK": ""}
"""Projections whose name `canonical_view` does not know; others stay (COSTAL)."""

PHYSICIAN = "Physician"
MISSING = re.compile(r"(?<=[\[ ])nan(?=\s*[,\]])")


def read(root: Path) -> Iterator[Record]:
    """Records in the order of the table.

    Args:
        root: Folder with the table.

    Raises:
        DatasetNotFoundError: If the table, its columns or all images are missing, or a
            cell is no list.
    """
    path = find_one(
        root,
        ["PADCHEST_chest_x_ray_images_labels_160K*.csv*", "PADCHEST*.csv*"],
        "the label table of PadChest",
    )
    columns = ["ImageID", "ImageDir", "StudyID", "PatientID", "Projection"]
    rows = read_rows(
        path,
        [*columns, "Report", "MethodLabel", "Labels"],
        ids=["StudyID", "PatientID", "ImageDir"],
    )
    base, numbered = _images(root, rows)
    for row in rows:
        name = _cell(row, "ImageID")
        findings = _list(row, "Labels")
        projection = _cell(row, "Projection")
        report = _cell(row, "Report")
        yield Record(
            uid=name,
            image=base / (_numbered(row) if numbered else name),
            patient_id=_cell(row, "PatientID"),
            study_id=_cell(row, "StudyID"),
            text=Report(report, findings=report),
            view=canonical_view(VIEWS.get(projection, projection)),
            labels=_labels(findings),
            row=row.line,
            facts={
                "findings": findings,
                "localizations": _list(row, "Localizations"),
                "method_label": _cell(row, "MethodLabel"),
                "projection": projection,
                "sex": _cell(row, "PatientSex_DICOM"),
                "age": _age(row),
                "pediatric": _cell(row, "Pediatric"),
            },
        )


def _cell(row: Row, name: str) -> str:
    cell = row.get(name)
    # Written by pandas: blanks are "nan" in some copies.
    return "" if cell.lower() in ("nan", "none") else cell


def _numbered(row: Row) -> str:
    return f"{_cell(row, 'ImageDir')}/{_cell(row, 'ImageID')}".lstrip("/")


def _list(row: Row, name: str) -> tuple[str, ...]:
    cell = _cell(row, name)
    if not cell:
        return ()
    try:
        # Within a list, pandas wrote missing values as a bare word.
        entries = ast.literal_eval(MISSING.sub("None", cell))
        words = [str(entry).strip() for entry in entries if entry is not None]
    except (ValueError, SyntaxError, TypeError) as error:
        raise row.refused(f"a list in column {name}", cell) from error
    return tuple(dict.fromkeys(word for word in words if word))


def _labels(findings: Sequence[str]) -> tuple[float, ...]:
    found = set(findings)
    if "exclude" in found or not found - {"unchanged"}:
        return (float("nan"),) * len(LABEL_NAMES)
    return tuple(float(name in found) for name in LABEL_NAMES)


def _age(row: Row) -> float:
    """Years between birth and examination; NaN where a date is missing."""
    return number(_cell(row, "StudyDate_DICOM")[:4]) - number(
        _cell(row, "PatientBirth")
    )


def _images(root: Path, rows: Sequence[Row]) -> tuple[Path, bool]:
    """Where images lie, and whether in numbered folders."""
    folders = [root, root / "images", *sorted(root.glob("images[-_]*"))]
    probed = rows[:PROBED]
    for numbered in (True, False):
        names = [_numbered(r) if numbered else _cell(r, "ImageID") for r in probed]
        if found := first_layout(folders, ("",), names):
            return found[0], numbered
    raise without(
        f"images of PadChest such as 0/{_cell(rows[0], 'ImageID')} (none of the first "
        f"{len(probed)}, with or without numbered folders, here or in images)",
        root,
        "unpack the archives so that the folders 0 to 54 lie there",
    )


def _physician(records: Sequence[Record]) -> list[str]:
    def by_hand(record: Record) -> bool:
        return record.facts.get("method_label") == PHYSICIAN

    patients = {record.patient_id for record in records if by_hand(record)}

    def side(record: Record) -> str | None:
        if by_hand(record):
            return "test"
        return None if record.patient_id in patients else "train"

    return canonical_after(records, side)


CARD = Card(
    name="padchest",
    title="PadChest",
    domain="chest",
    read=read,
    label_names=LABEL_NAMES,
    gives=("reports", "labels"),
    patients="true",
    markers=("PADCHEST*.csv*",),
    access="registration and agreement, BIMCV",
    licence="research use only, no redistribution",
    citation="Bustos et al., PadChest, Medical Image Analysis 2020",
    splits={
        "physician": SplitRule(
            _physician,
            level="patient",
            source="test on labels by physicians, as Tiu et al., CheXzero, Nature "
            "Biomedical Engineering 2022; the rest by the canonical rule",
            issues=("images of test patients that a model labelled are in no split",),
        ),
    },
)

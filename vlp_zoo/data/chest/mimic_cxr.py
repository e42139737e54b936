"""MIMIC-CXR-JPG 2.0.0 and 2.1.0 with the MIMIC-CXR reports, as they lie on disk.

377,110 images and 227,827 reports of 65 thousand patients of one hospital, with an
official split by patient and fourteen labels that CheXpert's labeller drew from the
reports (per examination: a lateral image has the labels of the frontal one). Access is
credentialed; neither images nor texts nor anything derived from the texts may be
passed on.

Layout (release 2.1.0 kept the file names of 2.0.0)::

    mimic-cxr-2.0.0-metadata.csv.gz, ...-split.csv.gz, ...-chexpert.csv.gz, ...-negbio.csv.gz
    mimic-cxr-2.1.0-test-set-labeled.csv    # 2.1.0 only: a radiologist's labels
    files/p10/p10000032/s50414267/<dicom_id>.jpg
    files/p10/p10000032/s50414267.txt       # of MIMIC-CXR, here or in a root of its own

The root may also be the folder that holds ``mimic-cxr-jpg`` and ``mimic-cxr`` side by
side, with or without folders for the versions in them.

`read` gives all views and raw labels (-1 is uncertain, NaN not mentioned). Labels come from CheXpert's labeller,
from NegBio's, or from the radiologist who read 687 examinations of the test set, where
"Airspace Opacity" is "Lung Opacity" and all other examinations are unknown.

If you use it, cite Johnson et al., "MIMIC-CXR, a de-identified publicly available
database of chest radiographs with free-text reports", Scientific Data 6:317, 2019.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from vlp_zoo.data.catalogue import load, policy
from vlp_zoo.data.chest.radiographs import PROBED, first_layout
from vlp_zoo.data.records import Card, Record, SplitRule
from vlp_zoo.data.splits import as_released, canonical_split
from vlp_zoo.data.studies import FileStudies, canonical_view
from vlp_zoo.data.tables import (
    Row,
    check_join,
    check_word,
    first_of,
    listing,
    read_rows,
    without,
)
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.reports.words.lexicon import CHEXPERT

__all__ = ["CARD", "LABEL_NAMES", "LabelSource", "card", "read", "read_mimic_cxr"]

logger = logging.getLogger(__name__)

LABEL_NAMES = tuple(CHEXPERT)
"""Order of the label columns here, whatever the order in the file."""

RENAMED = {"Airspace Opacity": "Lung Opacity"}
"""Headings of release 2.1.0 that mean one of the fourteen."""

LabelSource = Literal["chexpert", "negbio", "radiologist"]
TABLES = {
    "metadata": "mimic-cxr-2.0.0-metadata.csv",
    "split": "mimic-cxr-2.0.0-split.csv",
    "chexpert": "mimic-cxr-2.0.0-chexpert.csv",
    "negbio": "mimic-cxr-2.0.0-negbio.csv",
    "radiologist": "mimic-cxr-2.1.0-test-set-labeled.csv",
}
SOURCES = ("chexpert", "negbio", "radiologist")


def read_mimic_cxr(
    root: Path,
    *,
    reports_root: Path | None = None,
    views: Sequence[str] | None = ("PA", "AP"),
    uncertain: str = "nan",
) -> tuple[FileStudies, list[str]]:
    """What ``--data mimic_cxr`` reads by default: the official split, with reports.

    Args:
        root: Folder of tables and images; see `read`.
        reports_root: Folder of the reports; see `read`.
        views: Keep only these; None keeps all.
        uncertain: What the labeller's -1 becomes; see `vlp_zoo.data.catalogue.policy`.

    Returns:
        The images that the split file lists, with ``dicom_id`` as uid, and the split of
        each.

    Raises:
        DatasetNotFoundError: If tables, images or reports are not there.
        ConfigError: If ``uncertain`` is another word.
        PatientLeakError: If the split file puts a patient on two sides.
    """
    found = card("chexpert", reports_root=reports_root, need_reports=True)
    labels = policy(found, uncertain, "nan")
    return load(found, root, split="official", views=views, uncertain=labels)


def read(
    root: Path,
    *,
    reports_root: Path | None = None,
    label_source: LabelSource = "chexpert",
    need_reports: bool = False,
) -> Iterator[Record]:
    """Records of all images in the order of the metadata, lateral views included.

    Args:
        root: Folder with ``mimic-cxr-2.0.0-metadata.csv.gz`` and the images, or the
            folder that holds ``mimic-cxr-jpg``.
        reports_root: Folder with the reports; None = the root, or ``mimic-cxr`` in it
            or beside it.
        label_source: ``"chexpert"`` and ``"negbio"`` are labellers, ``"radiologist"``
            labelled a part of the test set by hand.
        need_reports: False still reads labels and images where there is no report.

    Raises:
        DatasetNotFoundError: If tables or images are not there, or the label file of a
            source other than CheXpert's, or reports where they are needed or where
            ``reports_root`` says; or if two tables have no image or no examination in
            common.
        ConfigError: If ``label_source`` is another word.
    """
    check_word(label_source, SOURCES, "a label source")
    root, parent = _jpg_root(root), root
    rows = _rows(root, "metadata", ["dicom_id", "subject_id", "study_id"])
    released = _rows(root, "split", ["dicom_id", "split"])
    splits = {row["dicom_id"]: row for row in released}
    check_join(
        (r["dicom_id"] for r in rows), splits, "splits of images", TABLES["split"]
    )
    folders = [
        f"p{row['subject_id'][:2]}/p{row['subject_id']}/s{row['study_id']}"
        for row in rows
    ]
    stems = [f"{f}/{row['dicom_id']}" for f, row in zip(folders, rows, strict=True)]
    base, suffix = _images(root, stems)
    reports = _reports_of(reports_root, (root, parent), folders)
    if reports is None and need_reports:
        raise _no_reports(root, folders)
    labels = _labels(root, [row["study_id"] for row in rows], label_source)
    unknown = (float("nan"),) * len(LABEL_NAMES)
    facts = {"label_source": label_source}
    for row, folder, stem in zip(rows, folders, stems, strict=True):
        # The published JPEG has the size of the DICOM file.
        height, width = row.numbers("Rows", "Columns")
        sized = height >= 1 and width >= 1
        yield Record(
            uid=row["dicom_id"],
            image=base / f"{stem}{suffix}",
            patient_id=row["subject_id"],
            study_id=row["study_id"],
            text="" if reports is None else reports / f"{folder}.txt",
            view=canonical_view(row.get("ViewPosition"))
            or canonical_view(row.get("ViewCodeSequence_CodeMeaning")),
            split=_split(splits.get(row["dicom_id"])),
            labels=labels.get(row["study_id"], unknown),
            row=row.line,
            facts=facts,
            original_size=(int(height), int(width)) if sized else None,
        )


def card(
    label_source: LabelSource,
    *,
    reports_root: Path | None = None,
    need_reports: bool = False,
) -> Card:
    """The card of the data set with labels of another source.

    Args:
        label_source: Where labels come from: ``"chexpert"``, ``"negbio"`` or
            ``"radiologist"``.
        reports_root: Folder with the reports; None = the root, or ``mimic-cxr`` in it
            or beside it.
        need_reports: False still reads labels and images where there is no report.
    """
    check_word(label_source, SOURCES, "a label source")
    return replace(
        CARD,
        read=partial(
            read,
            label_source=label_source,
            reports_root=reports_root,
            need_reports=need_reports,
        ),
    )


def _jpg_root(root: Path) -> Path:
    """The folder with the tables: the root or ``mimic-cxr-jpg`` and a version in it."""
    candidates = [root]
    for pattern in ("2.*", "mimic-cxr-jpg", "mimic-cxr-jpg/2.*"):
        # The newest version first.
        candidates += sorted(root.glob(pattern), reverse=True)
    found = (c for c in candidates if _found(c, "metadata") is not None)
    return next(found, root)


def _reports_of(
    given: Path | None, roots: Sequence[Path], folders: list[str]
) -> Path | None:
    if given is not None:
        found = _reports_base(given, folders)
        if found is None:
            raise _no_reports(given, folders)
        return found
    places = list(dict.fromkeys(roots))
    for root in roots:
        # Beside the images, or beside the folder of their version.
        for above in (root, root.parent, root.parent.parent):
            beside = above / "mimic-cxr"
            places += [beside, *sorted(beside.glob("2.*"), reverse=True)]
    for place in places:
        base = _reports_base(place, folders)
        if base is not None:
            return base
    logger.warning(
        "MIMIC-CXR: no reports in or beside %s, only images and labels", roots[0]
    )
    return None


def _split(row: Row | None) -> str:
    """The released split; an image that the file leaves out is in none."""
    name = row["split"] if row is not None else ""
    split = canonical_split(name)
    if row is not None and name and split is None:
        raise row.refused("train, validate or test", name)
    return split or ""


def _rows(root: Path, kind: str, columns: list[str]) -> list[Row]:
    path = _found(root, kind)
    if path is None:
        way = "give the folder of MIMIC-CXR-JPG 2.x.0 that holds the csv files: --data.root"
        raise without(f"{TABLES[kind]}.gz or {TABLES[kind]}", root, way)
    ids = ["dicom_id", "subject_id", "study_id"]
    return read_rows(path, columns, ids=ids, rename=RENAMED)


def _found(root: Path, kind: str) -> Path | None:
    return first_of(root, (f"{TABLES[kind]}.gz", TABLES[kind]))


def _images(root: Path, stems: list[str]) -> tuple[Path, str]:
    found = first_layout(
        (root / "files", root), (".jpg", ".png", ".jpeg"), stems[:PROBED]
    )
    if found is not None:
        return found
    raise DatasetNotFoundError(
        f"images such as files/{stems[0]}.jpg below --data.root {root}",
        f"none of the first {min(PROBED, len(stems))}, with or without the folder "
        f"files, as .jpg or .png; in the root {listing(root)}",
        "give the folder that holds files/p10, files/p11, ...",
    )


def _reports_base(root: Path, folders: list[str]) -> Path | None:
    unpacked = root / "mimic-cxr-reports"
    bases = (root / "files", root, unpacked / "files", unpacked)
    found = first_layout(bases, (".txt",), folders[:PROBED])
    return None if found is None else found[0]


def _no_reports(root: Path, folders: list[str]) -> DatasetNotFoundError:
    return DatasetNotFoundError(
        f"reports such as files/{folders[0]}.txt below {root}",
        f"none of the first {min(PROBED, len(folders))}; there {listing(root)}",
        "unpack mimic-cxr-reports.zip of MIMIC-CXR and give its folder with "
        "--data.reports_root",
    )


def _labels(
    root: Path, studies: list[str], source: str
) -> dict[str, tuple[float, ...]]:
    """Labels of examinations; of none where CheXpert's file is not there."""
    # Who names a source wants its labels: a missing file is an error then.
    if source == "chexpert" and _found(root, source) is None:
        logger.warning(
            "MIMIC-CXR: no %s in %s, all labels are unknown", TABLES[source], root
        )
        return {}
    rows = _rows(root, source, ["study_id", *LABEL_NAMES])
    labels = {row["study_id"]: row.labels(LABEL_NAMES) for row in rows}
    # A radiologist read a part of the test set only.
    whole = source != "radiologist"
    check_join(studies, labels, "labels of studies", TABLES[source], whole=whole)
    return labels


CARD = Card(
    name="mimic_cxr",
    title="MIMIC-CXR",
    domain="chest",
    read=read,
    label_names=LABEL_NAMES,
    gives=("reports", "labels"),
    patients="true",
    markers=(
        "mimic-cxr-2.0.0-metadata.csv*",
        "2.*/mimic-cxr-2.0.0-metadata.csv*",
        "mimic-cxr-jpg/mimic-cxr-2.0.0-metadata.csv*",
        "mimic-cxr-jpg/2.*/mimic-cxr-2.0.0-metadata.csv*",
    ),
    access="credentialed (PhysioNet MIMIC-CXR-JPG and MIMIC-CXR)",
    licence="PhysioNet credentialed health data licence 1.5.0",
    citation="Johnson et al., MIMIC-CXR, Scientific Data 2019",
    splits={
        "official": SplitRule(
            as_released,
            level="patient",
            source="released mimic-cxr-2.0.0-split.csv.gz",
            counts={"train": 368_960, "val": 2_991, "test": 5_159},
        ),
    },
    overlaps=("ms_cxr",),
)

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
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from vlp_zoo.data.catalogue import load, policy
from vlp_zoo.data.chest.radiographs import PROBED, first_layout
from vlp_zoo.data.records import Card, Record, SplitRule
from vlp_zoo.data.splits import as_released, canonical_split
from vlp_zoo.data.studies import FileStudies, canonical_view
from vlp_zoo.data.tables import (
    check_join,
    first_of,
    listing,
    number,
    read_table,
    stated,
    without,
)
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.reports.words.lexicon import CHEXPERT

if TYPE_CHECKING:
    import pandas as pd

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
    _check_source(label_source)
    root, parent = _jpg_root(root), root
    metadata = _table(root, "metadata", ["dicom_id", "subject_id", "study_id"])
    released = _table(root, "split", ["dicom_id", "split"])
    splits = dict(zip(released["dicom_id"], released["split"], strict=True))
    subjects, studies = list(metadata["subject_id"]), list(metadata["study_id"])
    dicoms = list(metadata["dicom_id"])
    if not dicoms:
        raise DatasetNotFoundError(
            f"images in {TABLES['metadata']}", "headings alone", "download it again"
        )
    check_join(dicoms, splits, "splits of images", TABLES["split"])
    folders = [
        f"p{subject[:2]}/p{subject}/s{study}"
        for subject, study in zip(subjects, studies, strict=True)
    ]
    stems = [f"{folder}/{dicom}" for folder, dicom in zip(folders, dicoms, strict=True)]
    base, suffix = _images(root, stems)
    reports = _reports_of(reports_root, (root, parent), folders)
    if reports is None and need_reports:
        raise _no_reports(root, folders)
    values = _labels(root, studies, label_source)
    sizes = _sizes(metadata)
    for i, (view, folder) in enumerate(zip(_views(metadata), folders, strict=True)):
        yield Record(
            uid=dicoms[i],
            image=base / f"{stems[i]}{suffix}",
            patient_id=subjects[i],
            study_id=studies[i],
            text="" if reports is None else reports / f"{folder}.txt",
            view=view,
            split=_split(splits.get(dicoms[i], "")),
            labels=tuple(values[i].tolist()),
            row=i + 2,
            facts={"label_source": label_source},
            original_size=sizes[i],
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
    _check_source(label_source)
    return replace(
        CARD,
        read=partial(
            read,
            label_source=label_source,
            reports_root=reports_root,
            need_reports=need_reports,
        ),
    )


def _check_source(label_source: str) -> None:
    if label_source not in SOURCES:
        raise ConfigError(
            f"a label source among {', '.join(SOURCES)}",
            repr(label_source),
            "choose one of them",
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


def _split(name: str) -> str:
    """The released split; an image that the file leaves out is in none."""
    split = canonical_split(name)
    if split is None and name.strip():
        raise DatasetNotFoundError(
            f"train, validate or test in {TABLES['split']}",
            repr(name),
            "download the file again",
        )
    return split or ""


def _table(root: Path, kind: str, columns: list[str]) -> pd.DataFrame:
    stem = TABLES[kind]
    path = _found(root, kind)
    if path is None:
        way = "give the folder of MIMIC-CXR-JPG 2.x.0 that holds the csv files: --data.root"
        raise without(f"{stem}.gz or {stem}", root, way)
    ids = ["dicom_id", "subject_id", "study_id"]
    return read_table(path, columns, ids=ids, rename=RENAMED)


def _found(root: Path, kind: str) -> Path | None:
    return first_of(root, (f"{TABLES[kind]}.gz", TABLES[kind]))


def _sizes(metadata: pd.DataFrame) -> list[tuple[int, int] | None]:
    """(height, width) of the published JPEG, which is that of the DICOM file."""
    blank = [""] * len(metadata)
    sides = zip(
        metadata.get("Rows", blank), metadata.get("Columns", blank), strict=True
    )
    sizes = ((number(str(rows)), number(str(columns))) for rows, columns in sides)
    return [
        (int(rows), int(columns)) if rows >= 1 and columns >= 1 else None
        for rows, columns in sizes
    ]


def _views(metadata: pd.DataFrame) -> list[str | None]:
    blank = [""] * len(metadata)
    position = metadata.get("ViewPosition", blank)
    code = metadata.get("ViewCodeSequence_CodeMeaning", blank)
    return [
        canonical_view(first) or canonical_view(second)
        for first, second in zip(position, code, strict=True)
    ]


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


def _labels(root: Path, studies: list[str], source: str) -> npt.NDArray[np.float32]:
    """(N, 14) as released; NaN where a label, an examination or CheXpert's file is not."""
    unknown = np.full((1, len(LABEL_NAMES)), np.nan, np.float32)
    # Who names a source wants its labels: a missing file is an error then.
    if source == "chexpert" and _found(root, source) is None:
        logger.warning(
            "MIMIC-CXR: no %s in %s, all labels are unknown", TABLES[source], root
        )
        return unknown.repeat(len(studies), axis=0)
    table = _table(root, source, ["study_id", *LABEL_NAMES])
    columns = []
    for name in LABEL_NAMES:
        where = f"{name} of {TABLES[source]}"
        known = {cell: stated(cell, where) for cell in set(table[name])}
        columns.append([known[cell] for cell in table[name]])
    # The row after the last stands for examinations that the labeller left out.
    values = np.vstack([np.array(columns, np.float32).T, unknown])
    line = {study: i for i, study in enumerate(table["study_id"])}
    # A radiologist read a part of the test set only.
    whole = source != "radiologist"
    check_join(studies, line, "labels of studies", TABLES[source], whole=whole)
    return values[[line.get(study, -1) for study in studies]]


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

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

`read` gives all views and raw labels (-1 is uncertain, NaN not mentioned) for the card;
`read_mimic_cxr` is what ``--data mimic_cxr`` uses. Labels come from CheXpert's labeller,
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

from vlp_zoo.data.records import Card, Record, SplitRule
from vlp_zoo.data.splits import canonical_split
from vlp_zoo.data.studies import FileStudies, canonical_view, matches_view
from vlp_zoo.data.tables import read_table
from vlp_zoo.errors import ConfigError, DatasetNotFoundError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CARD", "LABEL_NAMES", "LabelSource", "card", "read", "read_mimic_cxr"]

logger = logging.getLogger(__name__)

LABEL_NAMES = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
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

UNCERTAIN = {"nan": np.nan, "one": 1.0, "zero": 0.0}
PROBED = 500
"""Rows whose files are looked for to find out how the folders are laid out."""


def read_mimic_cxr(
    root: Path,
    *,
    reports_root: Path | None = None,
    views: Sequence[str] | None = ("PA", "AP"),
    uncertain: str = "nan",
) -> tuple[FileStudies, list[str]]:
    """Read the official tables.

    Tables may be ``.csv.gz`` or ``.csv``, the folder ``files`` may be there or not,
    and images may have been re-encoded as PNG.

    Args:
        root: Folder with ``mimic-cxr-2.0.0-metadata.csv.gz`` and the images.
        reports_root: Folder with the reports; None = ``root``.
        views: Keep only these, by ViewPosition or else by ViewCodeSequence; None
            keeps all.
        uncertain: What the labeller's -1 becomes: "nan", "one" or "zero".

    Returns:
        All images with ``dicom_id`` as uid, and the official split of each.

    Raises:
        DatasetNotFoundError: If tables, images or reports are not there.
        ConfigError: If ``uncertain`` is another word.
    """
    if uncertain not in UNCERTAIN:
        raise ConfigError(
            "nan, one or zero in --data.uncertain",
            repr(uncertain),
            "choose one of the three",
        )
    metadata = _table(root, "metadata", ["dicom_id", "subject_id", "study_id"])
    split_of = _table(root, "split", ["dicom_id", "split"])
    splits = dict(zip(split_of["dicom_id"], split_of["split"], strict=True))
    names = [canonical_split(splits.get(d, "")) for d in metadata["dicom_id"]]
    found_views = _views(metadata)
    kept = [
        i
        for i, (name, view) in enumerate(zip(names, found_views, strict=True))
        if name is not None and (views is None or matches_view(view, views))
    ]
    if not kept:
        raise DatasetNotFoundError(
            f"images with a split and a view among {views} in the tables of {root}",
            f"views {sorted({str(view) for view in found_views})}",
            "correct --data.views",
        )
    rows = metadata.iloc[kept]
    subjects, studies = list(rows["subject_id"]), list(rows["study_id"])
    dicoms = list(rows["dicom_id"])

    patients = [f"p{s[:2]}/p{s}" for s in subjects]
    folders = [f"{p}/s{s}" for p, s in zip(patients, studies, strict=True)]
    stems = [f"{folder}/{dicom}" for folder, dicom in zip(folders, dicoms, strict=True)]
    images_base, suffix = _images(root, stems)
    reports_base = _reports(reports_root or root, folders)
    label_names, labels = _labels(root, studies)
    labels[labels == -1] = UNCERTAIN[uncertain]
    source = FileStudies(
        "MIMIC-CXR",
        uids=dicoms,
        patient_ids=subjects,
        study_ids=studies,
        images=[images_base / f"{stem}{suffix}" for stem in stems],
        texts=[reports_base / f"{folder}.txt" for folder in folders],
        rows=[i + 2 for i in kept],
        views=[found_views[i] for i in kept],
        label_names=label_names,
        labels=labels,
    )
    return source, [name for i in kept if (name := names[i]) is not None]


def read(
    root: Path,
    *,
    reports_root: Path | None = None,
    label_source: LabelSource = "chexpert",
) -> Iterator[Record]:
    """Records of all images in the order of the metadata, lateral views included.

    Args:
        root: Folder with ``mimic-cxr-2.0.0-metadata.csv.gz`` and the images, or the
            folder that holds ``mimic-cxr-jpg``.
        reports_root: Folder with the reports; None = the root, or ``mimic-cxr`` in it
            or beside it. Without reports, labels and images are still read.
        label_source: ``"chexpert"`` and ``"negbio"`` are labellers, ``"radiologist"``
            labelled a part of the test set by hand.

    Raises:
        DatasetNotFoundError: If tables or images are not there, or the label file of a
            source other than CheXpert's, or reports where ``reports_root`` says.
        ConfigError: If ``label_source`` is another word.
    """
    _check_source(label_source)
    root, parent = _jpg_root(root), root
    metadata = _table(root, "metadata", ["dicom_id", "subject_id", "study_id"])
    released = _table(root, "split", ["dicom_id", "split"])
    splits = dict(zip(released["dicom_id"], released["split"], strict=True))
    subjects, studies = list(metadata["subject_id"]), list(metadata["study_id"])
    dicoms = list(metadata["dicom_id"])
    folders = [
        f"p{subject[:2]}/p{subject}/s{study}"
        for subject, study in zip(subjects, studies, strict=True)
    ]
    stems = [f"{folder}/{dicom}" for folder, dicom in zip(folders, dicoms, strict=True)]
    base, suffix = _images(root, stems)
    reports = _reports_of(reports_root, (root, parent), folders)
    if label_source != "chexpert":
        # Who names a source wants its labels: here a missing file is an error.
        _table(root, label_source, ["study_id"])
    names, values = _labels(root, studies, label_source)
    if not names:
        logger.warning(
            "MIMIC-CXR: no %s in %s, all labels are unknown", TABLES[label_source], root
        )
        values = np.full((len(studies), len(LABEL_NAMES)), np.nan, np.float32)
    for i, (view, folder) in enumerate(zip(_views(metadata), folders, strict=True)):
        yield Record(
            uid=dicoms[i],
            image=base / f"{stems[i]}{suffix}",
            patient_id=subjects[i],
            study_id=studies[i],
            text="" if reports is None else reports / f"{folder}.txt",
            view=view,
            split=canonical_split(splits.get(dicoms[i], "")) or "",
            labels=tuple(values[i].tolist()),
            row=i + 2,
            facts={"label_source": label_source},
        )


def card(label_source: LabelSource, *, reports_root: Path | None = None) -> Card:
    """The card of the data set with labels of another source.

    Args:
        label_source: As of `read`.
        reports_root: As of `read`.
    """
    _check_source(label_source)
    return replace(
        CARD, read=partial(read, label_source=label_source, reports_root=reports_root)
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
        return _reports(given, folders)
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


def _table(root: Path, kind: str, columns: list[str]) -> pd.DataFrame:
    stem = TABLES[kind]
    path = _found(root, kind)
    if path is None:
        raise DatasetNotFoundError(
            f"{stem}.gz or {stem} in --data.root {root}",
            f"{_listing(root)}",
            "give the folder of MIMIC-CXR-JPG 2.x.0 that holds the csv files",
        )
    return read_table(path, columns, ids=["dicom_id", "subject_id", "study_id"])


def _found(root: Path, kind: str) -> Path | None:
    stem = TABLES[kind]
    return next((p for p in (root / f"{stem}.gz", root / stem) if p.is_file()), None)


def _listing(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder"
    names = sorted(path.name for path in folder.iterdir())
    return f"{len(names)} entries: {', '.join(names[:8])}"


def _views(metadata: pd.DataFrame) -> list[str | None]:
    blank = [""] * len(metadata)
    position = metadata.get("ViewPosition", blank)
    code = metadata.get("ViewCodeSequence_CodeMeaning", blank)
    return [
        canonical_view(first) or canonical_view(second)
        for first, second in zip(position, code, strict=True)
    ]


def _images(root: Path, stems: list[str]) -> tuple[Path, str]:
    for base in (root / "files", root):
        for suffix in (".jpg", ".png", ".jpeg"):
            if any((base / f"{stem}{suffix}").is_file() for stem in stems[:PROBED]):
                return base, suffix
    raise DatasetNotFoundError(
        f"images such as files/{stems[0]}.jpg below --data.root {root}",
        f"none of the first {min(PROBED, len(stems))}, with or without the folder "
        f"files, as .jpg or .png; in the root {_listing(root)}",
        "give the folder that holds files/p10, files/p11, ...",
    )


def _reports_base(root: Path, folders: list[str]) -> Path | None:
    unpacked = root / "mimic-cxr-reports"
    for base in (root / "files", root, unpacked / "files", unpacked):
        if any((base / f"{folder}.txt").is_file() for folder in folders[:PROBED]):
            return base
    return None


def _reports(root: Path, folders: list[str]) -> Path:
    base = _reports_base(root, folders)
    if base is not None:
        return base
    raise DatasetNotFoundError(
        f"reports such as files/{folders[0]}.txt below {root}",
        f"none of the first {min(PROBED, len(folders))}; there {_listing(root)}",
        "unpack mimic-cxr-reports.zip of MIMIC-CXR and give its folder with "
        "--data.reports_root",
    )


def _labels(
    root: Path, studies: list[str], source: str = "chexpert"
) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
    import pandas as pd

    # Labels are no part of pre-training: without the file there are none.
    if _found(root, source) is None:
        return (), np.empty((len(studies), 0), np.float32)
    table = _table(root, source, ["study_id"]).rename(columns=RENAMED)
    missing = [name for name in LABEL_NAMES if name not in table]
    if missing:
        raise DatasetNotFoundError(
            f"the label columns {', '.join(missing)} in {TABLES[source]}",
            f"columns {', '.join(map(str, table.columns))}",
            "download the file again",
        )
    numbers = table[list(LABEL_NAMES)].apply(pd.to_numeric, errors="coerce")
    values = numbers.to_numpy(np.float32, copy=True)
    # The row after the last stands for examinations that the labeller left out.
    values = np.vstack([values, np.full((1, len(LABEL_NAMES)), np.nan, np.float32)])
    line = {study: i for i, study in enumerate(table["study_id"])}
    return LABEL_NAMES, values[[line.get(study, -1) for study in studies]]


def _official(records: Sequence[Record]) -> list[str]:
    return [record.split for record in records]


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
            _official,
            level="patient",
            source="released mimic-cxr-2.0.0-split.csv.gz",
            counts={"train": 368_960, "val": 2_991, "test": 5_159},
        ),
    },
    overlaps=("ms_cxr",),
)

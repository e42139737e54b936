"""MIMIC-CXR-JPG 2.0.0 and 2.1.0 with the MIMIC-CXR reports, as they lie on disk.

377,110 images and 227,827 reports of 65 thousand patients of one hospital, with an
official split by patient and fourteen labels that CheXpert's labeller drew from the
reports (per examination: a lateral image has the labels of the frontal one). Access is
credentialed; neither images nor texts nor anything derived from the texts may be
passed on.

If you use it, cite Johnson et al., "MIMIC-CXR, a de-identified publicly available
database of chest radiographs with free-text reports", Scientific Data 6:317, 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlp_zoo.data.splits import canonical_split
from vlp_zoo.data.studies import FileStudies, canonical_view, matches_view
from vlp_zoo.errors import ConfigError, DatasetNotFoundError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LABEL_NAMES", "read_mimic_cxr"]

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
    label_names, labels = _labels(root, studies, UNCERTAIN[uncertain])
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


def _table(root: Path, kind: str, columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    # Release 2.1.0 kept the file names of 2.0.0.
    stem = f"mimic-cxr-2.0.0-{kind}.csv"
    path = next((p for p in (root / f"{stem}.gz", root / stem) if p.is_file()), None)
    if path is None:
        raise DatasetNotFoundError(
            f"{stem}.gz or {stem} in --data.root {root}",
            f"{_listing(root)}",
            "give the folder of MIMIC-CXR-JPG 2.x.0 that holds the csv files",
        )
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [name for name in columns if name not in table]
    if missing:
        raise DatasetNotFoundError(
            f"the columns {', '.join(missing)} in {path}",
            f"columns {', '.join(map(str, table.columns))}",
            "download the file again",
        )
    return table


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


def _reports(root: Path, folders: list[str]) -> Path:
    unpacked = root / "mimic-cxr-reports"
    for base in (root / "files", root, unpacked / "files", unpacked):
        if any((base / f"{folder}.txt").is_file() for folder in folders[:PROBED]):
            return base
    raise DatasetNotFoundError(
        f"reports such as files/{folders[0]}.txt below {root}",
        f"none of the first {min(PROBED, len(folders))}; there {_listing(root)}",
        "unpack mimic-cxr-reports.zip of MIMIC-CXR and give its folder with "
        "--data.reports_root",
    )


def _labels(
    root: Path, studies: list[str], uncertain: float
) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
    import pandas as pd

    # Labels are no part of pre-training: without the file there are none.
    stem = "mimic-cxr-2.0.0-chexpert.csv"
    if not any((root / name).is_file() for name in (f"{stem}.gz", stem)):
        return (), np.empty((len(studies), 0), np.float32)
    table = _table(root, "chexpert", ["study_id"]).rename(columns=RENAMED)
    missing = [name for name in LABEL_NAMES if name not in table]
    if missing:
        raise DatasetNotFoundError(
            f"the label columns {', '.join(missing)} in {stem}",
            f"columns {', '.join(map(str, table.columns))}",
            "download the file again",
        )
    numbers = table[list(LABEL_NAMES)].apply(pd.to_numeric, errors="coerce")
    values = numbers.to_numpy(np.float32, copy=True)
    values[values == -1] = uncertain
    # The row after the last stands for examinations that the labeller left out.
    values = np.vstack([values, np.full((1, len(LABEL_NAMES)), np.nan, np.float32)])
    line = {study: i for i, study in enumerate(table["study_id"])}
    return LABEL_NAMES, values[[line.get(study, -1) for study in studies]]

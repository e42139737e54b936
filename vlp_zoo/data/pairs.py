"""Any data set of images and reports that a CSV or Parquet file lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlp_zoo.data.records import MaskRef
from vlp_zoo.data.splits import canonical_split, check_patients, split_patients
from vlp_zoo.data.studies import (
    FileStudies,
    canonical_view,
    check_views,
    matches_view,
)
from vlp_zoo.data.tables import read_table
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.reading import parse_json
from vlp_zoo.reports.sections import report_of
from vlp_zoo.types import Report

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PairColumns", "read_pairs", "splits_of"]


@dataclass(frozen=True)
class PairColumns:
    """Names of the columns. Only the image and some text must be there.

    Attributes:
        image: Path of the image, relative to the table or to ``image_root``.
        report: The whole report; sections are found by their headings.
        findings: Ready section.
        impression: Ready section.
        patient_id: Grouping key of splits; the study, else the image, without it.
        study_id: Images of one examination share it.
        split: Train, val(id(ate)) or test.
        view: PA, AP, lateral, frontal.
        boxes: JSON list of boxes in pixels of the image.
        masks: JSON object, the name of each mask to its picture, relative to the
            table. A picture has two values, of which black is not marked, and is stored
            without loss; an empty mask is a picture too.
        label_prefix: Start of the names of label columns; the rest names the label.
    """

    image: str = "image"
    report: str | None = None
    findings: str = "findings"
    impression: str = "impression"
    patient_id: str = "patient_id"
    study_id: str = "study_id"
    split: str = "split"
    view: str = "view"
    boxes: str = "boxes"
    masks: str = "masks"
    label_prefix: str = "label_"


OTHER_SECTIONS = ("indication", "comparison")


def read_pairs(
    path: Path,
    columns: PairColumns | None = None,
    *,
    image_root: Path | None = None,
    views: Sequence[str] | None = None,
    need_report: bool = True,
    colour: bool = False,
) -> tuple[FileStudies, list[str] | None]:
    """Read a table of images and reports.

    Args:
        path: The table, in a format that `vlp_zoo.reading.read_table` reads.
        columns: Names of the columns; None = the usual ones.
        image_root: Folder that image paths start from; None = the table's own.
        views: Keep only these; "FRONTAL" stands for PA and AP too.
        need_report: False takes a table without any text: images and labels.
        colour: Keep images in colour.

    Returns:
        All studies in the order of the table, with the image path as uid, and the
        split of each where the table says so.

    Raises:
        DatasetNotFoundError: If the table or a column it must have is missing.
        ConfigError: If it is no table, or a split or a label has a value that means
            nothing here.
    """
    columns = columns or PairColumns()
    table = read_table(path, ids=[columns.patient_id, columns.study_id])
    _check_columns(path, table, columns, views, need_report)
    root = image_root if image_root is not None else path.parent
    found = _column(table, columns.view)
    known_views = [canonical_view(view) for view in found]
    keep = np.ones(len(table), dtype=bool)
    if views is not None:
        check_views(views, known_views)
        keep = np.array([matches_view(v, views) for v in known_views], dtype=bool)
    rows = [int(i) + 2 for i in np.nonzero(keep)[0]]
    known_views = [v for v, kept in zip(known_views, keep, strict=True) if kept]
    table = table[keep]
    if not len(table):
        raise DatasetNotFoundError(
            f"rows in {path}" + (f" with a view among {list(views)}" if views else ""),
            f"none; views present: {sorted(set(found))}",
            "correct --data.views, or fill the table",
        )

    images = _column(table, columns.image)
    study_ids = _ids(_column(table, columns.study_id), images)
    label_names, labels = _labels(path, table, columns.label_prefix)
    studies = FileStudies(
        path.stem,
        uids=images,
        patient_ids=_ids(_column(table, columns.patient_id), study_ids),
        study_ids=study_ids,
        images=[root / image for image in images],
        texts=_texts(table, columns),
        rows=rows,
        views=known_views,
        label_names=label_names,
        labels=labels,
        boxes=_column(table, columns.boxes),
        masks=_masks(path, _column(table, columns.masks), columns.masks, rows),
        colour=colour,
    )
    return studies, _splits(path, table, columns.split)


def splits_of(
    path: Path,
    studies: FileStudies,
    released: Sequence[str] | None,
    *,
    val: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
) -> list[str]:
    """The split of each row: the table's own, else one by the hash of the patient.

    Args:
        path: The table, for messages.
        studies: Rows of the table.
        released: What `read_pairs` found in the split column; None where there is none.
        val: Share of patients to validate on, without a split column.
        test: Share of patients to test on, without a split column.
        seed: Seed of the split by the hash of the patient.

    Raises:
        PatientLeakError: If a patient is on two sides.
        ConfigError: If nothing is there to train on, or shares are given that a split
            column would overrule.
    """
    drawn = split_patients(studies.patient_ids, val=val, test=test, seed=seed)
    if released is not None:
        counts = Counter(released)
        if "train" not in counts:
            raise ConfigError(
                f"rows for training in the split column of {path}",
                ", ".join(f"{name} {count}" for name, count in sorted(counts.items())),
                "name some rows train, or drop the column to let the hash of the "
                "patient id decide",
            )
        if (val, test, seed) != (0.1, 0.1, 0):
            raise ConfigError(
                f"a table without a split column for the shares val {val}, test {test}, "
                f"seed {seed}",
                f"{path} says itself how it is split",
                "leave the shares out, or set --data.split_column to a name that the "
                "table does not have",
            )
    splits = drawn if released is None else list(released)
    check_patients(
        str(path),
        studies.patient_ids,
        splits,
        "split by patient and spell each patient in one way, or drop the split column to "
        "let the hash of the patient id decide",
    )
    return splits


def _check_columns(
    path: Path,
    table: pd.DataFrame,
    columns: PairColumns,
    views: Sequence[str] | None,
    need_report: bool,
) -> None:
    sections = (columns.findings, columns.impression)
    missing = []
    if columns.image not in table:
        missing.append(f"{columns.image} (--data.image_column)")
    if columns.report is not None and columns.report not in table:
        missing.append(f"{columns.report} (--data.report_column)")
    text = columns.report is not None or any(name in table for name in sections)
    if need_report and not text:
        missing.append(
            f"{' or '.join(sections)} (--data.findings_column and "
            "--data.impression_column, or --data.report_column for whole reports)"
        )
    if views is not None and columns.view not in table:
        missing.append(f"{columns.view} (--data.view_column), because of --data.views")
    # A name that was changed by hand and is not there is a typing error.
    missing += [
        f"{name} (--data.{_option(entry.name)})"
        for entry in fields(columns)
        if entry.name not in ("image", "report", "label_prefix", "view")
        and (name := getattr(columns, entry.name)) != entry.default
        and name not in table
    ]
    ready = [n for n in ("findings", "impression") if getattr(columns, n) != n]
    if columns.report is not None and ready:
        raise ConfigError(
            "whole reports, or ready sections",
            f"--data.report_column and --data.{ready[0]}_column, which would not be read",
            "leave one of them out",
        )
    if missing:
        raise DatasetNotFoundError(
            f"in {path} the column(s) {'; '.join(missing)}",
            f"columns {', '.join(map(str, table.columns))}",
            "set the options named above to columns that the file has",
        )


def _option(field: str) -> str:
    return f"{field.removesuffix('_id')}_column"


def _column(table: pd.DataFrame, name: str) -> list[str]:
    if name not in table:
        return [""] * len(table)
    return [str(value) for value in table[name]]


def _ids(values: list[str], instead: list[str]) -> list[str]:
    """Identifiers, the other one where blank."""
    return [
        other if value.lower() in ("", "nan", "none", "<na>") else value
        for value, other in zip(values, instead, strict=True)
    ]


def _texts(table: pd.DataFrame, columns: PairColumns) -> Sequence[Report | str]:
    if columns.report is not None:
        return _column(table, columns.report)
    names = {"findings": columns.findings, "impression": columns.impression}
    names = {name: name for name in OTHER_SECTIONS} | names
    sections = {name: _column(table, column) for name, column in names.items()}
    rows = zip(*sections.values(), strict=True)
    return [report_of(dict(zip(sections, row, strict=True))) for row in rows]


def _masks(
    path: Path, cells: Sequence[str], column: str, rows: Sequence[int]
) -> list[tuple[MaskRef, ...]]:
    found = []
    for row, cell in zip(rows, cells, strict=True):
        try:
            files = parse_json(cell) if cell.strip() else {}
            masks = [
                MaskRef(
                    str(name),
                    "file",
                    path.parent / str(file),
                    (1, 2**16 - 1),
                    two_valued=True,
                )
                for name, file in files.items()
            ]
        except (ValueError, AttributeError) as error:
            raise ConfigError(
                f'{{"name of a mask": "picture.png"}} in the column {column} of {path}',
                f"{cell[:60]!r} in row {row}",
                "correct the column, or set --data.masks_column to another one",
            ) from error
        found.append(tuple(masks))
    return found


def _labels(
    path: Path, table: pd.DataFrame, prefix: str
) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
    import pandas as pd

    names = [str(name) for name in table.columns if str(name).startswith(prefix)]
    values = np.full((len(table), len(names)), np.nan, np.float32)
    for k, name in enumerate(names):
        cells = table[name].str.strip()
        numbers = pd.to_numeric(cells, errors="coerce").to_numpy(np.float32)
        blank = cells.str.lower().isin(["", "nan", "none", "<na>"]).to_numpy(bool)
        # CheXpert's -1 says that the report is not sure: unknown, not absent.
        numbers[numbers == -1] = np.nan
        unsure = (cells.str.removesuffix(".0") == "-1").to_numpy(bool)
        strange = (np.isnan(numbers) & ~blank & ~unsure) | (numbers < 0) | (numbers > 1)
        if strange.any():
            raise ConfigError(
                f"values from 0 to 1, -1 or blank in the label column {name} of {path}",
                f"{sorted(set(cells[strange]))[:5]}",
                "correct the column, or set --data.label_prefix to another start",
            )
        values[:, k] = numbers
    return tuple(name.removeprefix(prefix) for name in names), values


def _splits(path: Path, table: pd.DataFrame, column: str) -> list[str] | None:
    if column not in table:
        return None
    names = [canonical_split(value) for value in _column(table, column)]
    if None in names:
        raise ConfigError(
            f"train, val (valid, validate) or test in the column {column} of {path}",
            f"{sorted(set(table[column]))}",
            "correct the column, or set --data.split_column to another one",
        )
    return [name for name in names if name is not None]

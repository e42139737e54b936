"""CheXpert Plus: the images of CheXpert with their reports, sections and demographics.

Layout::

    df_chexpert_plus_240401.csv    # 223,462 rows, 27 columns; another date may follow
    PNG/{train,valid}/patient#####/study#/view#_{frontal,lateral}.png
    chexbert_labels/{impression,findings,report}_fixed.json    # one object per line

``path_to_image`` ends in .jpg and ``path_to_dcm`` in .dcm, whatever was downloaded;
PNG, JPEG and DICOM files are found in the root, in ``PNG``, ``DICOM``, ``images`` or a
folder ``CheXpert-v1.0*`` of the first release. The label files may also lie in the root
or in ``labels``.

Columns: ``path_to_image, path_to_dcm, frontal_lateral, ap_pa, deid_patient_id,
patient_report_date_order, report, section_narrative, section_clinical_history,
section_history, section_comparison, section_technique, section_procedure_comments,
section_findings, section_impression, section_end_of_impression, section_summary,
section_accession_number, age, sex, race, ethnicity, interpreter_needed, insurance_type,
recent_bmi, deceased, split``. They and the names of the label files are taken from
public descriptions of the release and from code that reads it, not from the files
themselves; only ``path_to_image`` and ``report`` are required here.

Not verified, and to be looked at by whoever holds the files: how blank sections are
written (an empty cell, and a backslash with an n, are taken for blank), and the folders
inside the downloads. Users of the release wrote that they found ``findings_fixed.json`` of little use and
views of one examination with different labels in ``report_fixed.json``, and the order of
``patient_report_date_order`` not to be that of time: it is kept as a fact only.

Labels: fourteen, by CheXbert from the impression, as `read`'s ``label_source`` says;
1, 0, -1 (uncertain) and not stated (NaN) are kept. Without a label file there are none
(NaN). CheXpert's own labels, by another labeller, are in the first release.

Reports: ready sections; many have an impression and no findings.

Splits: ``official`` is train and valid (234 images, labelled by three radiologists in the
first release); test images are not part of it. Patients are those of CheXpert.

Access: registration and research-use agreement (Stanford AIMI). Cite Chambon et al.,
"CheXpert Plus: Augmenting a Large Chest X-ray Dataset with Text Radiology Reports,
Patient Demographics and Additional Image Formats", arXiv 2405.19538, 2024.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from vlp_zoo.data.chest.chexpert import LABEL_NAMES as CHEXPERT_NAMES
from vlp_zoo.data.chest.radiographs import PROBED, first_layout
from vlp_zoo.data.records import Card, Record, SplitRule
from vlp_zoo.data.splits import as_released, canonical_split
from vlp_zoo.data.studies import canonical_view
from vlp_zoo.data.tables import (
    Row,
    check_join,
    check_word,
    find_one,
    first_of,
    listing,
    number,
    read_rows,
    shaped,
)
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.reading import parse_json, read_text
from vlp_zoo.reports.blank import is_blank
from vlp_zoo.reports.sections import report_of, split_sections
from vlp_zoo.types import Report

__all__ = ["CARD", "LABEL_NAMES", "LabelSource", "read"]

logger = logging.getLogger(__name__)

LABEL_NAMES = (*CHEXPERT_NAMES[1:], CHEXPERT_NAMES[0])
"""CheXbert's order."""

LabelSource = Literal["impression", "findings", "report"]
SOURCES = ("impression", "findings", "report")
SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm")
FACTS = ("sex", "race", "ethnicity", "insurance_type", "deceased")


def read(root: Path, *, label_source: LabelSource = "impression") -> Iterator[Record]:
    """Records in the order of the table.

    Args:
        root: Folder with ``df_chexpert_plus_240401.csv``.
        label_source: The part of the report that the labels were drawn from.

    Raises:
        DatasetNotFoundError: If the table, a column or all images are missing, or a line
            of the label file is none.
        ConfigError: If ``label_source`` is another word.
    """
    check_word(label_source, SOURCES, "a label source")
    path = find_one(root, ["df_chexpert_plus_*.csv*"], "the table of CheXpert Plus")
    rows = read_rows(path, ["path_to_image", "report"])
    stems = [_stem(row["path_to_image"]) for row in rows]
    base, suffix = _images(root, stems)
    labels = _labels(root, label_source)
    if labels:
        check_join(stems, labels, "labels of images", f"{label_source}_fixed.json")
    unknown = (float("nan"),) * len(LABEL_NAMES)
    for row, stem in zip(rows, stems, strict=True):
        # train/patient00001/study1/view1_frontal
        parts = stem.split("/")
        patient = _cell(row, "deid_patient_id") or parts[-3]
        yield Record(
            uid=stem,
            image=base / f"{stem}{suffix}",
            patient_id=patient,
            study_id="/".join(parts[-3:-1]),
            text=_report(row),
            view=_view(row, stem),
            split=canonical_split(_cell(row, "split") or parts[0]) or "",
            labels=labels.get(stem, unknown),
            row=row.line,
            facts={
                "age": number(_cell(row, "age")),
                "bmi": number(_cell(row, "recent_bmi")),
                "order": number(_cell(row, "patient_report_date_order")),
                **{name: _cell(row, name) for name in FACTS},
            },
        )


def _stem(path: str) -> str:
    """A path without its suffix and without the folder of the first release."""
    parts = path.strip().replace("\\", "/").strip("/").split("/")
    # The last four are fixed: split, patient, study, view.
    return "/".join(parts[-4:]).rsplit(".", 1)[0]


def _cell(row: Row, name: str) -> str:
    # Line breaks were written as a backslash and a letter in blank sections.
    return row.get(name).replace("\\n", "\n").strip()


def _report(row: Row) -> Report:
    history = [
        _cell(row, f"section_{name}") for name in ("clinical_history", "history")
    ]
    sections = {
        "indication": " ".join(part for part in history if not is_blank(part)),
        "comparison": _cell(row, "section_comparison"),
        "findings": _cell(row, "section_findings"),
        "impression": _cell(row, "section_impression"),
    }
    known = report_of({n: " ".join(text.split()) for n, text in sections.items()})
    whole = split_sections(_cell(row, "report"))
    # Where the authors' parser found neither, the report's own headings are asked.
    return replace(known, text=whole.text) if known.body else whole


def _view(row: Row, stem: str) -> str | None:
    side = _cell(row, "frontal_lateral").lower()
    if side == "lateral" or (not side and stem.endswith("_lateral")):
        return "LATERAL"
    return canonical_view(_cell(row, "ap_pa") or side)


def _images(root: Path, stems: Sequence[str]) -> tuple[Path, str]:
    named = [root / name for name in ("PNG", "images", "DICOM")]
    bases = [root, *named, *sorted(root.glob("CheXpert-v1.0*"))]
    if found := first_layout(bases, SUFFIXES, stems[:PROBED]):
        return found
    example = f"{stems[0]}.png" if stems else "train/patient00001/..."
    raise DatasetNotFoundError(
        f"images of CheXpert Plus such as PNG/{example} in {root}",
        f"none of the first {min(PROBED, len(stems))} as .png, .jpg or .dcm, in the "
        f"root, PNG, images, DICOM or CheXpert-v1.0*; there {listing(root)}",
        "put the folders train and valid there",
    )


def _labels(root: Path, source: str) -> dict[str, tuple[float, ...]]:
    name = f"{source}_fixed.json"
    path = first_of(root, (f"chexbert_labels/{name}", f"labels/{name}", name))
    if path is None:
        logger.warning("CheXpert Plus: no %s, so all labels are unknown", name)
        return {}
    labels = {}
    for line, text in enumerate(read_text(path, "the labels").split("\n"), 1):
        if not text.strip():
            continue
        where = f"line {line} of {path}"
        with shaped("path_to_image and fourteen labels", where, DatasetNotFoundError):
            entry = parse_json(text)
            # A blank is null: not stated.
            values = tuple(
                float("nan") if entry[label] is None else float(entry[label])
                for label in LABEL_NAMES
            )
            labels[_stem(entry["path_to_image"])] = values
    return labels


CARD = Card(
    name="chexpert_plus",
    title="CheXpert Plus",
    domain="chest",
    read=read,
    label_names=LABEL_NAMES,
    gives=("reports", "labels"),
    patients="true",
    markers=("df_chexpert_plus_*.csv*",),
    access="registration and agreement, Stanford AIMI",
    licence="Stanford research use, non-commercial",
    citation="Chambon et al., CheXpert Plus, arXiv 2405.19538",
    splits={
        "official": SplitRule(
            as_released,
            level="patient",
            source="released train and valid",
            counts={"train": 223_228, "val": 234},
        ),
    },
    overlaps=("chexpert", "chexlocalize"),
)

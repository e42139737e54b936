"""Open-i, or IU X-Ray: 7,470 frontal and lateral images of 3,955 examinations, with reports.

Three layouts are read; the first of these that lies in the root decides.

The collection of the National Library of Medicine::

    ecgen-radiology/<n>.xml        # NLMCXR_reports.tgz, one file per report
    NLMCXR_png/CXR<n>_IM-<a>-<b>.png    # or in images, or in the root

Kaggle's pack by raddar, the only one that says which images are lateral::

    indiana_reports.csv            # uid, MeSH, Problems, indication, ..., impression
    indiana_projections.csv        # uid, filename, projection
    images/images_normalized/<n>_IM-<a>-<b>.dcm.png

R2Gen's pack for report generation, findings only and two images per report::

    annotation.json                # {"train": [{"id", "report", "image_path"}, ...]}
    images/CXR<n>_IM-<a>/{0,1}.png

Images are named as in the layout at hand: uids of different layouts do not compare.
Reports come with their sections as released, names blanked as XXXX. A report with
neither findings nor impression counts as none. 104 reports have no image and give no
record.

Labels are made of the MeSH terms that two coders gave each report: a term's heading
("Opacity" of "Opacity/lung/base/left") stands for the label listed in `HEADINGS`, a
label that no term names is absent, and "normal" is "No Finding". Examinations without
terms or with "No Indexing" have none (NaN), nor has R2Gen's pack. All terms are in
``facts["mesh"]``.

Splits: none is released with the collection; ``r2gen`` is the one in R2Gen's pack.
Patients are not released; an examination stands for one (the collection was drawn with
one per patient).

Access: open. Licence CC BY-NC-ND 4.0. Cite Demner-Fushman et al., "Preparing a
collection of radiology examinations for distribution and retrieval", JAMIA 2016.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from vlp_zoo.data.chest.radiographs import files_by_stem
from vlp_zoo.data.records import Card, Record, SplitRule
from vlp_zoo.data.splits import as_released, canonical_split
from vlp_zoo.data.studies import canonical_view
from vlp_zoo.data.tables import find_one, read_rows, shaped, without
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.reading import read_bytes, read_json
from vlp_zoo.reports.sections import report_of
from vlp_zoo.types import Report

__all__ = ["CARD", "HEADINGS", "LABEL_NAMES", "labels_of", "read"]

logger = logging.getLogger(__name__)

HEADINGS: dict[str, tuple[str, ...]] = {
    "Atelectasis": ("pulmonary atelectasis",),
    "Cardiomegaly": ("cardiomegaly",),
    "Consolidation": ("consolidation",),
    "Edema": ("pulmonary edema",),
    "Emphysema": ("emphysema", "pulmonary emphysema", "bullous emphysema"),
    "Fibrosis": ("pulmonary fibrosis",),
    "Fracture": ("fractures, bone",),
    "Granuloma": ("granuloma", "calcified granuloma", "granulomatous disease"),
    "Hernia": ("hernia, hiatal", "hernia, diaphragmatic"),
    "Infiltrate": ("infiltrate",),
    "Mass": ("mass",),
    "Nodule": ("nodule",),
    "Opacity": ("opacity",),
    "Pleural Effusion": ("pleural effusion", "hydropneumothorax"),
    "Pleural Thickening": ("thickening/pleura",),
    "Pneumonia": ("pneumonia",),
    "Pneumothorax": ("pneumothorax", "hydropneumothorax"),
    "No Finding": ("normal",),
}
"""Label to the MeSH headings (lower-case) that stand for it, with a qualifier where the
heading alone would not do."""

LABEL_NAMES = tuple(HEADINGS)
UNCODED = ("no indexing", "technical quality of image unsatisfactory")
"""Terms that say that an examination was not coded."""

SECTIONS = ("comparison", "indication", "findings", "impression")
REPORTS = (
    "ecgen-radiology",
    "NLMCXR_reports/ecgen-radiology",
    "reports/ecgen-radiology",
)
FOLDERS = ("NLMCXR_png", "images/NLMCXR_png", "images/images_normalized", "images")


def read(root: Path) -> Iterator[Record]:
    """Records in the order of the reports (XML), the projections or the annotations.

    Args:
        root: Folder of one of the three layouts.

    Raises:
        DatasetNotFoundError: If none of them is there, or a part of it is missing.
    """
    xml = next((root / name for name in REPORTS if (root / name).is_dir()), None)
    tables = sorted(root.glob("[iI]ndiana_reports.csv*"))
    if xml is not None:
        yield from _collection(root, xml)
    elif tables:
        yield from _kaggle(root, tables[0])
    elif (root / "annotation.json").is_file():
        yield from _r2gen(root)
    else:
        raise without("ecgen-radiology, indiana_reports.csv or annotation.json", root)


def labels_of(terms: Iterable[str]) -> tuple[float, ...]:
    """Labels in the order of ``LABEL_NAMES`` from MeSH terms.

    Args:
        terms: MeSH terms, qualifiers divided by slashes: ``"Opacity/lung/base/left"``.

    Returns:
        1 where a term names the label, 0 where none does; all NaN without coding.

    Example:
        >>> found = labels_of(["Thickening/pleura/apex/left", "Cardiomegaly/mild"])
        >>> [n for n, v in zip(LABEL_NAMES, found, strict=True) if v]
        ['Cardiomegaly', 'Pleural Thickening']
    """
    parts = [[part.strip().lower() for part in term.split("/")] for term in terms]
    headings = {part[0] for part in parts if part[0]}
    if not headings - set(UNCODED):
        return (float("nan"),) * len(LABEL_NAMES)
    headings |= {f"{part[0]}/{qualifier}" for part in parts for qualifier in part[1:]}
    return tuple(float(not headings.isdisjoint(names)) for names in HEADINGS.values())


def _collection(root: Path, folder: Path) -> Iterator[Record]:
    paths = sorted(folder.glob("*.xml"), key=lambda path: (len(path.stem), path.stem))
    images = _images(root)
    bare = 0
    for row, path in enumerate(paths, 1):
        try:
            report = ElementTree.fromstring(read_bytes(path, "the report"))
        # A LookupError is an encoding that nobody knows.
        except (ElementTree.ParseError, LookupError) as error:
            raise DatasetNotFoundError(
                f"a report of Open-i in {path}",
                f"no XML: {error}",
                "unpack NLMCXR_reports.tgz again",
            ) from error
        named = report.find("uId")
        study = (named.get("id", "") if named is not None else "") or f"CXR{path.stem}"
        sections = {
            str(part.get("Label", "")).lower(): "".join(part.itertext())
            for part in report.iter("AbstractText")
        }
        major, automatic = (
            tuple("".join(term.itertext()).strip() for term in report.iter(tag))
            for tag in ("major", "automatic")
        )
        parents = [str(image.get("id", "")) for image in report.iter("parentImage")]
        bare += not parents
        for name in parents:
            yield Record(
                uid=name,
                image=images.get(name, root / FOLDERS[0] / f"{name}.png"),
                patient_id=study,
                study_id=study,
                text=_report(sections),
                labels=labels_of(major),
                row=row,
                facts={"mesh": major, "mesh_automatic": automatic},
            )
    if bare:
        logger.info("Open-i: %d of %d reports have no image", bare, len(paths))


def _kaggle(root: Path, path: Path) -> Iterator[Record]:
    rows = read_rows(path, ["uid", "MeSH", *SECTIONS], ids=["uid"])
    reports = {row["uid"]: row for row in rows}
    names = ["indiana_projections.csv*", "Indiana_projections.csv*"]
    lists = find_one(root, names, "the images of Open-i's reports")
    images = _images(root)
    for row in read_rows(lists, ["uid", "filename", "projection"], ids=["uid"]):
        study, name = row["uid"], row["filename"]
        if study not in reports:
            raise DatasetNotFoundError(
                f"the report {study} of {row.where} in {path}",
                "no such row",
                "download the two tables again: they belong together",
            )
        report = reports[study]
        terms = tuple(term.strip() for term in report["MeSH"].split(";"))
        yield Record(
            uid=name.removesuffix(".png").removesuffix(".dcm"),
            image=images.get(name.removesuffix(".png"), root / FOLDERS[2] / name),
            patient_id=f"CXR{study}",
            study_id=f"CXR{study}",
            text=_report({name: report[name] for name in SECTIONS}),
            view=canonical_view(row["projection"]),
            labels=labels_of(terms),
            row=row.line,
            facts={"mesh": terms},
        )


def _r2gen(root: Path) -> Iterator[Record]:
    path = root / "annotation.json"
    content = read_json(path)
    what = "splits of id, report and image_path"
    with shaped(what, path, DatasetNotFoundError):
        entries = [(s, entry) for s, group in content.items() for entry in group]
        rows = [
            (split, str(entry["id"]), str(entry["report"]), str(image))
            for split, entry in entries
            for image in entry["image_path"]
        ]
    for row, (split, study, text, image) in enumerate(rows, 1):
        yield Record(
            uid=image.removesuffix(".png"),
            image=root / "images" / image,
            patient_id=study.split("_")[0],
            study_id=study,
            text=_report({"findings": text}),
            split=canonical_split(split) or "",
            labels=labels_of(()),
            row=row,
        )


def _report(sections: Mapping[str, Any]) -> Report:
    report = report_of(
        {name: " ".join(sections.get(name, "").split()) for name in SECTIONS}
    )
    # What was asked for is no report of what was seen.
    return report if report.body else replace(report, text="")


def _images(root: Path) -> dict[str, Path]:
    """File names without suffix to files."""
    images = files_by_stem([*(root / name for name in FOLDERS), root])
    if not images:
        what = f"*.png in {', '.join(FOLDERS)}, or directly"
        raise without(what, root, "unpack NLMCXR_png.tgz there")
    return images


def _from_r2gen(records: Sequence[Record]) -> list[str]:
    if not any(record.split for record in records):
        raise DatasetNotFoundError(
            "the split in R2Gen's annotation.json",
            "another layout of Open-i, which has none",
            "give the folder of R2Gen's pack, or use --data.split canonical",
        )
    return as_released(records)


CARD = Card(
    name="openi",
    title="Open-i (IU X-Ray)",
    domain="chest",
    read=read,
    label_names=LABEL_NAMES,
    gives=("reports", "labels"),
    patients="proxy",
    markers=(*REPORTS, "[iI]ndiana_reports.csv*", "annotation.json"),
    access="open download, National Library of Medicine",
    licence="CC BY-NC-ND 4.0",
    citation="Demner-Fushman et al., JAMIA 2016",
    splits={
        "r2gen": SplitRule(
            _from_r2gen,
            level="patient",
            source="Chen et al., R2Gen, EMNLP 2020: the released annotation.json",
        ),
    },
)

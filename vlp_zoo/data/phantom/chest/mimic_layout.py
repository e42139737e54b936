"""The chest world in the official layout of MIMIC-CXR-JPG and its reports.

Column names, value codes and file names are those of MIMIC-CXR-JPG 2.0.0, reports lie
at the patient level as in MIMIC-CXR, and a few rows lack ``ViewPosition``, as there.
The tables are written last: a folder that has them is complete.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable
from datetime import date, timedelta

import numpy as np

from vlp_zoo.data.phantom.canvas import Rng
from vlp_zoo.data.phantom.chest.facts import LABELS
from vlp_zoo.data.phantom.chest.source import PhantomChestSource
from vlp_zoo.data.phantom.folder import Layout, write_atomically
from vlp_zoo.types import Study

__all__ = ["METADATA_COLUMNS", "write_mimic_layout"]

METADATA_COLUMNS = (
    "dicom_id",
    "subject_id",
    "study_id",
    "PerformedProcedureStepDescription",
    "ViewPosition",
    "Rows",
    "Columns",
    "StudyDate",
    "StudyTime",
    "ProcedureCodeSequence_CodeMeaning",
    "ViewCodeSequence_CodeMeaning",
    "PatientOrientationCodeSequence_CodeMeaning",
)
TABLES = ("metadata", "split", "chexpert", "negbio")
VIEW_CODES = {"PA": "postero-anterior", "AP": "antero-posterior", "LATERAL": "lateral"}
OFFICIAL_SPLITS = {"train": "train", "val": "validate", "test": "test"}


def _table(rows: Iterable[Iterable[object]], header: Iterable[str]) -> bytes:
    """A gzipped CSV whose bytes depend on nothing but its rows."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream:
        stream.write(text.getvalue().encode())
    return packed.getvalue()


def _codes(mentioned: dict[str, float]) -> list[str]:
    """One labeller's row: 1.0, 0.0, -1.0, or blank for what the text leaves out."""
    row = []
    for label in LABELS:
        state = mentioned.get(label)
        if label == "No Finding" and state != 1:
            state = None
        row.append("" if state is None else f"{state:.1f}")
    return row


def _second_reading(mentioned: dict[str, float], rng: Rng) -> dict[str, float]:
    """Another labeller's view: now and then it misses a doubt or a denial."""
    other = dict(mentioned)
    for label, state in mentioned.items():
        if rng.random() < 0.04:
            if state == -1:
                other[label] = 1.0
            elif state == 0:
                del other[label]
    return other


def _when(subject: str, number: int) -> tuple[str, str]:
    """Shifted date and time: only the order within a patient means anything."""
    rng = np.random.default_rng((int(subject), 71))
    day = date(2110 + int(rng.integers(90)), 1, 1) + timedelta(int(rng.integers(365)))
    for _ in range(number):
        day += timedelta(1 + int(rng.integers(200)))
    clock = np.random.default_rng((int(subject), 72, number)).integers(
        (24, 60, 60, 1000)
    )
    hour, minute, second, part = (int(v) for v in clock)
    return day.strftime("%Y%m%d"), f"{hour:02d}{minute:02d}{second:02d}.{part:03d}"


def _metadata(study: Study, source: PhantomChestSource, index: int) -> list[object]:
    procedure = source.procedure(index)
    rng = np.random.default_rng((int(study.study_id), 73))
    view = study.view or ""
    stated = "" if rng.random() < 0.04 else view
    height, width = study.image.shape
    day, clock = _when(study.patient_id, source.study_number(index))
    posture = "Recumbent" if view == "AP" else "Erect"
    return [
        study.uid,
        study.patient_id,
        study.study_id,
        procedure,
        stated,
        height,
        width,
        day,
        clock,
        procedure,
        VIEW_CODES[view],
        posture,
    ]


def write_mimic_layout(layout: Layout[PhantomChestSource]) -> int:
    """Write images, reports and the four tables.

    Args:
        layout: What is written, and where to.

    Returns:
        The number of images.

    Raises:
        ConfigError: If the folder may not be written.
    """
    names = tuple(f"mimic-cxr-2.0.0-{table}.csv.gz" for table in TABLES)
    layout.begin("mimic-cxr", ("files", *names))
    rows: dict[str, list[list[object]]] = {table: [] for table in TABLES}
    seen: set[tuple[str, str]] = set()
    for source, index, study in layout.images():
        subject, number = study.patient_id, study.study_id
        person = f"files/p{subject[:2]}/p{subject}"
        layout.write_image(f"{person}/s{number}/{study.uid}.jpg", study.image)
        rows["metadata"].append(_metadata(study, source, index))
        official = OFFICIAL_SPLITS[source.split]
        rows["split"].append([study.uid, number, subject, official])
        if (source.split, number) in seen:
            continue
        seen.add((source.split, number))
        write_atomically(
            layout.out / person / f"s{number}.txt", study.report.text.encode()
        )
        mentioned = study.facts["mentioned"]
        rng = np.random.default_rng((int(number), 74))
        rows["chexpert"].append([subject, number, *_codes(mentioned)])
        second = _second_reading(mentioned, rng)
        rows["negbio"].append([subject, number, *_codes(second)])
    headers = {
        "metadata": METADATA_COLUMNS,
        "split": ("dicom_id", "study_id", "subject_id", "split"),
        "chexpert": ("subject_id", "study_id", *LABELS),
        "negbio": ("subject_id", "study_id", *LABELS),
    }
    for name, table in zip(names, TABLES, strict=True):
        write_atomically(layout.out / name, _table(rows[table], headers[table]))
    return sum(map(len, layout.sources))

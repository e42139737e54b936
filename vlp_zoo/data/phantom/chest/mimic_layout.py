"""The chest world in the official layout of MIMIC-CXR-JPG and its reports.

Column names, value codes and file names are those of MIMIC-CXR-JPG 2.0.0, reports lie
at the patient level as in MIMIC-CXR, and a few rows lack ``ViewPosition``, as there.
The tables are written last: a folder that has them is complete.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from vlp_zoo.data.phantom.canvas import Rng
from vlp_zoo.data.phantom.chest.facts import LABELS
from vlp_zoo.data.phantom.chest.source import PhantomChestSource
from vlp_zoo.data.phantom.folder import Layout, write_atomically
from vlp_zoo.types import Study

__all__ = ["write_mimic_layout"]

TABLES = ("metadata", "split", "chexpert", "negbio")
VIEW_CODES = {"PA": "postero-anterior", "AP": "antero-posterior", "LATERAL": "lateral"}
OFFICIAL_SPLITS = {"train": "train", "val": "validate", "test": "test"}


def _codes(mentioned: dict[str, float]) -> dict[str, str]:
    """One labeller's row: 1.0, 0.0, -1.0, or blank for what the text leaves out."""
    row = {label: f"{mentioned[label]:.1f}" for label in LABELS if label in mentioned}
    blank = dict.fromkeys(LABELS, "")
    return blank | row | ({} if row.get("No Finding") == "1.0" else {"No Finding": ""})


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


def _metadata(
    study: Study, source: PhantomChestSource, index: int
) -> dict[str, object]:
    procedure = source.procedure(index)
    rng = np.random.default_rng((int(study.study_id), 73))
    view = study.view or ""
    height, width = study.image.shape
    day, clock = _when(study.patient_id, source.study_number(index))
    posture = "Recumbent" if view == "AP" else "Erect"
    return {
        "dicom_id": study.uid,
        "subject_id": study.patient_id,
        "study_id": study.study_id,
        "PerformedProcedureStepDescription": procedure,
        "ViewPosition": "" if rng.random() < 0.04 else view,
        "Rows": height,
        "Columns": width,
        "StudyDate": day,
        "StudyTime": clock,
        "ProcedureCodeSequence_CodeMeaning": procedure,
        "ViewCodeSequence_CodeMeaning": VIEW_CODES[view],
        "PatientOrientationCodeSequence_CodeMeaning": posture,
    }


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
    rows: dict[str, list[dict[str, object]]] = {table: [] for table in TABLES}
    seen: set[tuple[str, str]] = set()
    for source, index, study in layout.images():
        subject, number = study.patient_id, study.study_id
        person = f"files/p{subject[:2]}/p{subject}"
        layout.write_image(f"{person}/s{number}/{study.uid}.jpg", study.image)
        rows["metadata"].append(_metadata(study, source, index))
        ids = {"study_id": number, "subject_id": subject}
        split = OFFICIAL_SPLITS[source.split]
        rows["split"].append({"dicom_id": study.uid, **ids, "split": split})
        if (source.split, number) in seen:
            continue
        seen.add((source.split, number))
        report = study.report.text.encode()
        write_atomically(layout.out / person / f"s{number}.txt", report)
        ids = {"subject_id": subject, "study_id": number}
        mentioned = study.facts["mentioned"]
        rows["chexpert"].append({**ids, **_codes(mentioned)})
        second = _second_reading(mentioned, np.random.default_rng((int(number), 74)))
        rows["negbio"].append({**ids, **_codes(second)})
    for name, table in zip(names, TABLES, strict=True):
        layout.write_table(name, rows[table])
    return sum(map(len, layout.sources))

"""MIMIC-CXR-JPG and its reports in the official layout, tiny and with real faults."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

from tests.fakes.pairs import write_image

__all__ = [
    "BROKEN",
    "EMPTY_REPORT",
    "NO_REPORT",
    "TRUNCATED",
    "dicom_id",
    "write_mimic_cxr",
    "write_other_labels",
]

TRUNCATED, NO_REPORT, EMPTY_REPORT = 3, 5, 6
"""Examinations with a cut JPEG, without a report, and with one that says nothing."""

LABELS = (
    # Not the order of the package: columns must be found by name.
    "Pneumonia,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,"
    "Fracture,Lung Lesion,Lung Opacity,No Finding,Pleural Effusion,Pleural Other,"
    "Pneumothorax,Support Devices"
)
METADATA = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,"
    "Columns,StudyDate,StudyTime,ProcedureCodeSequence_CodeMeaning,"
    "ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)
REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with cough.

 FINDINGS:

 Heart size of study {i} is normal.  There is no
 pleural effusion.

 IMPRESSION:

 No acute process.
"""


def dicom_id(i: int, image: int = 0) -> str:
    """Five groups of eight hexadecimal digits, as the official names."""
    return "-".join(f"{i * 16 + image:08x}" for _ in range(5))


BROKEN = dicom_id(TRUNCATED)
"""The cut JPEG."""


def ids(i: int) -> tuple[str, str]:
    """Subject and study; two examinations per subject."""
    return f"1{i // 2:07d}", f"5{i:07d}"


def write_mimic_cxr(
    root: Path,
    reports_root: Path | None = None,
    *,
    studies: int = 10,
    zipped: bool = True,
    files: bool = True,
    faults: bool = True,
) -> None:
    """Write ``studies`` examinations, a frontal and a lateral image each.

    Examination 1 has no ViewPosition but a view code, 2 has neither. Splits are
    train for subjects 0 to 2, validate for 3 and test for the rest.
    """
    reports_root = reports_root or root
    metadata, split, chexpert = [METADATA], ["dicom_id,study_id,subject_id,split"], []
    chexpert = [f"subject_id,study_id,{LABELS}"]
    inner = "files" if files else ""
    for i in range(studies):
        subject, study = ids(i)
        patient = Path(inner) / f"p{subject[:2]}" / f"p{subject}"
        name = ("train", "train", "train", "validate")[i // 2] if i < 8 else "test"
        for image, view in enumerate(("PA", "LATERAL")):
            code = {"PA": "postero-anterior", "LATERAL": "left lateral"}[view]
            position = view
            if image == 0 and i in (1, 2):
                position, code = "", code if i == 1 else ""
            dicom = dicom_id(i, image)
            line = f"{dicom},{subject},{study},CHEST,{position},24,32"
            metadata.append(f"{line},21800506,213014.531,CHEST,{code},Erect")
            split.append(f"{dicom},{study},{subject},{name}")
            path = root / patient / f"s{study}" / f"{dicom}.jpg"
            write_image(path, i * 2 + image)
            if faults and i == TRUNCATED and image == 0:
                path.write_bytes(path.read_bytes()[:-300])
        report = reports_root / patient / f"s{study}.txt"
        report.parent.mkdir(parents=True, exist_ok=True)
        if not (faults and i == NO_REPORT):
            empty = faults and i == EMPTY_REPORT
            report.write_text("\n" if empty else REPORT.format(i=i))
        if i != 4:
            values = ["1.0", "0.0", "-1.0", ""] + [""] * 10
            chexpert.append(f"{subject},{study},{','.join(values)}")
    write_tables(root, metadata, split, chexpert, zipped=zipped)


def write_tables(
    root: Path,
    metadata: Sequence[str],
    split: Sequence[str],
    chexpert: Sequence[str],
    *,
    zipped: bool,
) -> None:
    """The three tables, zipped as distributed or unpacked."""
    tables = {"metadata": metadata, "split": split, "chexpert": chexpert}
    for kind, lines in tables.items():
        content = ("\n".join(lines) + "\n").encode()
        path = root / f"mimic-cxr-2.0.0-{kind}.csv"
        if zipped:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
        else:
            path.write_bytes(content)


def write_other_labels(root: Path, studies: int = 10) -> None:
    """The label files of NegBio and, as release 2.1.0 has it, of a radiologist.

    The second has no ``subject_id``, is not zipped, names one label otherwise and
    covers the last two examinations, which are the test set.
    """
    negbio = [f"subject_id,study_id,{LABELS}"]
    by_hand = ["study_id," + LABELS.replace("Lung Opacity", "Airspace Opacity")]
    for i in range(studies):
        subject, study = ids(i)
        values = ["0.0", "1.0", "-1.0", ""] + [""] * 10
        negbio.append(f"{subject},{study},{','.join(values)}")
        if i >= studies - 2:
            values = ["0.0"] * 8 + ["1.0", "0.0", "1.0", "-1.0", "0.0", "1.0"]
            by_hand.append(f"{study},{','.join(values)}")
    content = ("\n".join(negbio) + "\n").encode()
    (root / "mimic-cxr-2.0.0-negbio.csv.gz").write_bytes(gzip.compress(content))
    (root / "mimic-cxr-2.1.0-test-set-labeled.csv").write_text(
        "\n".join(by_hand) + "\n"
    )

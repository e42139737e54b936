"""CheXpert Plus as public descriptions have it: eight images of six patients."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from vlp_zoo.data.chest.chexpert_plus import LABEL_NAMES

__all__ = ["BROKEN", "write_chexpert_plus"]

BROKEN = "train/patient00004/study1/view1_frontal"
"""A PNG cut in the middle."""

COLUMNS = (
    "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,"
    "patient_report_date_order,report,section_narrative,section_clinical_history,"
    "section_history,section_comparison,section_technique,section_procedure_comments,"
    "section_findings,section_impression,section_end_of_impression,section_summary,"
    "section_accession_number,age,sex,race,ethnicity,interpreter_needed,"
    "insurance_type,recent_bmi,deceased,split"
)

ROWS = [
    # path, ap_pa, findings, impression
    ("train/patient00001/study1/view1_frontal", "AP", "", "1. No acute\nprocess."),
    ("train/patient00001/study1/view2_lateral", "", "", "1. No acute\nprocess."),
    ("train/patient00002/study1/view1_frontal", "PA", "Small effusion.", "Effusion."),
    ("train/patient00002/study2/view1_frontal", "AP", "Large effusion.", "\\n"),
    ("train/patient00003/study1/view1_frontal", "LL", "", "\\n"),
    (BROKEN, "AP", "", "Edema."),
    ("train/patient00005/study1/view1_frontal", "AP", "", "Pneumonia."),
    ("valid/patient64541/study1/view1_frontal", "AP", "", "Cardiomegaly."),
]


def write_chexpert_plus(
    root: Path, *, faults: bool = True, images: str = "PNG", suffix: str = ".png"
) -> None:
    """Write the data set.

    Args:
        root: Folder to fill.
        faults: Cut one image.
        images: Folder of the images.
        suffix: ``.png``, or ``.jpg`` as in CheXpert's first release.
    """
    labels = root / "chexbert_labels"
    labels.mkdir(parents=True, exist_ok=True)
    lines = []
    columns = COLUMNS.split(",")
    name = "df_chexpert_plus_240401.csv"
    with (root / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for i, (stem, view, findings, impression) in enumerate(ROWS):
            path = root / images / f"{stem}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(i).integers(0, 256, (40, 48), np.uint8)
            Image.fromarray(pixels).save(path)
            if faults and stem == BROKEN:
                path.write_bytes(path.read_bytes()[:-60])
            cells = dict.fromkeys(columns, "")
            report = f"NARRATIVE:\nChest\n\nFINDINGS:\n{findings}\n\nIMPRESSION:\n{impression}"
            cells |= {
                "path_to_image": f"{stem}.jpg",
                "path_to_dcm": f"{stem}.dcm",
                "frontal_lateral": "Lateral" if "lateral" in stem else "Frontal",
                "ap_pa": view,
                "deid_patient_id": stem.split("/")[1],
                "patient_report_date_order": "1",
                "report": report,
                "section_narrative": "Chest",
                "section_clinical_history": "61 years Female,\nICU patient",
                "section_findings": findings,
                "section_impression": impression,
                "age": "62.0",
                "sex": ("Female", "Male")[i % 2],
                "race": "White",
                "recent_bmi": "22.2",
                "deceased": "No",
                "split": stem.split("/")[0],
            }
            writer.writerow([cells[column] for column in columns])
            entry: dict[str, object] = {"path_to_image": f"{stem}.jpg"}
            entry |= dict.fromkeys(LABEL_NAMES)
            entry |= {"Pleural Effusion": 1.0, "Edema": -1.0, "Pneumothorax": 0.0}
            if i != 6:
                lines.append(json.dumps(entry))
    for source in ("impression", "report"):
        text = "\n".join(lines) + "\n"
        if source == "report":
            text = text.replace("-1.0", "1.0")
        (labels / f"{source}_fixed.json").write_text(text)

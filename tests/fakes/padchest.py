"""PadChest in the official layout: ten images of six patients."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

__all__ = ["BROKEN", "write_padchest"]

BROKEN = "2001_4004.png"
"""A PNG cut in the middle, as the release has some."""

HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,"
    "ViewPosition_DICOM,Projection,MethodProjection,Pediatric,Modality_DICOM,"
    "Manufacturer_DICOM,PhotometricInterpretation_DICOM,PixelRepresentation_DICOM,"
    "PixelAspectRatio_DICOM,SpatialResolution_DICOM,BitsStored_DICOM,"
    "WindowCenter_DICOM,WindowWidth_DICOM,Rows_DICOM,Columns_DICOM,XRayTubeCurrent_DICOM,"
    "Exposure_DICOM,ExposureInuAs_DICOM,ExposureTime,"
    "RelativeXRayExposure_DICOM,ReportID,Report,MethodLabel,Labels,Localizations,"
    "LabelsLocalizationsBySentence,labelCUIS,LocalizationsCUIS"
)

ROWS = [
    # image, folder, patient, study, birth, projection, method, labels, report
    ("2000_4000.png", 0, 10, 100, "1930.0", "PA", "Physician", "['normal']", "sin hallazg patolog ."),
    ("2000_4001.png", 0, 10, 100, "1930.0", "L", "Physician", "['normal']", "sin hallazg patolog ."),
    ("2001_4002.png", 0, 10, 101, "1930.0", "PA", "RNN_model",
     "['cardiomegaly', ' pleural effusion', 'pleural effusion ']", "cardiomegali . derram pleural ."),
    ("2001_4003.png", 14, 11, 102, "1955.0", "AP", "RNN_model", "['COPD signs', 'kerley lines']", "signos epoc ."),
    ("2001_4004.png", 14, 11, 102, "1955.0", "AP_horizontal", "RNN_model", "['NSG tube', 'pneumonia']", "sng ."),
    ("2001_4005.png", 14, 12, 103, "", "COSTAL", "RNN_model", "['rib fracture']", "fractur costal ."),
    ("2001_4006.png", 14, 13, 104, "1970.0", "PA", "Physician", "['unchanged']", "sin cambi ."),
    ("2001_4007.png", 14, 14, 105, "1971.0", "PA", "RNN_model", "['exclude', 'nodule']", "exclu ."),
    ("2001_4008.png", 14, 15, 106, "1972.0", "UNK", "RNN_model", "", ""),
    ("2001_4009.png", 14, 15, 106, "1972.0", "PA", "RNN_model", "['unchanged', 'scoliosis', nan]", "escoliosis ."),
]  # fmt: skip


def write_padchest(root: Path, *, faults: bool = True, flat: str = "") -> None:
    """Write the data set.

    Args:
        root: Folder to fill.
        faults: Cut one image.
        flat: All images in this one folder instead of numbered ones.
    """
    root.mkdir(parents=True, exist_ok=True)
    columns = HEADER.split(",")
    table = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    with (root / table).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for i, row in enumerate(ROWS):
            name, folder, patient, study, birth, projection, method, labels, text = row
            path = root / (flat or str(folder)) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(i).integers(0, 4096, (40, 48))
            cv2.imwrite(str(path), pixels.astype(np.uint16) * 16)
            if faults and name == BROKEN:
                path.write_bytes(path.read_bytes()[:-60])
            cells = dict.fromkeys(columns, "")
            cells |= {
                "": str(i),
                "ImageID": name,
                "ImageDir": str(folder),
                "StudyDate_DICOM": "20140915",
                "StudyID": f"{study:039d}",
                "PatientID": f"{patient:036d}",
                "PatientBirth": birth,
                "PatientSex_DICOM": "MF"[patient % 2],
                "Projection": projection,
                "MethodProjection": "Manual review of DICOM fields",
                "Pediatric": "No",
                "ReportID": str(4765777 + study),
                "Report": text,
                "MethodLabel": method,
                "Labels": labels,
                "Localizations": "['loc pleural', 'loc left']" if i == 2 else "[]",
            }
            writer.writerow([cells[column] for column in columns])

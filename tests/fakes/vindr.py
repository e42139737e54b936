"""VinDr-CXR in PhysioNet's and in Kaggle's layout: nine and six images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from vlp_zoo.data.chest.vindr import KAGGLE_NAMES, LABEL_NAMES

__all__ = ["BROKEN", "image_id", "write_vindr", "write_vindr_kaggle"]

BOXES: dict[int, list[tuple[str, str, float, float, float, float]]] = {
    # image: (reader, finding, x_min, y_min, x_max, y_max)
    0: [
        ("R9", "Cardiomegaly", 10.5, 20.25, 40.0, 36.0),
        ("R10", "Cardiomegaly", 11, 21, 41, 37),
        ("R10", "Nodule/Mass", 2, 3, 8, 9),
    ],
    2: [
        ("R8", "ILD", 4, 4, 20, 30),
        ("R9", "ILD", 5, 4, 20, 30),
        ("R11", "ILD", 5, 5, 20, 30),
    ],
}
"""Image 0 divides its readers, 2 unites them; nobody found anything in the others."""

GLOBAL = {2: "Other diseases", 4: "Tuberculosis"}
READERS = ("R8", "R9", "R10", "R11")


def image_id(i: int) -> str:
    """Thirty-two hexadecimal digits, as the official names."""
    return f"{i * 2654435761 % 2**32:08x}" * 4


BROKEN = image_id(5)
"""A training image cut in the middle."""


def readers_of(i: int) -> list[str]:
    return ["R9", "R10", "R11"] if i == 0 else ["R8", "R9", "R11"]


def write_image(root: Path, folder: str, i: int, faults: bool) -> None:
    path = root / folder / f"{image_id(i)}.dicom"
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(i).integers(0, 4096, (40, 48)).astype(np.uint16)
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{i + 1}")
    header.SOPClassUID = ComputedRadiographyImageStorage
    header.SOPInstanceUID = UID(f"1.2.3.{i + 1}")
    header.PhotometricInterpretation = ("MONOCHROME2", "MONOCHROME1")[i % 2]
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PixelRepresentation = 1, 0
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
    header.WindowCenter, header.WindowWidth = 2048, 4096
    header.PixelData = pixels.tobytes()
    pydicom.dcmwrite(path, header, enforce_file_format=True)
    if faults and image_id(i) == BROKEN:
        path.write_bytes(path.read_bytes()[:-500])


def write_vindr(root: Path, *, faults: bool = True) -> None:
    """Write PhysioNet's layout: images 0 to 5 for training, 6 to 8 for the test."""
    folder = root / "annotations"
    folder.mkdir(parents=True, exist_ok=True)
    columns = ",".join(LABEL_NAMES)
    labels = [f"image_id,rad_id,{columns}"]
    boxes = ["image_id,rad_id,class_name,x_min,y_min,x_max,y_max"]
    for i in range(6):
        write_image(root, "train", i, faults)
        for reader in readers_of(i):
            rows = [entry for entry in BOXES.get(i, []) if entry[0] == reader]
            found = {entry[1] for entry in rows}
            if i in GLOBAL and reader == "R11":
                found.add(GLOBAL[i])
            found = found or {"No finding"}
            values = ",".join(str(int(name in found)) for name in LABEL_NAMES)
            labels.append(f"{image_id(i)},{reader},{values}")
            for _, name, *corners in rows:
                cells = ",".join(map(str, corners))
                boxes.append(f"{image_id(i)},{reader},{name},{cells}")
            if not rows:
                boxes.append(f"{image_id(i)},{reader},No finding,,,,")
    (folder / "image_labels_train.csv").write_text("\n".join(labels) + "\n")
    (folder / "annotations_train.csv").write_text("\n".join(boxes) + "\n")

    # No rad_id here, and one label in the singular.
    columns = columns.replace("Other diseases", "Other disease")
    labels = [f"image_id,{columns}"]
    boxes = ["image_id,class_name,x_min,y_min,x_max,y_max"]
    for i in (6, 7, 8):
        write_image(root, "test", i, faults)
        label = {6: "Other diseases", 7: "Pneumothorax", 8: "No finding"}[i]
        values = ",".join(str(int(name == label)) for name in LABEL_NAMES)
        labels.append(f"{image_id(i)},{values}")
        where = "6.5,7.5,20,30" if i == 7 else ",,,"
        name = label if i == 7 else "No finding"
        boxes.append(f"{image_id(i)},{name},{where}")
    (folder / "image_labels_test.csv").write_text("\n".join(labels) + "\n")
    (folder / "annotations_test.csv").write_text("\n".join(boxes) + "\n")


def write_vindr_kaggle(root: Path, *, faults: bool = True) -> None:
    """Write the challenge's layout: one table, no labelled test images."""
    root.mkdir(parents=True, exist_ok=True)
    lines = ["image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"]
    for i in range(6):
        write_image(root, "train", i, faults)
        for reader in readers_of(i):
            rows = [entry for entry in BOXES.get(i, []) if entry[0] == reader]
            for _, name, *corners in rows:
                cells = ",".join(map(str, corners))
                number = KAGGLE_NAMES.index(name)
                lines.append(f"{image_id(i)},{name},{number},{reader},{cells}")
            if not rows:
                lines.append(f"{image_id(i)},No finding,14,{reader},,,,")
    (root / "train.csv").write_text("\n".join(lines) + "\n")

"""Small grey pictures and DICOM files for the fakes of chest data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

__all__ = ["cut", "paint", "write_dicom"]


def paint(path: Path, seed: int, size: tuple[int, int] = (40, 48)) -> None:
    """A grey picture of noise; noise, so that cutting the file loses something."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    Image.fromarray(pixels).save(path)


def cut(path: Path) -> None:
    """Lose the end of a file, as partial downloads do."""
    path.write_bytes(path.read_bytes()[:-200])


def write_dicom(
    path: Path,
    seed: int,
    size: tuple[int, int] = (64, 64),
    photometric: str = "MONOCHROME2",
) -> None:
    """An 8-bit DICOM file, as RSNA's and SIIM's are; they are 1024 x 1024."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(f"1.2.3.{seed + 1}")
    header.SOPClassUID = ComputedRadiographyImageStorage
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID
    header.Modality = "CR"
    header.Rows, header.Columns = size
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = photometric
    header.BitsAllocated = header.BitsStored = 8
    header.HighBit = 7
    header.PixelRepresentation = 0
    pixels = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    header.PixelData = pixels.tobytes()
    header.save_as(path, enforce_file_format=True)

"""DICOM files: shown as their headers say (PS3.3, C.7.6.3 and C.11)."""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import DataRejectedError, DependencyNotFoundError
from vlp_zoo.pixels.containers import check_jpeg, check_jpeg2000, suffix
from vlp_zoo.pixels.levels import own_range, to_levels
from vlp_zoo.pixels.pictures import decode_jpeg
from vlp_zoo.pixels.rejects import MOST_PIXELS, unreadable
from vlp_zoo.types import FileName

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["decode_dicom", "read_spacing"]

Values = npt.NDArray[Any]

DELIMITER = b"\xfe\xff\xdd\xe0"
BASELINE = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")


def decode_dicom(path: FileName, content: bytes) -> npt.NDArray[np.uint8]:
    """The one image of a DICOM file.

    Grey: modality rescale, then the first window or VOI table (without either, or with
    a window that is narrower than 1 or shows nothing, `levels.own_range`); padding is
    black and does not count; MONOCHROME1 is inverted. PALETTE COLOR goes through its
    tables. Of colours of more than eight bits the upper eight are kept.

    Returns:
        uint8, (H, W) for grey and (H, W, 3) for colour.

    Raises:
        DataRejectedError: If it is cut, damaged, several frames, or no image.
        DependencyNotFoundError: If pydicom is not installed.
    """
    try:
        import pydicom
        from pydicom.errors import BytesLengthException, InvalidDicomError
    except ImportError as error:
        raise DependencyNotFoundError(
            f"pydicom, to read {path}", "not installed", "pip install 'vlp-zoo[dicom]'"
        ) from error
    # What it logs, with tracebacks, comes as the reason of a refusal.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    try:
        # Files without the preamble are DICOM too where their name says so.
        header = pydicom.dcmread(io.BytesIO(content), force=suffix(path) != "")
        _check_size(path, header)
        _check_pixels(path, header)
        return _shown(path, header)
    except DataRejectedError:
        raise
    except (
        *(InvalidDicomError, BytesLengthException, AttributeError, LookupError),
        *(NotImplementedError, RuntimeError, EOFError, OSError, TypeError, ValueError),
        *(ArithmeticError, MemoryError, struct.error, AssertionError),
    ) as error:
        said = str(error) or type(error).__name__
        raise unreadable(path, "undecodable", f"DICOM: {said}") from error


def _check_size(path: FileName, header: Dataset) -> None:
    frames = int(header.get("NumberOfFrames") or 1)
    rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    if frames * rows * columns > MOST_PIXELS:
        found = f"{frames} x {rows} x {columns} pixels"
        raise unreadable(path, "too_large", found)
    if frames > 1:
        raise unreadable(path, "frames", f"{frames} frames, not one image")


def _check_pixels(path: FileName, header: Dataset) -> None:
    """Refuse pixel data with parts missing, which decoders fill with grey."""
    from pydicom.encaps import generate_fragments, get_frame

    syntax = header.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return
    coded = bytes(header.PixelData)
    # Fragments are read up to their lengths, whatever the file still has of them.
    lengths = sum(8 + len(part) for part in generate_fragments(coded))
    offsets = 8 + int.from_bytes(coded[4:8], "little")
    rest = coded[offsets + lengths :]
    if rest and not rest.startswith(DELIMITER) and rest.strip(b"\0"):
        raise unreadable(path, "damaged", "DICOM: bytes between the coded fragments")
    frame = get_frame(coded, 0, number_of_frames=1)
    fault = None
    if syntax in BASELINE and frame.startswith(b"\xff\xd8"):
        fault = check_jpeg(frame)
        if fault is None and _precision(frame) == 8:
            decode_jpeg(path, frame)
    elif syntax in JPEG_2000:
        fault = check_jpeg2000(frame)
    elif frame.startswith(b"\xff\xd8"):
        fault = check_jpeg(frame)
        if fault is None and b"\xff\xd9" not in frame[-64:]:
            fault = "truncated", "a coded frame without the end"
    if fault is not None:
        raise unreadable(path, fault[0], f"DICOM: {fault[1]}")


def _precision(frame: bytes) -> int:
    at = 2
    while at + 5 <= len(frame) and frame[at] == 0xFF:
        if 0xC0 <= frame[at + 1] <= 0xCF and frame[at + 1] not in (0xC4, 0xC8, 0xCC):
            return frame[at + 4]
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return 0


def _shown(path: FileName, header: Dataset) -> npt.NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
    from pydicom.pixels.utils import pixel_array

    stored = pixel_array(header)
    kind = str(header.get("PhotometricInterpretation", ""))
    if not stored.size:
        raise unreadable(path, "empty", "DICOM: no pixels")
    if kind == "PALETTE COLOR":
        colours = apply_color_lut(stored, header)
        return _upper_eight(colours, 8 * colours.dtype.itemsize)
    if stored.ndim == 3:
        return _upper_eight(stored, int(header.BitsStored))
    if not kind.startswith("MONOCHROME"):
        raise unreadable(path, "unsupported", f"DICOM: one channel of {kind!r}")
    if float(header.get("RescaleSlope", 1) or 0) == 0:
        raise unreadable(path, "unsupported", "DICOM: RescaleSlope 0")
    values = np.asarray(apply_modality_lut(stored, header))
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise unreadable(path, "not_finite", "DICOM: pixels are NaN or infinite")
    padding = _padding(stored, header)
    shown = _windowed(path, values, padding, header)
    if kind == "MONOCHROME1":
        shown = 255 - shown
    shown[padding] = 0
    return np.ascontiguousarray(shown)


def _upper_eight(colours: Values, bits: int) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(colours >> max(bits - 8, 0), np.uint8)


def _padding(stored: Values, header: Dataset) -> npt.NDArray[np.bool_]:
    """Where nothing was exposed: one value, or a range with Pixel Padding Range Limit."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, np.bool_)
    limit = header.get("PixelPaddingRangeLimit")
    ends = sorted((int(value), int(value if limit is None else limit)))
    return np.asarray((stored >= ends[0]) & (stored <= ends[1]))


def _windowed(
    path: FileName, values: Values, padding: npt.NDArray[np.bool_], header: Dataset
) -> npt.NDArray[np.uint8]:
    """Grey levels of rescaled values (PS3.3 C.11.2)."""
    from pydicom.pixels.processing import apply_voi

    if header.get("VOILUTSequence"):
        table = header.VOILUTSequence[0]
        looked_up = apply_voi(values, header)
        # The table's own depth, not the range of what happens to be in the picture.
        return to_levels(looked_up, 0, 2 ** int(table.LUTDescriptor[2]) - 1)
    centre, width = (
        # Several windows may be offered; the first is the default.
        float(value[0] if isinstance(value, Sequence) else value)
        for value in (header.get("WindowCenter") or 0, header.get("WindowWidth") or 0)
    )
    low, high = own_range(values[~padding])
    function = str(header.get("VOILUTFunction") or "LINEAR").upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise unreadable(path, "unsupported", f"DICOM: VOILUTFunction {function!r}")
    least = 1 if function == "LINEAR" else 0
    usable = width >= least and width > 0
    if not usable or centre + width / 2 <= low or centre - width / 2 >= high:
        # No window, or one that would show nothing.
        return to_levels(values, low, high)
    if function == "SIGMOID":
        # Far from the centre the power would overflow, long after the curve is flat.
        power = np.clip(-4 * (values.astype(np.float64) - centre) / width, -60, 60)
        return to_levels(1 / (1 + np.exp(power)), 0, 1)
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        # C.11.2.1.2.1 with a width of 1 is a threshold.
        return np.where(values > centre, 255, 0).astype(np.uint8)
    return to_levels(values, centre - width / 2, centre + width / 2)


def read_spacing(path: FileName) -> tuple[float, float] | None:
    """Millimetres from pixel to pixel, (down, across); None where the file says none.

    Only DICOM says it. PixelSpacing is taken where it is given; else
    ImagerPixelSpacing, which is measured at the detector and not at the patient.

    Args:
        path: The file.

    Raises:
        DataRejectedError: If the file is missing, empty or a broken DICOM file.
    """
    if suffix(path) not in (".dcm", ".dicom", ""):
        return None
    import pydicom
    from pydicom.errors import InvalidDicomError

    tags = ["PixelSpacing", "ImagerPixelSpacing"]
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        for tag in tags:
            values = header.get(tag)
            if values is not None and len(values) == 2:
                return float(values[0]), float(values[1])
    except InvalidDicomError:
        return None
    except (OSError, EOFError, TypeError, ValueError) as error:
        raise unreadable(path, "undecodable", f"DICOM: {error}") from error
    return None

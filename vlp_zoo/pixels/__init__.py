"""Files to pixels: the one place where images are decoded.

JPEG, PNG, TIFF, GIF, BMP, PNM, WebP, JPEG 2000 and DICOM. Radiographs come out as
one 8-bit channel with bone white and air black, photographs as RGB, both the right way
up; masks keep the values they were stored with.

A picture comes out as its file says, or is refused under one of these reasons, which a
pre-check counts: ``missing``, ``empty``, ``truncated`` (the end is not there),
``damaged`` (a checksum, a decoder's warning, a hole in coded data), ``undecodable``,
``too_large``, ``frames`` (several pictures in one file), ``not_finite`` (NaN or
infinite pixels), ``unsupported``, ``bad_mask``.

`containers` asks whether a file is whole, `pictures` and `dicom` decode, `levels` makes
256 grey levels, `masks` says what a picture of two values marks.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import DataRejectedError
from vlp_zoo.pixels.acquisition import ACQUISITION, acquisition_features, shrunk
from vlp_zoo.pixels.containers import kind_of
from vlp_zoo.pixels.dicom import decode_dicom, read_spacing
from vlp_zoo.pixels.levels import luma, to_levels
from vlp_zoo.pixels.masks import marked
from vlp_zoo.pixels.pictures import Picture, decode, decode_jpeg, frame_size
from vlp_zoo.pixels.rejects import unreadable
from vlp_zoo.types import FileName

__all__ = [
    "ACQUISITION",
    "acquisition_features",
    "read_grey",
    "read_levels",
    "read_mask",
    "read_rgb",
    "read_size",
    "read_spacing",
    "shrunk",
]

Grey = npt.NDArray[np.uint8]


def read_grey(path: FileName, content: bytes | None = None) -> Grey:
    """Decode an image file to one 8-bit channel.

    Colour becomes luma (ITU-R BT.601), transparency is seen on black, EXIF orientation
    is applied. 16-bit and float pictures are scaled by their own minimum and maximum
    (hot and dead pixels left out, `levels.own_range`), because files store 10 to 16 of
    the bits without saying which. DICOM is shown as its header says
    (`dicom.decode_dicom`).

    Args:
        path: The file; its content decides what it is, not its name.
        content: Its bytes, where they have been read already.

    Returns:
        uint8 (H, W).

    Raises:
        DataRejectedError: If the file is missing, empty, cut, damaged or no image.
        DependencyNotFoundError: If it is DICOM and pydicom is not installed.
    """
    path, content, kind = _opened(path, content)
    if kind == "DICOM":
        shown = decode_dicom(path, content)
    elif kind == "JPEG":
        shown = decode_jpeg(path, content, colour=False)
    else:
        shown = to_levels(decode(path, kind, content).on_black)
    if shown.ndim == 3:
        shown = luma(shown)
    return np.ascontiguousarray(shown)


def read_rgb(path: FileName, content: bytes | None = None) -> Grey:
    """Decode a photograph to three 8-bit channels, red first.

    Grey becomes three equal channels as `read_grey` gives them, transparency is seen on
    black, EXIF orientation is applied, colours of 16 bits keep their upper eight.

    Args:
        path: The file; its content decides what it is, not its name.
        content: Its bytes, where they have been read already.

    Returns:
        uint8 (H, W, 3).

    Raises:
        DataRejectedError: If the file is missing, empty, cut, damaged or no image.
        DependencyNotFoundError: If it is DICOM and pydicom is not installed.
    """
    path, content, kind = _opened(path, content)
    if kind == "DICOM":
        shown = decode_dicom(path, content)
    elif kind == "JPEG":
        return np.ascontiguousarray(decode_jpeg(path, content, colour=True))
    else:
        values = decode(path, kind, content).on_black
        deep = values.ndim == 3 and values.dtype == np.uint16
        shown = (values >> 8).astype(np.uint8) if deep else to_levels(values)
    if shown.ndim == 2:
        shown = np.repeat(shown[..., None], 3, axis=2)
    return np.ascontiguousarray(shown)


def read_levels(path: FileName) -> npt.NDArray[Any]:
    """The pixel values of a picture of labels, not scaled.

    Palettes (GIF, some PNG) give the grey level of their colour, colour pictures their
    brightest channel, so that whatever is not black is above 0. EXIF orientation is
    applied, as to the image.

    Args:
        path: FileName of the picture.

    Returns:
        Numbers (H, W).

    Raises:
        DataRejectedError: If the file is missing, empty, cut, damaged or no picture.
    """
    _, picture = _picture(path)
    values = picture.on_black
    return values if values.ndim == 2 else np.asarray(values.max(axis=2))


def read_mask(path: FileName) -> npt.NDArray[np.bool_]:
    """What a mask picture marks; see `masks.marked`.

    Args:
        path: FileName of the picture.

    Returns:
        bool (H, W), True where it is not black.

    Raises:
        DataRejectedError: If the file is missing, empty, cut, damaged, no picture, or
            not one of two values.
    """
    path, picture = _picture(path)
    return marked(path, picture)


def read_size(path: FileName) -> tuple[int, int]:
    """Height and width of a picture, upright; its pixels are not decoded.

    Args:
        path: FileName of a picture that is no DICOM.

    Raises:
        DataRejectedError: If the file is missing, empty or no picture.
    """
    return frame_size(path)


def _picture(path: FileName) -> tuple[FileName, Picture]:
    path, content, kind = _opened(path, None)
    if kind == "DICOM":
        raise unreadable(path, "bad_mask", "a DICOM file, not a picture of labels")
    return path, decode(path, kind, content)


def _opened(path: FileName, content: bytes | None) -> tuple[FileName, bytes, str]:
    if content is None:
        content = _bytes(path)
    if not content:
        raise unreadable(path, "empty", "a file of 0 bytes")
    return path, content, kind_of(path, content)


def _bytes(path: FileName) -> bytes:
    try:
        if not os.path.isfile(path) and os.path.exists(path):
            # A device or a pipe would be read for ever.
            raise unreadable(path, "missing", "no regular file")
        with open(path, "rb") as file:
            return file.read()
    except DataRejectedError:
        raise
    except (OSError, ValueError) as error:
        # ValueError: a name with a NUL in it.
        raise unreadable(path, "missing", str(error)) from error

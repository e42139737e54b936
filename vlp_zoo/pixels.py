"""Files to pixels: the one place where images are decoded.

JPEG, PNG and what else OpenCV and Pillow read, and DICOM. Radiographs come out as one
8-bit channel with bone white and air black, photographs as RGB, both the right way up;
masks keep the values they were stored with.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import DataRejectedError, DependencyNotFoundError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "ACQUISITION",
    "acquisition_features",
    "read_grey",
    "read_levels",
    "read_rgb",
    "read_spacing",
    "shrunk",
]

JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG"
MOST_PIXELS = 1 << 30
"""What cv2 refuses by itself; DICOM is held to the same."""

Grey = npt.NDArray[np.uint8]

ACQUISITION = (
    "log height",
    "log width",
    "log aspect",
    "mean",
    "sd",
    *(f"border q{q:02d}" for q in (5, 25, 50, 75, 95)),
    "corner top left",
    "corner top right",
    "corner bottom left",
    "corner bottom right",
    "share black",
    "share white",
    "log sharpness",
    "log noise",
)
"""What is measured of the acquisition, and nothing of the anatomy on purpose. Mean and
sd of a radiograph do hang on disease a little."""

LONG_SIDE = 512
FRAME = 0.05


def read_grey(path: str | Path, content: bytes | None = None) -> Grey:
    """Decode an image file to one 8-bit channel.

    Colour becomes luma (ITU-R BT.601), an alpha channel is dropped, EXIF orientation is
    applied. 16-bit PNG and TIFF are scaled by their own minimum and maximum, because
    files store 10 to 16 of the bits without saying which. DICOM is shown as its header
    says: modality rescale, window or VOI table (without either, minimum to maximum),
    padding black, MONOCHROME1 inverted.

    Args:
        path: The file; its content decides what it is, not its name.
        content: Its bytes, where they have been read already.

    Returns:
        uint8 (H, W).

    Raises:
        DataRejectedError: If the file is missing, empty, truncated or no image.
        DependencyNotFoundError: If it is DICOM and pydicom is not installed.
    """
    path = path if isinstance(path, Path) else Path(path)
    content = _checked(path, _bytes(path) if content is None else content)
    if _is_dicom(path, content):
        return _read_dicom(path, content)
    # A JPEG's luma is stored as such: asking for grey skips the way there and back.
    jpeg = content.startswith(JPEG_START)
    image = _decode(content, cv2.IMREAD_GRAYSCALE if jpeg else cv2.IMREAD_UNCHANGED)
    return _to_grey(_read_with_pillow(path, "L") if image is None else image)


def read_rgb(path: str | Path, content: bytes | None = None) -> Grey:
    """Decode a photograph to three 8-bit channels, red first.

    Grey becomes three equal channels, an alpha channel is dropped, EXIF orientation is
    applied, 16-bit channels keep their upper eight bits.

    Args:
        path: The file; its content decides what it is, not its name.
        content: Its bytes, where they have been read already.

    Returns:
        uint8 (H, W, 3).

    Raises:
        DataRejectedError: If the file is missing, empty, truncated or no image.
    """
    path = path if isinstance(path, Path) else Path(path)
    content = _checked(path, _bytes(path) if content is None else content)
    if _is_dicom(path, content):
        return np.repeat(_read_dicom(path, content)[..., None], 3, axis=2)
    image = _decode(content, cv2.IMREAD_COLOR)
    if image is None:
        return np.ascontiguousarray(_read_with_pillow(path, "RGB"), dtype=np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def read_levels(path: str | Path) -> npt.NDArray[Any]:
    """The pixel values of a mask picture, not scaled and not turned.

    Palettes (GIF, some PNG) give the grey level of their colour, colour pictures their
    brightest channel, so that whatever is not black is above 0.

    Args:
        path: PNG, BMP, TIFF or GIF.

    Returns:
        Unsigned integers (H, W).

    Raises:
        DataRejectedError: If the file is missing, empty, truncated or no image.
    """
    from PIL import Image, UnidentifiedImageError

    path = Path(path)
    content = _checked(path, _bytes(path))
    try:
        with Image.open(io.BytesIO(content)) as opened:
            picture: Image.Image = opened
            if picture.mode in ("P", "PA", "RGBA", "CMYK", "YCbCr"):
                picture = picture.convert("RGB")
            elif picture.mode in ("1", "LA"):
                picture = picture.convert("L")
            values = np.asarray(picture)
    except Image.DecompressionBombError as error:
        raise _unreadable(path, "too_large", str(error)) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise _unreadable(path, "undecodable", str(error)) from error
    return values if values.ndim == 2 else np.asarray(values.max(axis=2))


def read_spacing(path: str | Path) -> tuple[float, float] | None:
    """Millimetres from pixel to pixel, (down, across); None where the file says none.

    Only DICOM says it. PixelSpacing is taken where it is given; else
    ImagerPixelSpacing, which is measured at the detector and not at the patient.

    Args:
        path: The file.

    Raises:
        DataRejectedError: If the file is missing, empty or a broken DICOM file.
    """
    path = Path(path)
    if path.suffix.lower() not in (".dcm", ".dicom", ""):
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
        raise _unreadable(path, "undecodable", f"DICOM: {error}") from error
    return None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, "missing", str(error)) from error


def _checked(path: Path, content: bytes) -> bytes:
    if not content:
        raise _unreadable(path, "empty", "a file of 0 bytes")
    if _truncated(content):
        # cv2 and libjpeg would fill the missing part with grey and only log it.
        raise _unreadable(path, "truncated", f"{len(content)} bytes without the end")
    return content


def _is_dicom(path: Path, content: bytes) -> bool:
    if content.startswith((JPEG_START, PNG_START)):
        return False
    return content[128:132] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom")


def _decode(content: bytes, flags: int) -> npt.NDArray[Any] | None:
    with contextlib.suppress(cv2.error):
        return cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    return None


def _read_dicom(path: Path, content: bytes) -> Grey:
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
        from pydicom.pixels.processing import apply_modality_lut
        from pydicom.pixels.utils import pixel_array
    except ImportError as error:
        raise DependencyNotFoundError(
            f"pydicom, to read {path}", "not installed", "pip install 'vlp-zoo[dicom]'"
        ) from error
    try:
        # Files without the preamble are DICOM too where their name says so.
        header = pydicom.dcmread(io.BytesIO(content), force=path.suffix != "")
        frames = int(header.get("NumberOfFrames") or 1)
        pixels = int(header.get("Rows") or 0) * int(header.get("Columns") or 0)
        if frames * pixels > MOST_PIXELS:
            raise _unreadable(path, "too_large", f"{frames} x {pixels} pixels")
        stored = pixel_array(header)
        values = np.asarray(apply_modality_lut(stored, header))
        padding = stored == header.get("PixelPaddingValue", np.nan)
        grey = stored.ndim == 2
        shown = _windowed(values, padding, header) if grey else _levels(stored)
    except DataRejectedError:
        raise
    except (
        *(InvalidDicomError, AttributeError, NotImplementedError, RuntimeError),
        *(EOFError, KeyError, OSError, TypeError, ValueError),
    ) as error:
        detail = " ".join(str(error).split())[:200]
        raise _unreadable(path, "undecodable", f"DICOM: {detail}") from error
    if frames > 1:
        raise _unreadable(path, "frames", f"{frames} frames, not one image")
    if not grey:
        return np.asarray(cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY))
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        shown = 255 - shown
    shown[padding] = 0
    return np.ascontiguousarray(shown)


def _windowed(
    values: npt.NDArray[Any], padding: npt.NDArray[np.bool_], header: Dataset
) -> Grey:
    """Grey levels of rescaled values (DICOM PS3.3 C.11.2)."""
    from pydicom.pixels.processing import apply_voi

    if header.get("VOILUTSequence"):
        return _levels(apply_voi(values, header))
    centre, width = (
        # Several windows may be offered; the first is the default.
        float(value[0] if isinstance(value, Sequence) else value)
        for value in (header.get("WindowCenter") or 0, header.get("WindowWidth") or 0)
    )
    kept = values[~padding].astype(np.float64)
    low, high = kept.min(initial=np.inf), kept.max(initial=-np.inf)
    if width < 1 or centre + width / 2 <= low or centre - width / 2 >= high:
        # No window, or one that would show nothing.
        return _levels(values, low, high)
    function = str(header.get("VOILUTFunction") or "LINEAR")
    if function == "SIGMOID":
        return _levels(1 / (1 + np.exp(-4 * (values - centre) / width)), 0, 1)
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return _levels(values, centre - width / 2, centre + width / 2)


def _levels(
    values: npt.NDArray[Any], low: float | None = None, high: float | None = None
) -> Grey:
    """Values from ``low`` to ``high``, by default their own range, as 0 to 255."""
    if values.dtype == np.uint8 and low is None:
        return values
    wide = values.astype(np.float32)
    low = float(wide.min()) if low is None else low
    high = float(wide.max()) if high is None else high
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    scaled = ((wide - low) * (255 / (high - low))).clip(0, 255)
    return np.asarray(np.rint(scaled), np.uint8)


def _truncated(content: bytes) -> bool:
    if content.startswith(JPEG_START):
        # Some writers pad the file after the end marker.
        return b"\xff\xd9" not in content[-1024:]
    if content.startswith(PNG_START):
        return b"IEND" not in content[-1024:]
    return False


def _read_with_pillow(path: Path, mode: str) -> npt.NDArray[Any]:
    """Formats that cv2 cannot read (CMYK JPEG, some TIFF), and the better message."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            upright = ImageOps.exif_transpose(opened)
            wide = upright.mode.startswith("I") or upright.mode == "F"
            return np.asarray(
                upright if wide and mode == "L" else upright.convert(mode)
            )
    except Image.DecompressionBombError as error:
        raise _unreadable(path, "too_large", str(error)) from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise _unreadable(path, "undecodable", str(error)) from error


def _to_grey(image: npt.NDArray[Any]) -> Grey:
    if image.ndim == 3 and image.shape[2] == 2:
        image = image[..., 0]
    if image.ndim == 3 and image.shape[2] == 4:
        image = image[..., :3]
    image = _levels(image)
    if image.ndim == 3 and image.shape[2] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    elif image.ndim == 3:
        image = image[..., 0]
    return np.ascontiguousarray(image, dtype=np.uint8)


def _unreadable(path: Path, reason: str, detail: str) -> DataRejectedError:
    # The first word is the reason under which a pre-check lists the file.
    return DataRejectedError(
        f"an image in {path}",
        f"{reason}: {detail}",
        "restore the file, or let the data module leave it out: --data.on_error skip",
    )


def shrunk(pixels: Grey) -> Grey:
    """The image with its longer side at 512 pixels; smaller ones as they are."""
    factor = LONG_SIDE / max(pixels.shape)
    if factor >= 1:
        return pixels
    height, width = (max(1, round(side * factor)) for side in pixels.shape)
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def acquisition_features(
    pixels: Grey, small: Grey | None = None
) -> npt.NDArray[np.float32]:
    """How an image was made, in a few numbers.

    Args:
        pixels: uint8 (H, W).
        small: `shrunk` of it, where that is already there.

    Returns:
        (F,) in the order of `ACQUISITION`.
    """
    small = shrunk(pixels) if small is None else small
    height, width = pixels.shape
    frame = max(1, round(FRAME * min(small.shape)))
    border = np.concatenate(
        [
            part.ravel()
            for part in (
                small[:frame],
                small[-frame:],
                small[frame:-frame, :frame],
                small[frame:-frame, -frame:],
            )
        ]
    )
    corner = max(1, round(0.08 * min(small.shape)))
    ends = (slice(None, corner), slice(-corner, None))
    corners = [float(small[y, x].mean()) for y in ends for x in ends]
    # Sharpness and noise at the pixels' own size: a resize leaves its mark there.
    middle = pixels[height // 4 : -(height // 4) or None, width // 4 : -(width // 4)]
    middle = middle if middle.size else pixels
    laplacian = cv2.Laplacian(middle, cv2.CV_32F)
    grain = middle.astype(np.float32) - cv2.medianBlur(np.ascontiguousarray(middle), 3)
    return np.array(
        [
            np.log(height),
            np.log(width),
            np.log(width / height),
            small.mean(),
            small.std(),
            *np.percentile(border, [5, 25, 50, 75, 95]),
            *corners,
            (small <= 2).mean(),
            (small >= 253).mean(),
            np.log1p(float(laplacian.var())),
            np.log1p(float(np.abs(grain).mean())),
        ],
        np.float32,
    )

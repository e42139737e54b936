"""Pictures that are no DICOM: decoded once, upright, with what masks need to know."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from vlp_zoo.errors import DataRejectedError
from vlp_zoo.pixels.containers import check_jpeg, check_whole, is_lossy
from vlp_zoo.pixels.rejects import MOST_PIXELS, unreadable
from vlp_zoo.types import FileName

__all__ = ["Picture", "decode", "decode_jpeg", "frame_size", "upright"]

Values = npt.NDArray[Any]

# Once, not around each call: filters belong to the process, and readers are threads.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

DECODER_ERRORS = (
    *(Image.DecompressionBombError, OSError, SyntaxError, ValueError, TypeError),
    *(EOFError, LookupError, AttributeError, ArithmeticError, MemoryError),
    *(RuntimeError, AssertionError, cv2.error, struct.error, zlib.error),
)
"""What Pillow, libjpeg-turbo and cv2 raise for bytes that make no sense to them."""

FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may try. Not what runs other programs (EPS), guesses (TGA), or shows
damaged files without a word (AVIF)."""

ORIENTATION = 0x0112
TURNS: dict[int, Callable[[Values], Values]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
"""EXIF's orientations as turns of the stored rows and columns."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        values: (H, W) or (H, W, 3), red first; integers or floats as stored.
        alpha: (H, W) of the same type where there is transparency, else None.
        lossy: The format changed the values that were written.
        entries: Palette entries in use; 0 without a palette.
    """

    values: Values
    alpha: Values | None = None
    lossy: bool = False
    entries: int = 0

    @property
    def on_black(self) -> Values:
        """The values as they look on black, which is what is outside of a picture."""
        alpha = self.alpha
        if alpha is None:
            return self.values
        full = np.iinfo(alpha.dtype).max
        if alpha.min() == full:
            return self.values
        share = alpha.astype(np.float32) / full
        if self.values.ndim == 3:
            share = share[..., None]
        return np.rint(self.values * share).astype(self.values.dtype)


def decode(path: FileName, kind: str, content: bytes) -> Picture:
    """Decode a picture file.

    Args:
        path: For messages.
        kind: Format of the file, from `containers.kind_of`.
        content: Bytes of the file.

    Raises:
        DataRejectedError: If it is cut, damaged, too large, several pictures, or none.
    """
    check_whole(path, kind, content)
    if kind == "JPEG":
        return Picture(decode_jpeg(path, content), lossy=True)
    try:
        with _header(path, content) as opened:
            frames = int(getattr(opened, "n_frames", 1))
            if frames > 1:
                raise unreadable(path, "frames", f"{frames} frames, not one image")
            # Asked for before loading: Pillow turns TIFF files itself, and then forgets.
            turn = int(opened.getexif().get(ORIENTATION, 1))
            opened.load()
            if kind == "TIFF":
                _check_strips(opened, content)
            lossy = is_lossy(kind, content) or _lossy_tiff(opened)
            if _is_deep_colour(opened, kind, content):
                picture = _deep(path, content)
            else:
                picture = _from_pillow(path, opened)
                if kind == "TIFF":
                    turn = 1
                elif turn == 1:
                    # PNG may say it behind the pixels.
                    turn = int(opened.getexif().get(ORIENTATION, 1))
    except DataRejectedError:
        raise
    except DECODER_ERRORS as error:
        raise _refused(path, error) from error
    alpha = picture.alpha
    return Picture(
        _checked(path, upright(picture.values, turn)),
        None if alpha is None else upright(alpha, turn),
        lossy,
        picture.entries,
    )


def decode_jpeg(path: FileName, content: bytes, colour: bool | None = None) -> Values:
    """Decode a JPEG, taking each warning of the decoder for damage.

    Args:
        path: For messages.
        content: Bytes of the file.
        colour: False gives luma (it is stored as such: asking for it skips the way
            there and back), True three channels, None what the file has.

    Returns:
        uint8 (H, W) or (H, W, 3), upright.

    Raises:
        DataRejectedError: If it is cut, damaged, too large or no JPEG.
    """
    check_whole(path, "JPEG", content)
    try:
        with _header(path, content) as header:
            mode = header.mode
            turn = int(header.getexif().get(ORIENTATION, 1))
            if mode == "CMYK":
                simplejpeg.decode_jpeg(content, "CMYK")
                values = np.asarray(header.convert("RGB"))
            else:
                grey = mode == "L" or colour is False
                values = simplejpeg.decode_jpeg(content, "GRAY" if grey else "RGB")
    except DataRejectedError:
        raise
    except DECODER_ERRORS as error:
        raise _refused(path, error) from error
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if mode == "CMYK" and colour is False:
        values = cv2.cvtColor(values, cv2.COLOR_RGB2GRAY)
    if colour and values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    return upright(values, turn)


def _header(path: FileName, content: bytes) -> Image.Image:
    """A picture whose pixels are not decoded yet.

    Raises:
        DataRejectedError: If it claims more pixels than any image has.
    """
    opened = Image.open(io.BytesIO(content), formats=FORMATS)
    if opened.width * opened.height > MOST_PIXELS:
        raise unreadable(path, "too_large", f"{opened.width} x {opened.height} pixels")
    return opened


def frame_size(path: FileName) -> tuple[int, int]:
    """Height and width of a picture, upright, from its header.

    Raises:
        DataRejectedError: If it is missing or no picture.
    """
    try:
        with Image.open(path, formats=FORMATS) as opened:
            # Pillow would decode a PNG to look for EXIF behind its pixels.
            said = opened.format != "PNG" or "exif" in opened.info
            turn = int(opened.getexif().get(ORIENTATION, 1)) if said else 1
            # Pillow gives a TIFF's size as it will be turned.
            sideways = turn in (5, 6, 7, 8) and opened.format != "TIFF"
            width, height = opened.size
    except DataRejectedError:
        raise
    except DECODER_ERRORS as error:
        raise _refused(path, error) from error
    return (width, height) if sideways else (height, width)


def upright(values: Values, orientation: int) -> Values:
    """Stored rows and columns turned as EXIF says; strange numbers turn nothing."""
    turn = TURNS.get(orientation)
    return values if turn is None else np.ascontiguousarray(turn(values))


def _from_pillow(path: FileName, opened: Image.Image) -> Picture:
    mode, entries = opened.mode, 0
    if mode in ("P", "PA"):
        index = opened.getchannel(0) if mode == "PA" else opened
        entries = len(np.unique(np.asarray(index)))
    clear = "transparency" in opened.info
    if mode.startswith(("I", "F")):
        if clear:
            raise unreadable(path, "unsupported", f"transparency in {mode} pixels")
        values = np.asarray(opened)
        return Picture(values.astype(values.dtype.newbyteorder("=")))
    if mode in ("1", "L") or (mode in ("LA", "La") and not clear):
        bare = opened.convert("LA" if clear or mode in ("LA", "La") else "L")
    elif clear or mode in ("PA", "RGBA", "RGBa") or _has_clear_palette(opened):
        bare = opened.convert("RGBA")
    else:
        bare = opened.convert("RGB")
    values = np.asarray(bare)
    if bare.mode == "LA":
        return Picture(values[..., 0], values[..., 1], entries=entries)
    if bare.mode == "RGBA":
        return Picture(values[..., :3], values[..., 3], entries=entries)
    return Picture(values, entries=entries)


def _has_clear_palette(opened: Image.Image) -> bool:
    return opened.palette is not None and opened.palette.mode == "RGBA"


def _is_deep_colour(opened: Image.Image, kind: str, content: bytes) -> bool:
    """Colour of 16 bits a channel, of which Pillow would drop eight."""
    if kind == "PNG":
        return content[24] == 16 and content[25] in (2, 4, 6)
    if kind == "TIFF":
        bits = getattr(opened, "tag_v2", {}).get(258, (8,))
        return len(bits) > 1 and max(bits) > 8
    return False


def _deep(path: FileName, content: bytes) -> Picture:
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3:
        raise unreadable(path, "undecodable", "colour of 16 bits a channel")
    colour = np.ascontiguousarray(values[..., 2::-1])
    return Picture(colour, values[..., 3] if values.shape[2] == 4 else None)


def _lossy_tiff(opened: Image.Image) -> bool:
    used = str(opened.info.get("compression", ""))
    return opened.format == "TIFF" and used in ("jpeg", "tiff_jpeg", "webp")


def _check_strips(opened: Image.Image, content: bytes) -> None:
    """Decode strips or tiles of a TIFF again where libtiff passes over damage.

    Raises:
        ValueError: With the warning of libjpeg-turbo.
        zlib.error: If a checksum is wrong.
    """
    tags = getattr(opened, "tag_v2", {})
    offsets = tags.get(273) or tags.get(324) or ()
    lengths = tags.get(279) or tags.get(325) or ()
    compression = tags.get(259)
    for offset, length in zip(offsets, lengths, strict=True):
        strip = content[offset : offset + length]
        if compression in (8, 32946):
            zlib.decompress(strip)
        elif compression == 7:
            tables = tags.get(347, b"")
            whole = tables[:-2] + strip[2:] if tables else strip
            fault = check_jpeg(whole)
            if fault is not None:
                raise ValueError(f"corrupt: {fault[1]}")
            simplejpeg.decode_jpeg(whole, "GRAY")


def _checked(path: FileName, values: Values) -> Values:
    if not values.size:
        raise unreadable(path, "empty", "no pixels")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = int(values.size - np.isfinite(values).sum())
        raise unreadable(path, "not_finite", f"{count} pixels are NaN or infinite")
    return values


def _refused(path: FileName, error: Exception) -> DataRejectedError:
    said = str(error) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError | MemoryError):
        return unreadable(path, "too_large", said)
    low = said.lower()
    if "truncated" in low or "premature end" in low:
        return unreadable(path, "truncated", said)
    if "corrupt" in low or "broken" in low or isinstance(error, zlib.error):
        return unreadable(path, "damaged", said)
    return unreadable(path, "undecodable", said)

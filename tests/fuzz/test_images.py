"""Hundreds of damaged and odd image files: the right pixels, or a named refusal.

Containers times damages, all made here from seeds. An oracle sorts what the readers do:

- *right*: the pixels of the undamaged file (the damage hit what no pixel depends on);
- *refused*: a `DataRejectedError` under one of the known reasons;
- *untold*: other pixels, where the format cannot tell (`UNTOLD` says which and why);
- *silent*: other pixels although it could be told; *trace*: any other error; *hang*:
  more than `LONGEST` seconds. None of these three may happen.
"""

from __future__ import annotations

import io
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from vlp_zoo.errors import DataRejectedError
from vlp_zoo.pixels import read_grey, read_mask, read_rgb

pytestmark = pytest.mark.slow

LONGEST = 30
REASONS = {
    *("missing", "empty", "truncated", "damaged", "undecodable", "too_large"),
    *("frames", "not_finite", "unsupported", "bad_mask"),
}
Pixels = npt.NDArray[Any]


def picture(seed: int = 0) -> Pixels:
    """An image with texture, a plain part and a sharp edge."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:176, :144]
    waves = 120 + 70 * np.sin(rows / 17 + seed) * np.cos(columns / 23)
    waves += rng.normal(0, 6, waves.shape)
    waves[:, :24] = 0
    waves[100:120, 60:90] = 240
    return np.asarray(waves.clip(0, 255), np.uint8)


def coded(pixels: Pixels | Image.Image, kind: str, **options: Any) -> bytes:
    held = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(held, kind, **options)
    return held.getvalue()


def dicom(
    pixels: Pixels, syntax: str, frame: bytes | None = None, **tags: Any
) -> bytes:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, SecondaryCaptureImageStorage

    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = UID(syntax)
    header.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    header.SOPClassUID, header.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3.4"
    header.Rows, header.Columns = pixels.shape[:2]
    header.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    header.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        header.PlanarConfiguration = 0
    bits = 8 * pixels.dtype.itemsize
    header.BitsAllocated = header.BitsStored = bits
    header.HighBit, header.PixelRepresentation = bits - 1, 0
    for name, value in tags.items():
        setattr(header, name, value)
    if frame is None:
        header.PixelData = pixels.tobytes()
        header["PixelData"].VR = "OB" if bits == 8 else "OW"
    else:
        header.PixelData = encapsulate([frame])
        header["PixelData"].VR = "OB"
        header["PixelData"].is_undefined_length = True
    held = io.BytesIO()
    header.save_as(held, enforce_file_format=True)
    return held.getvalue()


NATIVE = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
J2K = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"


def run_lengths(pixels: Pixels) -> bytes:
    from pydicom.pixels.encoders.base import get_encoder
    from pydicom.uid import RLELossless

    return bytes(
        get_encoder(RLELossless).encode(
            pixels.tobytes(),
            rows=pixels.shape[0],
            columns=pixels.shape[1],
            samples_per_pixel=1,
            bits_allocated=8,
            bits_stored=8,
            pixel_representation=0,
            number_of_frames=1,
            photometric_interpretation="MONOCHROME2",
            encoding_plugin="pydicom",
        )
    )


def containers() -> dict[str, tuple[bytes, Pixels, int]]:
    """Name to the file, the grey pixels it shows, and how far a codec may be off."""
    grey, other = picture(), picture(1)
    colour = np.dstack([grey, other, 255 - grey])
    luma = np.asarray(Image.fromarray(colour).convert("L"))
    deep = grey.astype(np.uint16) * 13 + 5
    low, high = grey.min(), grey.max()
    wide = np.rint((grey.astype(float) - low) * 255 / (high - low)).astype(np.uint8)
    bits = np.asarray(grey > 128)
    indexed = Image.fromarray(grey // 32).convert("P")
    indexed.putpalette([v for k in range(8) for v in (k * 30,) * 3])
    j2k = {"no_jp2": True, "irreversible": False}
    files: dict[str, tuple[bytes, Pixels, int]] = {
        "jpeg": (coded(grey, "JPEG", quality=90), grey, 40),
        "jpeg-colour": (coded(colour, "JPEG", quality=90), luma, 40),
        "jpeg-progressive": (
            coded(grey, "JPEG", quality=85, progressive=True),
            grey,
            40,
        ),
        "jpeg-optimised": (coded(grey, "JPEG", quality=70, optimize=True), grey, 60),
        "jpeg-restarts": (
            coded(grey, "JPEG", quality=90, restart_marker_blocks=8),
            grey,
            40,
        ),
        "jpeg-cmyk": (
            coded(Image.fromarray(colour).convert("CMYK"), "JPEG", quality=95),
            luma,
            40,
        ),
        "png": (coded(grey, "PNG"), grey, 0),
        "png-colour": (coded(colour, "PNG"), luma, 1),
        "png-deep": (coded(deep, "PNG"), wide, 1),
        "png-bits": (coded(bits, "PNG"), bits * np.uint8(255), 0),
        "png-palette": (coded(indexed, "PNG"), grey // 32 * 30, 0),
        "png-alpha": (
            coded(np.dstack([grey, 0 * grey + 255]), "PNG"),
            grey,
            0,
        ),
        "gif": (coded(grey, "GIF"), grey, 0),
        "bmp": (coded(grey, "BMP"), grey, 0),
        "bmp-colour": (coded(colour, "BMP"), luma, 1),
        "pgm": (coded(grey, "PPM"), grey, 0),
        "tiff": (coded(grey, "TIFF"), grey, 0),
        "tiff-deep": (coded(deep, "TIFF"), wide, 1),
        "tiff-float": (coded(grey.astype(np.float32) / 7, "TIFF"), wide, 1),
        "tiff-lzw": (coded(grey, "TIFF", compression="tiff_lzw"), grey, 0),
        "tiff-deflate": (
            coded(colour, "TIFF", compression="tiff_adobe_deflate"),
            luma,
            1,
        ),
        "tiff-packbits": (coded(grey, "TIFF", compression="packbits"), grey, 0),
        "tiff-jpeg": (coded(grey, "TIFF", compression="jpeg", quality=90), grey, 40),
        "webp": (coded(grey, "WEBP", quality=85), grey, 40),
        "webp-lossless": (coded(colour, "WEBP", lossless=True), luma, 1),
        "jp2": (coded(grey, "JPEG2000"), grey, 0),
        "jp2-lossy": (
            coded(
                colour,
                "JPEG2000",
                irreversible=True,
                quality_mode="dB",
                quality_layers=[40],
            ),
            luma,
            20,
        ),
        "j2k": (coded(grey, "JPEG2000", **j2k), grey, 0),
        "dicom": (dicom(grey, NATIVE), wide, 0),
        "dicom-deep": (dicom(deep, NATIVE), wide, 1),
        "dicom-colour": (dicom(colour, NATIVE), luma, 1),
        "dicom-jpeg": (dicom(grey, JPEG, coded(grey, "JPEG", quality=90)), wide, 50),
        "dicom-j2k": (dicom(grey, J2K, coded(grey, "JPEG2000", **j2k)), wide, 0),
        "dicom-rle": (dicom(grey, RLE, run_lengths(grey)), wide, 0),
    }
    return files


Damage = Callable[[bytes, np.random.Generator], bytes]


def _replaced(make: Callable[[np.random.Generator], bytes]) -> Damage:
    def damage(content: bytes, rng: np.random.Generator) -> bytes:
        new = make(rng)
        start = _inside(content, rng, len(new))
        return content[:start] + new + content[start + len(new) :]

    return damage


def _inside(content: bytes, rng: np.random.Generator, length: int = 0) -> int:
    """A place behind the headers."""
    return int(rng.integers(len(content) // 3, len(content) * 9 // 10 - length))


def _flipped(content: bytes, rng: np.random.Generator) -> bytes:
    at = _inside(content, rng)
    return (
        content[:at] + bytes([content[at] ^ 1 << rng.integers(8)]) + content[at + 1 :]
    )


def _header(content: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(0, 48))
    return content[:at] + rng.bytes(1) + content[at + 1 :]


def _without(content: bytes, rng: np.random.Generator) -> bytes:
    at = _inside(content, rng, 100)
    return content[:at] + content[at + 100 :]


def _twice(content: bytes, rng: np.random.Generator) -> bytes:
    at = _inside(content, rng, 256)
    return content[: at + 256] + content[at:]


def _cut(share: float, fill: bytes = b"") -> Damage:
    def damage(content: bytes, rng: np.random.Generator) -> bytes:
        stop = int(len(content) * share) - int(rng.integers(0, 40))
        return content[:stop] + fill * (len(content) - stop)

    return damage


WHOLE: dict[str, Damage] = {
    "as it is": lambda content, rng: content,
    "2000 zeros behind": lambda content, rng: content + bytes(2000),
    "words behind": lambda content, rng: content + b"made by a camera " * 99,
}
DAMAGES: dict[str, Damage] = {
    "cut at 30 %": _cut(0.3),
    "cut at 70 %": _cut(0.7),
    "cut at 95 %": _cut(0.95),
    "half, then zeros": _cut(0.5, b"\0"),
    "most, then zeros": _cut(0.9, b"\0"),
    "half, then FF": _cut(0.5, b"\xff"),
    "a hole of 16 zeros": _replaced(lambda rng: bytes(16)),
    "a hole of 64 zeros": _replaced(lambda rng: bytes(64)),
    "a hole of 512 zeros": _replaced(lambda rng: bytes(512)),
    "512 times FF": _replaced(lambda rng: b"\xff" * 512),
    "64 random bytes": _replaced(lambda rng: rng.bytes(64)),
    "512 random bytes": _replaced(lambda rng: rng.bytes(512)),
    "100 bytes missing": _without,
    "256 bytes twice": _twice,
    "one bit": _flipped,
    "one byte of the header": _header,
}


PLAIN = {
    *("bmp", "bmp-colour", "pgm", "tiff", "tiff-deep", "tiff-float"),
    *("tiff-packbits", "dicom", "dicom-deep", "dicom-colour", "dicom-rle"),
}
"""Values as they are, or run lengths: any byte is a pixel, and no checksum says which."""

CODED = {
    *("gif", "tiff-lzw", "tiff-jpeg", "webp", "webp-lossless"),
    *("jpeg", "jpeg-colour", "jpeg-progressive", "jpeg-optimised", "jpeg-restarts"),
    *("jpeg-cmyk", "jp2", "jp2-lossy", "j2k", "dicom-jpeg", "dicom-j2k"),
}
"""Codes without a checksum: other bits that happen to be as many codes, decode."""

SMALL = {"one bit", "64 random bytes", "100 bytes missing", "256 bytes twice"}
SMALL |= {"512 random bytes", "one byte of the header"}


SHORT: dict[str, set[str]] = {
    "webp": {"a hole of 16 zeros"},
    "webp-lossless": {f"a hole of {size} zeros" for size in (16, 64, 512)},
    "jp2-lossy": {"a hole of 16 zeros"},
}
"""Runs of zeros that plain areas are written as."""


def untold(container: str, damage: str) -> bool:
    """Whether a format has nothing that could tell this damage."""
    if container in PLAIN:
        return "cut" not in damage
    return container in CODED and damage in SMALL | SHORT.get(container, set())


class Hang(Exception):
    """A read that did not end."""


@contextmanager
def limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(read: Callable[[Path], Pixels], path: Path) -> Pixels | str:
    """Pixels, the reason of a refusal, or what went wrong."""
    try:
        with limited():
            return read(path)
    except DataRejectedError as error:
        reason = error.found.split(":")[0]
        return reason if reason in REASONS else f"trace: a reason {reason!r}"
    except Hang:
        return "hang"
    except Exception as error:  # noqa: BLE001
        return f"trace: {type(error).__name__}: {error}"


def same(found: Pixels, expected: Pixels, tolerance: int) -> bool:
    if found.shape != expected.shape:
        return False
    return bool(np.abs(found.astype(int) - expected.astype(int)).max() <= tolerance)


def judged(found: Pixels | str, expected: Pixels, may_differ: bool) -> str:
    if isinstance(found, str):
        return "refused" if found in REASONS else found
    if same(found, expected, 0):
        return "right"
    return "untold" if may_differ else "silent"


def test_damaged_files_are_right_or_refused(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    faults: list[str] = []
    for number, (container, (content, shows, tolerance)) in enumerate(
        containers().items()
    ):
        path = tmp_path / "image"
        path.write_bytes(content)
        grey, colour = read_grey(path), read_rgb(path)
        assert same(grey, shows, tolerance), container
        for damage, make in (WHOLE | DAMAGES).items():
            for seed in range(1 if damage in WHOLE else 2):
                rng = np.random.default_rng((number, seed))
                # A wrong suffix is no reason for anything.
                path = tmp_path / ("image.png" if seed else "image")
                path.write_bytes(make(content, rng))
                results = [
                    judged(outcome(read, path), expected, untold(container, damage))
                    for read, expected in ((read_grey, grey), (read_rgb, colour))
                ]
                masked = outcome(read_mask, path)
                if isinstance(masked, str) and masked not in REASONS:
                    results.append(masked)
                worst = max(results, key=_badness)
                counts[worst.split(":")[0]] += 1
                if damage in WHOLE and worst != "right":
                    faults.append(f"{container}, {damage}: {worst}")
                elif _badness(worst) > 2:
                    faults.append(f"{container}, {damage} ({seed}): {worst}")
    print(f"\n{counts.total()} files: {dict(counts)}")
    assert counts.total() >= 800
    assert not faults, "\n".join(faults)


def _badness(result: str) -> int:
    order = ("right", "refused", "untold", "silent")
    return order.index(result) if result in order else len(order)

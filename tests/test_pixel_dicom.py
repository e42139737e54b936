"""DICOM kinds that are easily shown wrongly: palettes, windows, padding, damage."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate

from tests.test_pixel_files import picture, reason
from tests.test_pixels import VALUES, write_dicom
from vlp_zoo.pixels import read_grey, read_rgb

JPEG, J2K = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"


def encapsulated(path: Path, pixels: npt.NDArray[Any], frame: bytes, uid: str) -> Path:
    write_dicom(path, pixels)
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = pydicom.uid.UID(uid)
    header.PixelData = encapsulate([frame])
    header["PixelData"].VR = "OB"
    header["PixelData"].is_undefined_length = True
    header.save_as(path, enforce_file_format=True)
    return path


def coded(kind: str) -> bytes:
    held = io.BytesIO()
    image = Image.fromarray(picture(256, 256))
    if kind == "JPEG":
        image.save(held, kind, quality=90)
    else:
        image.save(held, kind, no_jp2=True)
    return held.getvalue()


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    path = write_dicom(
        tmp_path / "a.dcm",
        np.arange(4, dtype=np.uint8).reshape(2, 2),
        PhotometricInterpretation="PALETTE COLOR",
    )
    header = pydicom.dcmread(path)
    tables = {"Red": [255, 0, 0, 9], "Green": [0, 255, 0, 9], "Blue": [0, 0, 255, 9]}
    for place, values in enumerate(tables.values(), 1):
        table = np.array(values, np.uint16) << 8
        header.add_new((0x0028, 0x1100 + place), "US", [4, 0, 16])
        header.add_new((0x0028, 0x1200 + place), "OW", table.tobytes())
    header.save_as(path, enforce_file_format=True)
    colours = [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]]
    assert read_rgb(path).tolist() == colours
    assert read_grey(path).tolist() == [[76, 150], [29, 9]]


def test_colour_stays_in_colour(tmp_path: Path) -> None:
    colours = np.dstack([picture(), 255 - picture(), picture() // 3])
    tags = {"SamplesPerPixel": 3, "PlanarConfiguration": 0}
    path = write_dicom(
        tmp_path / "a.dcm", colours, PhotometricInterpretation="RGB", **tags
    )
    assert np.array_equal(read_rgb(path), colours)
    grey = np.asarray(Image.fromarray(colours).convert("L")).astype(int)
    assert np.abs(read_grey(path) - grey).max() <= 1


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        # PS3.3 C.11.2.1.2.1: up to centre - 0.5 black, beyond it white.
        ({"WindowCenter": 1500, "WindowWidth": 1}, [[0, 0], [255, 255]]),
        # No window: the range is shown.
        ({"WindowCenter": 1500, "WindowWidth": 0}, [[0, 64], [128, 255]]),
        ({"WindowCenter": 1500, "WindowWidth": -300}, [[0, 64], [128, 255]]),
        (
            {
                "WindowCenter": 1500,
                "WindowWidth": 0.5,
                "VOILUTFunction": "LINEAR_EXACT",
            },
            [[0, 0], [255, 255]],
        ),
    ],
)
def test_narrow_windows(
    tmp_path: Path, tags: dict[str, Any], expected: list[list[int]]
) -> None:
    assert read_grey(write_dicom(tmp_path / "a.dcm", VALUES, **tags)).tolist() == (
        expected
    )


def test_unknown_functions_and_slopes_are_refused(tmp_path: Path) -> None:
    window = {"WindowCenter": 1500, "WindowWidth": 100, "VOILUTFunction": "CUBIC"}
    assert reason(write_dicom(tmp_path / "a.dcm", VALUES, **window)) == "unsupported"
    flat = {"RescaleSlope": 0, "RescaleIntercept": 3}
    assert reason(write_dicom(tmp_path / "a.dcm", VALUES, **flat)) == "unsupported"


def test_a_range_of_padding_is_black_and_does_not_count(tmp_path: Path) -> None:
    stored = np.array([[-2000, -1500, -1000], [100, 200, 300]], np.int16)
    path = write_dicom(
        tmp_path / "a.dcm",
        stored,
        PixelPaddingValue=-2000,
        PixelPaddingRangeLimit=-1000,
    )
    assert read_grey(path).tolist() == [[0, 0, 0], [0, 128, 255]]


def test_a_hot_pixel_does_not_stretch_the_range(tmp_path: Path) -> None:
    deep = picture().astype(np.uint16) * 10
    whole = read_grey(write_dicom(tmp_path / "a.dcm", deep))
    deep[3, 4] = 65_535
    found = read_grey(write_dicom(tmp_path / "a.dcm", deep))
    found[3, 4] = whole[3, 4]
    assert np.array_equal(found, whole)


@pytest.mark.parametrize(("kind", "uid"), [("JPEG", JPEG), ("JPEG2000", J2K)])
def test_damaged_frames_are_refused(tmp_path: Path, kind: str, uid: str) -> None:
    pixels, frame = picture(256, 256), coded(kind)
    path = encapsulated(tmp_path / "a.dcm", pixels, frame, uid)
    assert read_grey(path).shape == (256, 256)
    middle = len(frame) // 2
    for broken in (
        frame[:middle],
        frame[:middle] + bytes(len(frame) - middle),
        frame[:middle] + bytes(64) + frame[middle + 64 :],
        frame[:middle] + b"\xff" * 64 + frame[middle + 64 :],
    ):
        path = encapsulated(tmp_path / "a.dcm", pixels, broken, uid)
        assert reason(path) in ("damaged", "truncated", "undecodable")
    content = encapsulated(tmp_path / "a.dcm", pixels, frame, uid).read_bytes()
    for share in (0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        assert reason(path) in ("damaged", "truncated", "undecodable")


def test_plain_lossless_frames_are_whole() -> None:
    """Colour bars, whose code in lossless JPEG is all zeros."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    for name in ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_jpeg_dcmd.dcm"):
        if (folder / name).is_file():
            assert len(np.unique(read_rgb(folder / name))) > 1

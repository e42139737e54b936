"""Pictures of every container, whole and damaged, through the one decoding room."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from vlp_zoo.errors import DataRejectedError
from vlp_zoo.pixels import read_grey, read_levels, read_rgb, read_size
from vlp_zoo.pixels.levels import own_range

Pixels = npt.NDArray[np.uint8]


def picture(height: int = 64, width: int = 96) -> Pixels:
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).normal(0, 5, (height, width))
    waves = 128 + 60 * np.sin(rows / 9) * np.cos(columns / 13) + noise
    return np.asarray(waves.clip(0, 255), np.uint8)


def coded(pixels: Pixels, kind: str, **options: Any) -> bytes:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, kind, **options)
    return held.getvalue()


def reason(path: Path) -> str:
    """Under which word both readers refuse a file."""
    found = set()
    for read in (read_grey, read_rgb):
        with pytest.raises(DataRejectedError) as caught:
            read(path)
        found.add(caught.value.found.split(":")[0])
    assert len(found) == 1
    return found.pop()


TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_every_container_is_turned_upright_in_grey_and_in_colour(
    tmp_path: Path, kind: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98}}
    path = tmp_path / "a"
    path.write_bytes(coded(picture(), kind, exif=exif, **options.get(kind, {})))
    expected = TURNED[orientation](picture()).astype(int)
    grey, colour = read_grey(path), read_rgb(path)
    assert grey.shape == expected.shape == read_size(path) == read_levels(path).shape
    assert colour.shape == (*expected.shape, 3)
    tolerance = 12 if kind == "JPEG" else 1
    assert np.abs(grey - expected).max() <= tolerance
    assert np.abs(colour - expected[..., None]).max() <= tolerance


def test_deep_pictures_are_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = picture().astype(np.uint16) * 16
    for suffix in ("png", "tif"):
        path = tmp_path / f"deep.{suffix}"
        Image.fromarray(deep).save(path, exif=exif)
        low, high = own_range(deep)
        scaled = np.rint((np.rot90(deep, -1) - low) * 255 / (high - low))
        assert np.abs(read_grey(path) - scaled).max() <= 1
        # Twelve bits in sixteen are no black photograph.
        assert np.array_equal(read_rgb(path)[..., 1], read_grey(path))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("at", [0.3, 0.5, 0.8])
def test_a_jpeg_with_a_hole_is_damaged(
    tmp_path: Path, at: float, progressive: bool
) -> None:
    content = coded(picture(256, 256), "JPEG", quality=90, progressive=progressive)
    start = int(len(content) * at)
    holed = content[:start] + bytes(400) + content[start + 400 :]
    path = tmp_path / "a.jpg"
    path.write_bytes(holed)
    assert reason(path) in ("damaged", "truncated")


def test_a_small_hole_is_found_by_its_zeros(tmp_path: Path) -> None:
    content = coded(picture(256, 256), "JPEG", quality=90)
    path = tmp_path / "a.jpg"
    for start in range(len(content) // 3, len(content) - 400, 397):
        path.write_bytes(content[:start] + bytes(16) + content[start + 16 :])
        assert reason(path) in ("damaged", "truncated")


@pytest.mark.parametrize("progressive", [False, True])
def test_plain_areas_are_no_holes(tmp_path: Path, progressive: bool) -> None:
    plain = np.zeros((512, 512), np.uint8)
    plain[200:240, 200:260] = picture(40, 60)
    path = tmp_path / "a.jpg"
    for optimise in (False, True):
        content = coded(plain, "JPEG", optimize=optimise, progressive=progressive)
        path.write_bytes(content)
        assert np.abs(read_grey(path).astype(int) - plain).max() < 40
    colour = np.stack([plain] * 3, 2)
    path.write_bytes(coded(colour, "JPEG", optimize=True, progressive=progressive))
    assert read_rgb(path).shape == (512, 512, 3)


@pytest.mark.parametrize("kind", ["WEBP", "JPEG2000", "GIF", "TIFF", "PNG"])
def test_plain_pictures_of_other_formats_are_no_holes(
    tmp_path: Path, kind: str
) -> None:
    rows, columns = np.mgrid[:1024, :1024]
    dot = (rows - 400) ** 2 + (columns - 300) ** 2 < 400
    half = np.where(columns < 600, 0, np.resize(picture(512, 512), (1024, 1024)))
    path = tmp_path / "a"
    for plain in (dot * np.uint8(255), 0 * dot, half):
        pixels = plain.astype(np.uint8)
        for options in ({}, {"lossless": True, "method": 0}):
            path.write_bytes(coded(pixels, kind, **options))
            found = read_grey(path)
            lossy = kind == "WEBP" and not options
            assert np.abs(found.astype(int) - pixels).max() <= (90 if lossy else 0)


def test_other_formats_with_damage(tmp_path: Path) -> None:
    path = tmp_path / "a"
    cases: list[tuple[str, dict[str, Any], int]] = [
        ("TIFF", {"compression": "tiff_adobe_deflate"}, 16),
        ("TIFF", {"compression": "jpeg"}, 64),
        ("WEBP", {"quality": 90}, 64),
        ("JPEG2000", {}, 16),
    ]
    for kind, options, hole in cases:
        content = coded(picture(256, 256), kind, **options)
        middle = len(content) // 2
        for new in (bytes(hole), b"\xff" * 64):
            path.write_bytes(content[:middle] + new + content[middle + len(new) :])
            assert reason(path) in ("damaged", "truncated", "undecodable")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "JPEG2000", "GIF", "TIFF"])
def test_what_is_cut_and_filled_up_with_zeros_is_refused(
    tmp_path: Path, kind: str
) -> None:
    content = coded(picture(256, 256), kind)
    half = len(content) * 2 // 3
    path = tmp_path / "a"
    path.write_bytes(content[:half])
    assert reason(path) in ("truncated", "damaged", "undecodable")
    if kind != "TIFF":
        # TIFF is stored plainly: zeros are black pixels there.
        path.write_bytes(content[:half] + bytes(len(content) - half))
        assert reason(path) in ("truncated", "damaged", "undecodable")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "JPEG2000", "GIF", "BMP"])
@pytest.mark.parametrize("trailer", [bytes(5000), b"\xff\xd9 and more" * 300])
def test_bytes_behind_the_end_are_forgiven(
    tmp_path: Path, kind: str, trailer: bytes
) -> None:
    content = coded(picture(), kind)
    path = tmp_path / "a"
    path.write_bytes(content)
    whole = read_grey(path)
    path.write_bytes(content + trailer)
    assert np.array_equal(read_grey(path), whole)


def test_a_wrong_checksum_of_a_png_is_damage(tmp_path: Path) -> None:
    content = bytearray(coded(picture(), "PNG"))
    content[len(content) // 2] ^= 4
    path = tmp_path / "a.png"
    path.write_bytes(bytes(content))
    assert reason(path) == "damaged"


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_several_pictures_in_one_file_are_refused(tmp_path: Path, kind: str) -> None:
    frames = [Image.fromarray(picture()), Image.fromarray(255 - picture())]
    path = tmp_path / "a"
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])
    assert reason(path) == "frames"
    with pytest.raises(DataRejectedError, match="frames: 2"):
        read_levels(path)


def test_palettes_and_transparency_on_black(tmp_path: Path) -> None:
    grey = picture()
    path = tmp_path / "a.png"
    indices = Image.fromarray((grey // 64).astype(np.uint8)).convert("P")
    indices.putpalette([10, 10, 10, 90, 90, 90, 150, 150, 150, 240, 240, 240])
    indices.save(path)
    expected = np.array([10, 90, 150, 240])[grey // 64]
    assert np.array_equal(read_grey(path), expected)
    indices.save(path, transparency=3)
    expected = np.where(grey // 64 == 3, 0, expected)
    assert np.array_equal(read_grey(path), expected)
    assert np.array_equal(read_rgb(path)[..., 2], expected)
    half = np.dstack([grey, grey, grey, np.full_like(grey, 128)])
    for kind in ("PNG", "TIFF"):
        path.write_bytes(coded(half, kind))
        assert np.array_equal(read_grey(path), np.rint(grey * np.float32(128 / 255)))
    path.write_bytes(coded(np.dstack([grey, np.full_like(grey, 255)]), "PNG"))
    assert np.array_equal(read_grey(path), grey)


@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_float_pictures_with_holes_are_refused(tmp_path: Path, strange: float) -> None:
    values = picture().astype(np.float32)
    path = tmp_path / "a.tif"
    Image.fromarray(values).save(path)
    assert read_grey(path).max() == 255
    values[3, 4] = strange
    Image.fromarray(values).save(path)
    assert reason(path) == "not_finite"


@pytest.mark.parametrize("value", [0, 65_535])
def test_a_hot_or_dead_pixel_does_not_stretch_the_range(
    tmp_path: Path, value: int
) -> None:
    deep = picture().astype(np.uint16) * 8 + (0 if value else 30_000)
    path = tmp_path / "a.png"
    Image.fromarray(deep).save(path)
    whole = read_grey(path)
    deep[5, 7] = value
    Image.fromarray(deep).save(path)
    found = read_grey(path)
    assert found[5, 7] == (255 if value else 0)
    found[5, 7] = whole[5, 7]
    assert np.abs(found.astype(int) - whole).max() <= 1


def test_a_bright_sign_is_no_defect() -> None:
    values = picture().astype(np.uint16)
    values[2:6, 3:9] = 4095
    assert own_range(values)[1] == 4095
    # Of two values the rare one is the picture.
    dot = np.zeros((64, 64), np.uint16)
    dot[3, 3] = 900
    assert own_range(dot) == (0, 900)


def test_sixteen_bit_colour_keeps_its_upper_eight_bits(tmp_path: Path) -> None:
    deep = np.dstack([picture(), 255 - picture(), picture() // 2]).astype(np.uint16)
    for suffix in ("png", "tif"):
        path = tmp_path / f"a.{suffix}"
        cv2.imwrite(str(path), deep[..., ::-1] * 256 + 99)
        assert np.array_equal(read_rgb(path), deep)


def test_no_pictures_and_absurd_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for content in (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>',
        struct.pack(">I", 24) + b"ftypheic" + bytes(40),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xd9",
        b"GIF89a",
        b"BM",
    ):
        path.write_bytes(content)
        assert reason(path) in ("undecodable", "truncated")
    path.unlink()
    path.mkdir()
    assert reason(path) == "missing"
    assert reason(tmp_path / "with\0nul.png") == "missing"

"""Decoding, against other libraries, real files and files made by hand."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

from tests.conftest import require_shared
from vlp_zoo.errors import DataRejectedError
from vlp_zoo.pixels import read_grey, read_levels, read_rgb


def ramp(height: int = 40, width: int = 60) -> npt.NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    return np.asarray(rows * 2 + columns * 2, dtype=np.uint8)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_png_of_every_mode_gives_the_grey_values(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.png"
    image = Image.fromarray(ramp())
    (image.convert("RGB") if mode == "P" else image).convert(mode).save(path)
    expected = np.asarray(Image.open(path).convert("L"))
    assert np.array_equal(read_grey(path), expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_agrees_with_pillow(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(ramp()).convert(mode).save(path, quality=95)
    expected = np.asarray(Image.open(path).convert("L")).astype(int)
    found = read_grey(path)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_colour_becomes_luma_in_the_right_channel_order(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.new("RGB", (4, 4), (255, 0, 0)).save(path)
    assert set(read_grey(path).ravel().tolist()) == {76}


def test_sixteen_bits_are_scaled_by_the_range_found(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    values = np.array([[100, 1100], [2100, 4100]], np.uint16)
    cv2.imwrite(str(path), values)
    assert read_grey(path).tolist() == [[0, 64], [128, 255]]
    cv2.imwrite(str(path), np.full((3, 3), 700, np.uint16))
    assert set(read_grey(path).ravel().tolist()) == {0}


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"image.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataRejectedError, match="truncated") as caught:
        read_grey(path)
    assert str(path) in str(caught.value)


def test_missing_empty_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRejectedError, match="missing"):
        read_grey(tmp_path / "none.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(DataRejectedError, match="empty"):
        read_grey(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(DataRejectedError, match="undecodable"):
        read_grey(tmp_path / "text.png")


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "really_png.jpg"
    Image.fromarray(ramp()).save(path, format="PNG")
    assert np.array_equal(read_grey(path), ramp())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_come_out_upright(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = np.zeros((32, 48), np.uint8)
    picture[:16, :24] = 250
    Image.fromarray(picture).save(path, exif=exif, quality=95)
    turned = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.T,
        6: np.rot90(picture, -1),
        7: picture[::-1, ::-1].T,
        8: np.rot90(picture),
    }[orientation]
    found = read_grey(path)
    assert found.shape == turned.shape
    assert np.abs(found.astype(int) - turned).max() <= 10


# DICOM --------------------------------------------------------------------------


def write_dicom(path: Path, pixels: npt.NDArray[Any], **tags: Any) -> Path:
    """A minimal radiograph; ``tags`` are added to its header."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID
    header.Rows, header.Columns = pixels.shape[:2]
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    bits = 8 * pixels.dtype.itemsize
    header.BitsAllocated = header.BitsStored = bits
    header.HighBit = bits - 1
    header.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in tags.items():
        setattr(header, name, value)
    header.PixelData = pixels.tobytes()
    header.save_as(path, enforce_file_format=True)
    return path


VALUES = np.array([[0, 1000], [2000, 4000]], np.uint16)


def test_without_a_window_the_range_is_shown(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", VALUES)
    assert read_grey(path).tolist() == [[0, 64], [128, 255]]


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    path = write_dicom(
        tmp_path / "a.dcm", VALUES, PhotometricInterpretation="MONOCHROME1"
    )
    assert read_grey(path).tolist() == [[255, 191], [127, 0]]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        # (x - (c - 0.5)) / (w - 1) + 0.5, PS3.3 C.11.2.1.2.1
        (None, [[0, 64], [191, 255]]),
        # (x - c) / w + 0.5, C.11.2.1.3.2
        ("LINEAR_EXACT", [[0, 64], [191, 255]]),
        # 1 / (1 + exp(-4 (x - c) / w)), C.11.2.1.3.1
        ("SIGMOID", [[12, 69], [186, 254]]),
    ],
)
def test_windows_follow_the_standard(
    tmp_path: Path, function: str | None, expected: list[list[int]]
) -> None:
    tags: dict[str, Any] = {"WindowCenter": 1500, "WindowWidth": 2000}
    if function:
        tags["VOILUTFunction"] = function
    path = write_dicom(tmp_path / "a.dcm", VALUES, **tags)
    assert np.abs(read_grey(path).astype(int) - expected).max() <= 1


def test_the_first_of_several_windows_counts(tmp_path: Path) -> None:
    one = write_dicom(tmp_path / "a.dcm", VALUES, WindowCenter=500, WindowWidth=800)
    two = write_dicom(
        tmp_path / "b.dcm", VALUES, WindowCenter=[500, 3000], WindowWidth=[800, 900]
    )
    assert np.array_equal(read_grey(one), read_grey(two))


def test_a_window_that_would_show_nothing_is_left_out(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", VALUES, WindowCenter=30000, WindowWidth=100)
    assert read_grey(path).tolist() == [[0, 64], [128, 255]]


def test_rescaling_comes_before_the_window(tmp_path: Path) -> None:
    plain = write_dicom(tmp_path / "a.dcm", VALUES, WindowCenter=1500, WindowWidth=2000)
    rescaled = write_dicom(
        tmp_path / "b.dcm",
        VALUES,
        RescaleSlope=2,
        RescaleIntercept=-1000,
        WindowCenter=2000,
        WindowWidth=4000,
    )
    difference = read_grey(plain).astype(int) - read_grey(rescaled)
    assert np.abs(difference).max() <= 1


def test_a_table_replaces_the_window(tmp_path: Path) -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 8])
    table.add_new("LUTData", "US", [0, 200, 100, 255])
    stored = np.array([[0, 1], [2, 3]], np.uint16)
    path = write_dicom(
        tmp_path / "a.dcm",
        stored,
        VOILUTSequence=Sequence([table]),
        WindowCenter=2,
        WindowWidth=2,
    )
    assert read_grey(path).tolist() == [[0, 200], [100, 255]]


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_count(tmp_path: Path, kind: str) -> None:
    stored = np.array([[-2000, -2000], [100, 300]], np.int16)
    path = write_dicom(
        tmp_path / "a.dcm",
        stored,
        PhotometricInterpretation=kind,
        PixelPaddingValue=-2000,
    )
    seen = [255, 0] if kind == "MONOCHROME1" else [0, 255]
    assert read_grey(path).tolist() == [[0, 0], seen]


def test_a_film_of_frames_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.zeros((2, 4, 4), np.uint16))
    header = pydicom.dcmread(path)
    header.NumberOfFrames, header.Rows, header.Columns = 2, 4, 4
    header.save_as(path)
    with pytest.raises(DataRejectedError, match="frames: 2"):
        read_grey(path)


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_truncated_dicom_is_refused(tmp_path: Path, share: float) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.ones((64, 64), np.uint16))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataRejectedError, match="undecodable: DICOM"):
        read_grey(path)


def test_a_text_file_called_dcm_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_text("no radiograph")
    with pytest.raises(DataRejectedError, match="undecodable: DICOM"):
        read_grey(path)


def test_real_radiographs_agree_whatever_their_coding() -> None:
    folder = require_shared("realdata", "dicom")
    jpeg, inverted, plain = (
        read_grey(folder / f"siim_nih_chest_pa_{name}.dcm").astype(int)
        for name in ("mono2_jpeg", "mono1tag_jpeg", "mono2_uncompressed")
    )
    assert jpeg.shape == (1024, 1024)
    assert np.abs(jpeg - plain).max() <= 1
    assert np.array_equal(inverted, 255 - jpeg)
    lossy, lossless = (
        read_grey(folder / f"nema_wg4_rg3_extremity_mono1_j2k_{name}.dcm").astype(int)
        for name in ("lossy", "lossless")
    )
    assert lossless.shape == (1760, 1760)
    assert np.abs(lossy - lossless).mean() < 3
    # Beside the leg there is air, and a shaft of bone in its middle.
    air, bone = lossless[200:600, 500:560], lossless[200:600, 840:870]
    assert air.max() < 60
    assert bone.min() > 120


def test_a_header_that_promises_absurd_sizes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.fromarray(ramp()).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(bytes(content))
    for read in (read_grey, read_rgb, read_levels):
        with pytest.raises(DataRejectedError, match="too_large"):
            read(path)
    source = Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    scan = pydicom.dcmread(source)
    scan.Rows = scan.Columns = 60_000
    scan.save_as(tmp_path / "bomb.dcm")
    with pytest.raises(DataRejectedError, match="too_large"):
        read_grey(tmp_path / "bomb.dcm")

"""A mask picture has two values, or is refused by what was found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from vlp_zoo.data.masks import decode_mask
from vlp_zoo.data.pairs import read_pairs
from vlp_zoo.data.records import MaskRef
from vlp_zoo.errors import DataRejectedError
from vlp_zoo.pixels import read_mask

ROWS, COLUMNS = np.mgrid[:64, :80]
DISC = (ROWS - 30) ** 2 + (COLUMNS - 40) ** 2 < 225
WHITE = DISC.astype(np.uint8) * 255


def palette(first: list[int], second: list[int]) -> Image.Image:
    picture = Image.fromarray(DISC.astype(np.uint8)).convert("P")
    picture.putpalette([*first, *second])
    return picture


def with_alpha(
    colour: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8]
) -> Image.Image:
    return Image.fromarray(np.dstack([colour, colour, colour, alpha]))


FULL = np.full_like(WHITE, 255)
GOOD: dict[str, Callable[[], Image.Image]] = {
    "0 and 255": lambda: Image.fromarray(WHITE),
    "0 and 1": lambda: Image.fromarray(WHITE // 255),
    "0 and 65535": lambda: Image.fromarray(WHITE.astype(np.uint16) * 257),
    "one bit": lambda: Image.fromarray(DISC),
    "palette": lambda: palette([0, 0, 0], [200, 0, 0]),
    "blue on black": lambda: Image.fromarray(np.dstack([0 * WHITE, 0 * WHITE, WHITE])),
    "white in alpha": lambda: with_alpha(FULL, WHITE),
    "black in alpha": lambda: with_alpha(0 * WHITE, WHITE),
    "the same in alpha": lambda: with_alpha(WHITE, WHITE),
    "opaque": lambda: with_alpha(WHITE, FULL),
}
BAD: dict[str, tuple[Callable[[], Image.Image], str]] = {
    "three values": (lambda: Image.fromarray(WHITE // 2 + (ROWS == 3)), "3 values"),
    "neither black": (lambda: Image.fromarray(WHITE // 2 + 9), "neither black"),
    "soft": (lambda: Image.fromarray(WHITE).resize((40, 32)), "values"),
    "soft alpha": (lambda: with_alpha(FULL, ROWS.astype(np.uint8)), "transparency"),
    "two shapes": (lambda: with_alpha(WHITE, WHITE[::-1]), "another in"),
    "bad palette": (lambda: palette([0, 0, 0], [0, 0, 0]), "palette"),
    "colours": (lambda: palette([255, 255, 255], [9, 0, 0]), "neither black"),
}


@pytest.mark.parametrize("name", GOOD)
def test_pictures_of_two_values_mark_what_is_not_black(
    tmp_path: Path, name: str
) -> None:
    GOOD[name]().save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png"), DISC)


@pytest.mark.parametrize("name", BAD)
def test_other_pictures_are_refused_by_what_was_found(
    tmp_path: Path, name: str
) -> None:
    make, found = BAD[name]
    make().save(tmp_path / "m.png")
    with pytest.raises(DataRejectedError, match=f"bad_mask: .*{found}"):
        read_mask(tmp_path / "m.png")


@pytest.mark.parametrize("name", ["m.jpg", "m.webp"])
def test_formats_with_loss_are_refused(tmp_path: Path, name: str) -> None:
    Image.fromarray(WHITE).save(tmp_path / name)
    with pytest.raises(DataRejectedError, match="with loss"):
        read_mask(tmp_path / name)


@pytest.mark.parametrize("name", ["m.bmp", "m.gif", "m.tif", "m.webp", "m.jp2"])
def test_formats_without_loss_are_read(tmp_path: Path, name: str) -> None:
    Image.fromarray(WHITE).save(tmp_path / name, lossless=True)
    assert np.array_equal(read_mask(tmp_path / name), DISC)


def test_empty_and_full_masks_are_masks(tmp_path: Path) -> None:
    for value in (0, 1, 255):
        Image.fromarray(0 * WHITE + np.uint8(value)).save(tmp_path / "m.png")
        assert read_mask(tmp_path / "m.png").all() == bool(value)


def test_a_mask_on_its_side_is_not_stretched(tmp_path: Path) -> None:
    Image.fromarray(WHITE.T.copy()).save(tmp_path / "m.png")
    mask = MaskRef("lesion", "file", tmp_path / "m.png", two_valued=True)
    with pytest.raises(DataRejectedError, match="64 x 80 pixels"):
        decode_mask(mask, 64, 80)
    Image.fromarray(WHITE).save(tmp_path / "m.png")
    assert decode_mask(mask, 32, 40).sum() == pytest.approx(DISC.sum() / 4, rel=0.05)
    # 64 x 80 made smaller to a width of 27 pixels, with the height rounded.
    assert decode_mask(mask, 22, 27).any()


def test_tables_take_masks_of_two_values_only(tmp_path: Path) -> None:
    Image.fromarray(WHITE).save(tmp_path / "i.png")
    Image.fromarray(WHITE).save(tmp_path / "m.jpg")
    cell = json.dumps({"lesion": "m.jpg"}).replace('"', '""')
    table = tmp_path / "t.csv"
    table.write_text(f'image,findings,masks\ni.png,one lesion,"{cell}"\n')
    studies, _ = read_pairs(table)
    with pytest.raises(DataRejectedError, match="with loss"):
        studies.masks_of(0, 64, 80)
    # What the flag says is not part of a fingerprint: stored results stay valid.
    assert "two_valued" not in repr(studies.masks[0][0])

"""Copies that were made smaller or with loss: boxes follow, masks are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fakes.tbx11k import write_tbx11k, write_tbx11k_simplified
from vlp_zoo.data.chest.tbx11k import read
from vlp_zoo.data.masks import decode_mask
from vlp_zoo.data.official import nih14
from vlp_zoo.data.records import MaskRef
from vlp_zoo.errors import ConfigError, DataRejectedError


@pytest.mark.parametrize("write", [write_tbx11k, write_tbx11k_simplified])
def test_boxes_of_tbx11k_follow_a_smaller_copy(write: object, tmp_path: Path) -> None:
    write(tmp_path)  # type: ignore[operator]
    before = next(record for record in read(tmp_path) if record.boxes)
    Image.open(before.image).resize((24, 24)).save(before.image)
    after = next(record for record in read(tmp_path) if record.boxes)
    assert after.boxes[0].xyxy == tuple(edge / 2 for edge in before.boxes[0].xyxy)


@pytest.mark.parametrize("levels", [(0, 128, 255), (0, None, 255)])
def test_masks_of_several_values_are_refused_with_greys_between(
    levels: tuple[int | None, ...], tmp_path: Path
) -> None:
    pixels = np.full((40, 40), 255, np.uint8)
    pixels[8:30, 9:31] = 128
    pixels[14:22, 15:23] = 0
    mask = MaskRef("optic cup", "file", tmp_path / "m.png", (0, 0), levels=levels)
    Image.fromarray(pixels).save(tmp_path / "m.png")
    assert decode_mask(mask, 40, 40).sum() == 64
    Image.fromarray(pixels).resize((21, 21)).save(tmp_path / "m.png")
    with pytest.raises(DataRejectedError, match="bad_mask"):
        decode_mask(mask, 40, 40)


def test_options_of_a_check_that_is_not_made_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rejects_path"):
        nih14(str(tmp_path), precheck=False, rejects_path="r.csv")
    (tmp_path / "store.json").write_text("{}")
    with pytest.raises(ConfigError, match="precheck false"):
        nih14(str(tmp_path), precheck=False)
    with pytest.raises(ConfigError, match="a store"):
        nih14(str(tmp_path), rejects_path="r.csv")

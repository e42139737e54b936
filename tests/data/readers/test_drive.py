"""DRIVE: palettes, the field of view, test images with and without vessels."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.drive import BROKEN, write_drive
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.fundus.drive import CARD
from vlp_zoo.errors import DatasetNotFoundError


def test_palettes_are_read_by_colour(tmp_path: Path) -> None:
    write_drive(tmp_path, old=True)
    studies, _ = load(CARD, tmp_path)
    assert len(studies) == 7
    first = studies[0]
    assert first.uid == "21_training"
    assert first.image.shape == (40, 48, 3)
    assert first.masks["vessel"].sum() == 3 * 48
    assert first.masks["vessel"][18:21].all()
    assert first.masks["field of view"].sum() == 36 * 48
    last = studies[6]
    assert last.masks["vessel, second observer"].sum() == 4 * 48


def test_today_the_test_images_have_no_vessels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_drive(tmp_path)
    records = list(CARD.read(tmp_path))
    assert {mask.name for mask in records[-1].masks} == {"field of view"}
    assert [record.facts["annotated"] for record in records] == [True] * 4 + [False] * 3
    assert "can be predicted, not scored" in caplog.text


def test_official_are_the_folders(tmp_path: Path) -> None:
    write_drive(tmp_path)
    splits = split_of(CARD, list(CARD.read(tmp_path)), "official")
    assert splits[4:] == ["test"] * 3
    assert set(splits[:4]) == {"train", "val"}


def test_broken_and_missing_files_are_found(tmp_path: Path) -> None:
    write_drive(tmp_path)
    assert rejected(CARD, tmp_path) == [(BROKEN, "empty")]
    (tmp_path / "test" / "images" / "02_test.tif").unlink()
    assert rejected(CARD, tmp_path)[1] == ("02_test", "missing")


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="images of DRIVE"):
        list(CARD.read(tmp_path))
    (tmp_path / "training").mkdir()
    with pytest.raises(DatasetNotFoundError, match=r"##_training\.tif"):
        list(CARD.read(tmp_path))

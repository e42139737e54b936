"""FFA-IR: frames of cases, one report each, the released parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.ffa_ir import BROKEN, write_ffa_ir
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.fundus.ffa_ir import CARD
from vlp_zoo.errors import ConfigError, DatasetNotFoundError


@pytest.mark.parametrize("folder", ["FFAIR", "FFA-IR", "images", "."])
def test_frames_share_the_report_of_their_case(tmp_path: Path, folder: str) -> None:
    write_ffa_ir(tmp_path, folder=folder)
    records = list(CARD.read(tmp_path))
    assert len(records) == 12
    assert all(record.image.is_file() for record in records)
    third = records[2]
    assert (third.uid, third.study_id, third.view) == ("case_3/1", "case_3", "FFA")
    assert third.text == "Fluorescence is blocked in case_3: laser spots."
    assert records[3].text == third.text
    assert records[3].facts == {"frame": 1, "frames": 2}
    assert len({record.row for record in records}) == 12


def test_official_are_the_released_parts(tmp_path: Path) -> None:
    write_ffa_ir(tmp_path)
    splits = split_of(CARD, list(CARD.read(tmp_path)), "official")
    assert splits == ["train"] * 6 + ["val"] * 2 + ["test"] * 4


def test_grey_frames_and_the_cut_one(tmp_path: Path) -> None:
    write_ffa_ir(tmp_path)
    studies, _ = load(CARD, tmp_path)
    assert studies[0].image.shape == (40, 48, 3)
    assert "laser spots" in studies[0].report.body
    assert rejected(CARD, tmp_path) == [(BROKEN, "truncated")]
    # The first frame gone: the folder is still known by the others.
    (tmp_path / "FFAIR" / "case_1" / "1.jpg").unlink()
    assert rejected(CARD, tmp_path)[0] == ("case_1/1", "missing")


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="annotations of FFA-IR"):
        list(CARD.read(tmp_path))
    path = tmp_path / "ffair_annotation.json"
    path.write_text("{")
    with pytest.raises(ConfigError, match="JSON in"):
        list(CARD.read(tmp_path))
    path.write_text("[1]")
    with pytest.raises(ConfigError, match="train, val and test"):
        list(CARD.read(tmp_path))
    path.write_text(json.dumps({"train": {"case_1": {"Image_path": []}}}))
    with pytest.raises(
        DatasetNotFoundError, match="En_Report and Image_path of case_1"
    ):
        list(CARD.read(tmp_path))

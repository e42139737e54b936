"""EyePACS: tables, patients, the leaderboards as splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.eyepacs import BROKEN, write_eyepacs
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.fundus.eyepacs import CARD
from vlp_zoo.errors import DatasetNotFoundError


def test_reads_the_official_layout(tmp_path: Path) -> None:
    write_eyepacs(tmp_path)
    records = list(CARD.read(tmp_path))
    assert len(records) == 18
    assert all(record.image.is_file() for record in records)
    fifth = records[5]
    assert (fifth.uid, fifth.patient_id, fifth.facts["eye"]) == (
        "15_right",
        "15",
        "right",
    )
    assert fifth.labels == (0, 0, 1, 0, 0)


def test_leaderboards_are_the_official_split(tmp_path: Path) -> None:
    write_eyepacs(tmp_path)
    records = list(CARD.read(tmp_path))
    splits = split_of(CARD, records, "official")
    assert splits == ["train"] * 12 + ["test"] * 2 + ["val"] * 2 + ["test"] * 2
    (tmp_path / "retinopathy_solution.csv").unlink()
    records = list(CARD.read(tmp_path))
    assert len(records) == 12
    with pytest.raises(DatasetNotFoundError, match="retinopathy_solution"):
        split_of(CARD, records, "official")
    assert set(split_of(CARD, records, "canonical")) == {"train", "val", "test"}


def test_resized_packs_and_the_cut_file(tmp_path: Path) -> None:
    write_eyepacs(tmp_path)
    moved = tmp_path / "resized_train" / "resized_train"
    moved.parent.mkdir()
    (tmp_path / "train").rename(moved)
    for path in list(moved.iterdir()):
        path.rename(path.with_suffix(".jpg"))
    studies, _ = load(CARD, tmp_path)
    assert studies[0].image.shape == (40, 48, 3)
    assert rejected(CARD, tmp_path) == [(BROKEN, "truncated")]


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="EyePACS' grades"):
        list(CARD.read(tmp_path))
    write_eyepacs(tmp_path)
    table = tmp_path / "trainLabels.csv"
    table.write_text(table.read_text().replace("16_left,4", "16_left,x"))
    with pytest.raises(DatasetNotFoundError, match="grade from 0 to 4 in line 8"):
        list(CARD.read(tmp_path))

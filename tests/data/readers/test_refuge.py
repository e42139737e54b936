"""REFUGE: folders, spreadsheets, values that run the other way, the three sets."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.refuge import BROKEN, write_refuge
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.fundus.refuge import CARD
from vlp_zoo.errors import DatasetNotFoundError, DependencyNotFoundError


def test_reads_the_official_layout(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_refuge(tmp_path)
    records = {record.uid: record for record in CARD.read(tmp_path)}
    assert len(records) == 10
    assert all(record.image.is_file() for record in records.values())
    glaucoma = {uid for uid, record in records.items() if record.labels == (1.0,)}
    assert glaucoma == {"g0001", "g0002", "V0001", "T0001"}
    assert {record.facts["fovea"] for record in records.values()} == {(20.5, 18.25)}
    assert records["n0001"].facts["device"] != records["V0001"].facts["device"]
    assert not caplog.records


def test_black_is_the_cup_and_white_the_ground(tmp_path: Path) -> None:
    write_refuge(tmp_path, faults=False)
    studies, _ = load(CARD, tmp_path)
    for i in range(len(studies)):
        masks = studies[i].masks
        assert masks["optic disc"].sum() == 24 * 20
        assert masks["optic disc"][8:32, 10:30].all()
        assert masks["optic cup"].sum() == 8 * 10


def test_official_are_the_three_sets(tmp_path: Path) -> None:
    write_refuge(tmp_path)
    records = list(CARD.read(tmp_path))
    splits = split_of(CARD, records, "official")
    assert splits == ["train"] * 4 + ["val"] * 3 + ["test"] * 3


def test_without_spreadsheets_labels_are_unknown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_refuge(tmp_path, sheets=False)
    records = list(CARD.read(tmp_path))
    assert [record.labels[0] for record in records[:4]] == [1, 1, 0, 0]
    assert np.isnan([record.labels[0] for record in records[4:]]).all()
    assert "no glaucoma label for 6" in caplog.text


def test_spreadsheets_need_openpyxl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_refuge(tmp_path)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DependencyNotFoundError, match="openpyxl"):
        list(CARD.read(tmp_path))


def test_cut_and_missing_files_are_found(tmp_path: Path) -> None:
    write_refuge(tmp_path)
    assert rejected(CARD, tmp_path) == [(BROKEN, "truncated")]
    (tmp_path / "REFUGE-Test400" / "Test400" / "T0003.jpg").unlink()
    assert rejected(CARD, tmp_path)[1] == ("T0003", "missing")
    with pytest.raises(DatasetNotFoundError, match=r"g####\.jpg"):
        list(CARD.read(tmp_path / "REFUGE-Test-GT"))

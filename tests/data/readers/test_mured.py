"""MuReD: tables, endings, sources, the released split."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.mured import BROKEN, TEST, TRAIN, write_mured
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.fundus.mured import CARD, LABEL_NAMES
from vlp_zoo.errors import DatasetNotFoundError


def test_reads_the_official_layout(tmp_path: Path) -> None:
    write_mured(tmp_path)
    records = list(CARD.read(tmp_path))
    assert [record.uid for record in records] == [name for name, _ in TRAIN + TEST]
    assert all(record.image.is_file() for record in records)
    assert len(LABEL_NAMES) == 20
    two = records[4]
    pairs = zip(LABEL_NAMES, two.labels, strict=True)
    assert {name for name, value in pairs if value == 1} == {"ODC", "DN"}
    sources = {record.uid: record.facts["source"] for record in records}
    assert (sources["im0003"], sources["aria_a_3_4"], sources["5"]) == (
        "STARE",
        "ARIA",
        "RFMiD",
    )


def test_official_tests_on_the_second_table(tmp_path: Path) -> None:
    write_mured(tmp_path)
    records = list(CARD.read(tmp_path))
    splits = split_of(CARD, records, "official")
    pairs = zip(records, splits, strict=True)
    assert {r.uid for r, s in pairs if s == "test"} == {name for name, _ in TEST}
    assert {"train", "val"} <= set(splits)
    assert split_of(CARD, records, "canonical") == splits


def test_tiff_decodes_and_the_cut_file_is_found(tmp_path: Path) -> None:
    write_mured(tmp_path)
    studies, _ = load(CARD, tmp_path)
    assert studies[studies.uids.index("aria_a_3_4")].image.shape == (40, 48, 3)
    assert rejected(CARD, tmp_path) == [(BROKEN, "truncated")]


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    write_mured(tmp_path)
    table = tmp_path / "val_data.csv"
    table.write_text(table.read_text().replace("TSLN", "TLSN"))
    with pytest.raises(DatasetNotFoundError, match="columns TSLN"):
        list(CARD.read(tmp_path))
    table.unlink()
    with pytest.raises(DatasetNotFoundError, match=r"val_data\.csv"):
        list(CARD.read(tmp_path))

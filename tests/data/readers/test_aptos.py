"""APTOS-2019: layouts, grades, the split by sorted names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.aptos import BROKEN, GRADES, NAMES, write_aptos
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.fundus.aptos import CARD
from vlp_zoo.data.records import Record
from vlp_zoo.errors import DatasetNotFoundError


@pytest.mark.parametrize("repacked", [False, True])
def test_reads_both_layouts(tmp_path: Path, repacked: bool) -> None:
    write_aptos(tmp_path, repacked=repacked)
    records = list(CARD.read(tmp_path))
    assert [record.uid for record in records] == NAMES
    assert all(record.image.is_file() for record in records)
    assert [record.labels.index(1.0) for record in records] == GRADES
    assert all(sum(record.labels) == 1 for record in records)
    assert records[9].facts["grade"] == 3
    assert {record.split for record in records} == {""}


def test_other_endings_are_found_and_the_cut_file_too(tmp_path: Path) -> None:
    write_aptos(tmp_path)
    image = tmp_path / "train_images" / f"{NAMES[0]}.png"
    image.rename(image.with_suffix(".JPG"))
    studies, splits = load(CARD, tmp_path)
    assert studies[0].image.shape == (40, 48, 3)
    assert set(splits) == {"train", "val", "test"}
    assert rejected(CARD, tmp_path) == [(BROKEN, "truncated")]


def test_a_missing_image_is_kept_to_be_reported(tmp_path: Path) -> None:
    write_aptos(tmp_path, faults=False)
    assert rejected(CARD, tmp_path) == []
    (tmp_path / "train_images" / f"{NAMES[1]}.png").unlink()
    assert rejected(CARD, tmp_path) == [(NAMES[1], "missing")]


def test_ecamp_cuts_the_sorted_names_of_all_3662() -> None:
    order = np.random.default_rng(0).permutation(3662)
    records = [
        Record(f"{i:012x}", Path("x.png"), str(i), str(i), labels=(1.0,) * 5)
        for i in order
    ]
    splits = split_of(CARD, records, "ecamp")
    assert Counter(splits) == CARD.rule("ecamp").counts
    by_name = dict(zip((record.uid for record in records), splits, strict=True))
    in_order = [by_name[name] for name in sorted(by_name)]
    assert in_order == ["train"] * 2563 + ["val"] * 366 + ["test"] * 733
    assert CARD.rule("ecamp").legacy


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="label table of APTOS"):
        list(CARD.read(tmp_path))
    write_aptos(tmp_path)
    table = tmp_path / "train.csv"
    table.write_text(table.read_text().replace(",3\n", ",5\n"))
    with pytest.raises(DatasetNotFoundError, match=r"grade from 0 to 4 in line 11"):
        list(CARD.read(tmp_path))
    table.write_text("id,diagnosis\n")
    with pytest.raises(DatasetNotFoundError, match="columns id_code"):
        list(CARD.read(tmp_path))

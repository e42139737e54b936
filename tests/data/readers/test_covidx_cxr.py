"""COVIDx CXR: two classes, with and without a validation list."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.covidx import write_covidx
from tests.fakes.covidx_cxr import BROKEN, write_covidx_cxr
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.chest.covidx_cxr import CARD, read
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.overlaps import related


def test_no_line_is_taken_for_a_heading(tmp_path: Path) -> None:
    write_covidx_cxr(tmp_path)
    records = list(read(tmp_path))
    assert len(records) == 9
    assert [r.uid for r in records[:2]] == ["train/a1.png", "train/a1.jpg"]
    assert [r.labels[0] for r in records] == [1, 1, 0, 0, 1, 0, 1, 0, 1]
    assert split_of(CARD, records, "official") == [
        *["train"] * 5,
        *["val"] * 2,
        *["test"] * 2,
    ]
    studies, _ = load(CARD, tmp_path)
    assert studies[0].image.shape == (40, 48)
    assert rejected(CARD, tmp_path) == [(BROKEN, "truncated")]


@pytest.mark.parametrize("name", ["{split}.txt", "labels/{split}_COVIDx9B.txt"])
def test_versions_without_a_validation_list(tmp_path: Path, name: str) -> None:
    write_covidx_cxr(tmp_path, val=False, name=name)
    records = list(read(tmp_path))
    splits = split_of(CARD, records, "official")
    assert splits[5:] == ["test"] * 2
    assert set(splits[:5]) == {"train", "val"}
    # Two files of one patient.
    assert splits[0] == splits[1]
    assert rejected(CARD, tmp_path) == []


def test_three_classes_are_another_data_set(tmp_path: Path) -> None:
    write_covidx(tmp_path, name="{split}.txt")
    with pytest.raises(DatasetNotFoundError, match="data set covidx for three"):
        list(read(tmp_path))


def test_overlaps_are_those_of_covidx() -> None:
    assert all(related(CARD.name, other) is not None for other in CARD.overlaps)

"""COVIDx 9A: lines read from both ends, twins, sources, splits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.covidx import BROKEN, write_covidx
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.chest.covidx import CARD, read
from vlp_zoo.data.records import Record
from vlp_zoo.errors import DatasetNotFoundError


@pytest.mark.parametrize("folder", ["", "labels/", "data/"])
def test_lines_are_read_from_both_ends(tmp_path: Path, folder: str) -> None:
    write_covidx(tmp_path, name=f"{folder}{{split}}_COVIDx9A.txt")
    records = {r.uid: r for r in read(tmp_path)}
    assert len(records) == 10
    assert all(r.image.is_file() for r in records.values())
    # A blank in the name of the file, and one in that of the patient.
    assert records["train/11547_2020 fig1.png"].patient_id == "9"
    assert records[BROKEN].patient_id == "COVID 11"
    # The first line is no heading.
    first = next(iter(records.values()))
    assert (first.uid, first.row) == ("train/SARS-10.1148.png", 1)
    assert first.labels == (0.0, 1.0, 0.0)
    assert records[BROKEN].labels == (0.0, 0.0, 1.0)
    assert records["test/0b1b.png"].labels == (1.0, 0.0, 0.0)


def test_twins_stay_apart_and_the_source_is_mended(tmp_path: Path) -> None:
    write_covidx(tmp_path)
    records = {r.uid: r for r in read(tmp_path)}
    png, jpg = records["train/0a1c.png"], records["train/0a1c.jpg"]
    assert png.image != jpg.image
    assert png.patient_id == jpg.patient_id
    assert png.facts["source"] == jpg.facts["source"] == "rsna"


def test_older_lists_are_read_where_there_is_no_9a(tmp_path: Path) -> None:
    write_covidx(tmp_path, name="{split}_COVIDx8A.txt")
    assert len(list(read(tmp_path))) == 10


def test_official_split_draws_validation_patients(tmp_path: Path) -> None:
    write_covidx(tmp_path)
    records = list(read(tmp_path))
    splits = split_of(CARD, records, "official")
    assert splits[7:] == ["test"] * 3
    assert set(splits[:7]) == {"train", "val"}
    # The twins are of one patient.
    assert splits[2] == splits[3]


def test_mgca_draws_a_fifth_of_the_lines() -> None:
    from sklearn.model_selection import train_test_split

    records = [
        Record(f"{i}", Path(), f"{i // 2}", "", split="train" if i < 30130 else "test")
        for i in range(30530)
    ]
    splits = split_of(CARD, records, "mgca")
    assert Counter(splits) == dict(CARD.splits["mgca"].counts)
    _, val = train_test_split(range(30130), train_size=0.8, random_state=0)
    assert {i for i, split in enumerate(splits) if split == "val"} == set(val)
    # This is what is wrong with it: both images of a patient, one on each side.
    assert any(splits[i] != splits[i + 1] for i in range(0, 30130, 2))
    assert CARD.splits["mgca"].legacy


def test_the_cut_file_is_found(tmp_path: Path) -> None:
    write_covidx(tmp_path)
    studies, _ = load(CARD, tmp_path)
    assert studies[0].image.shape == (40, 48)
    assert rejected(CARD, tmp_path) == [(BROKEN, "truncated")]
    (tmp_path / "test" / "0b1b.png").unlink()
    assert ("test/0b1b.png", "missing") in rejected(CARD, tmp_path)


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"train_COVIDx9A\.txt of COVIDx 9A"):
        list(read(tmp_path))
    write_covidx(tmp_path)
    path = tmp_path / "train_COVIDx9A.txt"
    kept = path.read_text()
    path.write_text(kept.replace("normal", "negative"))
    with pytest.raises(DatasetNotFoundError, match=r"line 2 of .*\n.*\n.*covidx_cxr"):
        list(read(tmp_path))
    path.write_text(kept.replace(" cohen", ""))
    with pytest.raises(DatasetNotFoundError, match="source in line 1"):
        list(read(tmp_path))
    path.write_text(kept)
    (tmp_path / "test_COVIDx9A.txt").unlink()
    with pytest.raises(DatasetNotFoundError, match="no image in a released test set"):
        split_of(CARD, list(read(tmp_path)), "official")
    for image in (tmp_path / "train").iterdir():
        image.unlink()
    with pytest.raises(DatasetNotFoundError, match="put the images there"):
        list(read(tmp_path))

"""SIIM-ACR: the odd heading, relative run lengths joined, the re-pack, three splits."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import require_shared
from tests.data.readers.rejects import rejected
from tests.fakes.siim import BROKEN, image_id, write_siim, write_siim_png
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.chest.siim import CARD, read
from vlp_zoo.data.masks import decode_mask
from vlp_zoo.data.records import Record
from vlp_zoo.errors import DatasetNotFoundError


def test_rows_of_an_image_become_one_mask(tmp_path: Path) -> None:
    write_siim(tmp_path, faults=False)
    records = list(read(tmp_path))
    assert [r.uid for r in records] == [image_id(i) for i in range(8)]
    assert all(r.image.is_file() for r in records)
    # "-1" and " -1" are both empty.
    assert [r.labels[0] for r in records] == [0, 1, 1, 0, 1, 0, 1, 0]
    assert records[2].facts["rows"] == (4, 5)
    assert [r.row for r in records[2:4]] == [4, 6]
    first, second = (decode_mask(mask, 1024, 1024) for mask in records[2].masks)
    assert first[:3, 0].all()
    assert second[2:6, 2].all()
    studies, _ = load(CARD, tmp_path)
    joined = decode_mask(records[2].masks[0], 64, 64) | decode_mask(
        records[2].masks[1], 64, 64
    )
    assert (studies[2].masks["Pneumothorax"] == joined).all()
    assert not studies[0].masks["Pneumothorax"].any()


def test_gaps_are_counted_from_the_end_of_the_last_run(tmp_path: Path) -> None:
    write_siim(tmp_path, faults=False)
    (mask,) = list(read(tmp_path))[1].masks
    pixels = decode_mask(mask, 1024, 1024)
    # 1027 off: the first column and three of the second; 2 on; 1022 off; 1 on.
    assert set(zip(*np.nonzero(pixels), strict=True)) == {(3, 1), (4, 1), (3, 2)}


def test_stage_2_tables_know_the_test_folder(tmp_path: Path) -> None:
    write_siim(tmp_path, faults=False, test=True)
    path = tmp_path / "stage_2_train.csv"
    (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    records = list(read(tmp_path))
    splits = split_of(CARD, records, "official")
    assert splits[6:] == ["test", "test"]
    assert set(splits[:6]) == {"train", "val"}


def test_copies_in_one_folder_are_found(tmp_path: Path) -> None:
    write_siim(tmp_path, faults=False)
    (tmp_path / "images").mkdir()
    for path in sorted(tmp_path.glob("dicom-images-train/*/*/*.dcm"))[:7]:
        path.rename(tmp_path / "images" / path.name)
    records = list(read(tmp_path))
    assert all(r.image.is_file() for r in records)
    records[3].image.unlink()
    assert rejected(CARD, tmp_path) == [(image_id(3), "missing")]


def test_the_re_pack_gives_the_same_ids(tmp_path: Path) -> None:
    write_siim_png(tmp_path)
    records = list(read(tmp_path))
    assert [r.uid for r in records] == [image_id(i) for i in range(8)]
    assert [r.labels[0] for r in records] == [0, 1, 1, 0, 1, 0, 1, 0]
    assert [r.split for r in records] == ["train"] * 6 + ["test"] * 2
    assert records[7].row == 3
    studies, _ = load(CARD, tmp_path)
    assert studies[1].masks["Pneumothorax"].sum() == 40
    assert not studies[0].masks["Pneumothorax"].any()
    assert rejected(CARD, tmp_path) == [(BROKEN, "truncated")]


def test_the_cut_file_is_found(tmp_path: Path) -> None:
    write_siim(tmp_path)
    assert rejected(CARD, tmp_path) == [(BROKEN, "undecodable")]


def test_a_real_image_of_the_release(tmp_path: Path) -> None:
    real = require_shared(
        "realdata", "dicom", "siim_nih_chest_pa_mono2_uncompressed.dcm"
    )
    path = tmp_path / "dicom-images-train" / "1.2" / "1.3" / "1.4.dcm"
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    (tmp_path / "train-rle.csv").write_text("ImageId, EncodedPixels\n1.4, -1\n")
    studies, _ = load(CARD, tmp_path)
    assert studies[0].image.shape == (1024, 1024)
    assert studies[0].image.std() > 20
    assert studies.labels.tolist() == [[0.0]]
    assert rejected(CARD, tmp_path) == []


def test_mgca_splits_rows_and_an_image_has_its_first_side() -> None:
    from sklearn.model_selection import train_test_split

    rows = [i for i in range(600) for _ in range(1 + (i % 10 == 0) * (i % 4 + 1))]
    lines: dict[int, list[int]] = {}
    for line, image in enumerate(rows, 2):
        lines.setdefault(image, []).append(line)
    records = [
        Record(f"{i}", Path(), f"{i}", f"{i}", facts={"rows": tuple(found)})
        for i, found in lines.items()
    ]
    splits = split_of(CARD, records, "mgca")
    train, rest = train_test_split(rows, test_size=0.3, random_state=0)
    test, val = train_test_split(rest, test_size=0.5, random_state=0)
    assert {i for i, s in enumerate(splits) if s == "test"} == set(test)
    assert {i for i, s in enumerate(splits) if s == "val"} == set(val) - set(test)
    # This is what is wrong with it.
    assert set(train) & set(test)
    assert CARD.splits["mgca"].legacy


def test_benchx_orders_positives_before_negatives() -> None:
    from sklearn.model_selection import train_test_split

    records = [
        Record(
            f"{i}",
            Path(),
            f"{i}",
            f"{i}",
            split="train" if i < 10675 else "test",
            labels=(float(i % 5 == 0),),
            facts={
                "file": f"{i}_{'train' if i < 10675 else 'test'}_{i % 5 == 0:d}_.png"
            },
        )
        for i in range(12047)
    ]
    splits = split_of(CARD, records, "benchx")
    assert Counter(splits) == dict(CARD.splits["benchx"].counts)
    names = [r.facts["file"] for r in records if r.split == "train"]
    positive = sorted(name for name in names if "train_1" in name)
    negative = sorted(name for name in names if "train_0" in name)
    _, val, _, _ = train_test_split(
        positive + negative,
        [1] * len(positive) + [0] * len(negative),
        test_size=1372,
        stratify=[1] * len(positive) + [0] * len(negative),
        random_state=42,
    )
    pairs = zip(records, splits, strict=True)
    assert {r.facts["file"] for r, s in pairs if s == "val"} == set(val)


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"train-rle\.csv of SIIM-ACR"):
        list(read(tmp_path))
    table = tmp_path / "train-rle.csv"
    table.write_text("ImageId,Pixels\n")
    with pytest.raises(DatasetNotFoundError, match="columns EncodedPixels"):
        list(read(tmp_path))
    table.write_text("ImageId, EncodedPixels\na,-1\n")
    with pytest.raises(DatasetNotFoundError, match="unpack the images"):
        list(read(tmp_path))
    write_siim(tmp_path)
    records = list(read(tmp_path))
    with pytest.raises(DatasetNotFoundError, match="stage_2_train"):
        split_of(CARD, records, "official")
    with pytest.raises(DatasetNotFoundError, match="PNG re-pack"):
        split_of(CARD, records, "benchx")
    write_siim_png(tmp_path)
    with pytest.raises(DatasetNotFoundError, match="no rows per region"):
        split_of(CARD, list(read(tmp_path)), "mgca")

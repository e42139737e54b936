"""VinDr-CXR: two layouts, readers who disagree, spellings, boxes, splits."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.vindr import (
    BROKEN,
    image_id,
    write_vindr,
    write_vindr_kaggle,
)
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.chest.vindr import CARD, LABEL_NAMES, Votes, card, read
from vlp_zoo.data.precheck import find_rejected
from vlp_zoo.data.records import Record
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.types import Box


def positive(record: Record) -> set[str]:
    pairs = zip(LABEL_NAMES, record.labels, strict=True)
    return {name for name, value in pairs if value == 1}


def test_reads_physionet_with_the_two_spellings_of_other_diseases(
    tmp_path: Path,
) -> None:
    write_vindr(tmp_path)
    records = list(read(tmp_path))
    assert [r.uid for r in records] == [image_id(i) for i in range(9)]
    assert [r.split for r in records] == ["train"] * 6 + ["test"] * 3
    assert all(r.image.is_file() for r in records)
    assert len(LABEL_NAMES) == 28
    assert positive(records[1]) == {"No finding"}
    assert positive(records[2]) == {"ILD", "Other diseases"}
    assert positive(records[6]) == {"Other diseases"}
    assert set(records[0].labels) == {0.0, 1.0}
    assert records[7].boxes == (Box("Pneumothorax", (6.5, 7.5, 20, 30), "lesion"),)
    assert (records[2].row, records[7].row) == (8, 3)
    assert records[2].facts["votes"] == {"ILD": 3, "Other diseases": 1}
    assert (records[2].facts["readers"], records[7].facts["readers"]) == (3, 1)


@pytest.mark.parametrize(
    ("votes", "first", "boxes", "fifth"),
    [
        # Of image 0 two readers of three saw a large heart, one a nodule.
        ("union", {"Cardiomegaly", "Nodule/Mass"}, 3, {"Tuberculosis"}),
        ("majority", {"Cardiomegaly"}, 2, {"No finding"}),
        ("consensus", set(), 0, set()),
        (2, {"Cardiomegaly"}, 2, {"No finding"}),
        (1, {"Cardiomegaly", "Nodule/Mass", "No finding"}, 3, None),
    ],
)
def test_readers_are_joined_as_asked(
    tmp_path: Path, votes: Votes, first: set[str], boxes: int, fifth: set[str] | None
) -> None:
    write_vindr(tmp_path)
    records = list(card(votes).read(tmp_path))
    assert positive(records[0]) == first
    assert len(records[0].boxes) == boxes
    assert positive(records[2]) >= {"ILD"}
    assert len(records[2].boxes) == 3
    if fifth is not None:
        assert positive(records[4]) == fifth
    # The test set has one consensus reading.
    assert positive(records[7]) == {"Pneumothorax"}


def test_another_word_for_votes_is_refused(tmp_path: Path) -> None:
    for votes in (-1, 0):
        with pytest.raises(ConfigError, match="union, majority, consensus"):
            card(votes)
    with pytest.raises(ConfigError, match="'all'"):
        list(read(tmp_path, votes="all"))  # type: ignore[arg-type]


def test_kaggles_pack_leaves_unstated_what_it_cannot_say(tmp_path: Path) -> None:
    write_vindr_kaggle(tmp_path)
    records = list(read(tmp_path))
    assert [r.uid for r in records] == [image_id(i) for i in range(6)]
    first = dict(zip(LABEL_NAMES, records[0].labels, strict=True))
    assert first["Cardiomegaly"] == first["Nodule/Mass"] == 1
    assert first["No finding"] == first["ILD"] == 0
    assert np.isnan(first["COPD"])
    assert np.isnan(records[0].labels).sum() == 28 - 15
    assert len(records[0].boxes) == 3
    assert positive(records[4]) == {"No finding"}
    assert {r.split for r in records} == {""}
    with pytest.raises(DatasetNotFoundError, match="PhysioNet's release"):
        split_of(CARD, records, "official")


def test_tables_in_the_root_zipped_and_images_as_png(tmp_path: Path) -> None:
    write_vindr(tmp_path, faults=False)
    expected = [(r.uid, r.labels, r.boxes) for r in read(tmp_path)]
    for path in list((tmp_path / "annotations").iterdir()):
        packed = gzip.compress(path.read_bytes())
        (tmp_path / f"{path.name}.gz").write_bytes(packed)
        path.unlink()
    for path in list((tmp_path / "train").iterdir()):
        path.rename(path.with_suffix(".png"))
    records = list(read(tmp_path))
    assert [(r.uid, r.labels, r.boxes) for r in records] == expected
    assert records[0].image.suffix == ".png"
    assert records[8].image.suffix == ".dicom"


def test_official_split_keeps_the_released_test_set(tmp_path: Path) -> None:
    write_vindr(tmp_path)
    records = list(read(tmp_path))
    splits = split_of(CARD, records, "official")
    assert splits[6:] == ["test"] * 3
    assert set(splits[:6]) == {"train", "val"}


def test_cxr_clips_fifth_hangs_on_ids_alone(tmp_path: Path) -> None:
    records = [
        Record(
            f"{i:05d}", tmp_path, f"{i}", f"{i}", split="train" if i < 15000 else "test"
        )
        for i in range(18000)
    ]
    splits = split_of(CARD, records, "cxr_clip")
    assert {s: splits.count(s) for s in set(splits)} == dict(
        CARD.splits["cxr_clip"].counts
    )
    backwards = split_of(CARD, records[::-1], "cxr_clip")
    assert backwards[::-1] == splits


def test_decodes_dicom_and_finds_the_cut_file(tmp_path: Path) -> None:
    write_vindr(tmp_path)
    studies, _ = load(CARD, tmp_path)
    assert studies[0].image.shape == (40, 48)
    assert studies[0].boxes[0].xyxy == (10.5, 20.25, 40.0, 36.0)
    rejected = find_rejected(studies, need_report=False, progress=False)
    assert [(item.uid, item.reason) for item in rejected] == [(BROKEN, "undecodable")]
    assert not find_rejected(
        load(CARD, _without_faults(tmp_path / "good"))[0],
        need_report=False,
        progress=False,
    )


def _without_faults(root: Path) -> Path:
    write_vindr(root, faults=False)
    return root


def test_a_missing_file_is_still_listed(tmp_path: Path) -> None:
    write_vindr(tmp_path, faults=False)
    (tmp_path / "test" / f"{image_id(7)}.dicom").unlink()
    records = list(read(tmp_path))
    assert records[7].image == tmp_path / "test" / f"{image_id(7)}.dicom"
    rejected = find_rejected(load(CARD, tmp_path)[0], need_report=False, progress=False)
    assert [(item.uid, item.reason) for item in rejected] == [(image_id(7), "missing")]


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="image_labels_train"):
        list(read(tmp_path))
    write_vindr(tmp_path)
    table = tmp_path / "annotations" / "annotations_test.csv"
    kept = table.read_text()
    table.write_text(kept.replace("Pneumothorax", "Pneumo"))
    with pytest.raises(DatasetNotFoundError, match="line 3 of"):
        list(read(tmp_path))
    table.write_text(kept.replace(image_id(7), "unknown"))
    with pytest.raises(DatasetNotFoundError, match="the image unknown"):
        list(read(tmp_path))
    table.write_text(kept)
    table = tmp_path / "annotations" / "image_labels_train.csv"
    table.write_text(table.read_text().replace("Lung cyst", "Cyst"))
    with pytest.raises(DatasetNotFoundError, match="columns Lung cyst"):
        list(read(tmp_path))

"""RSNA Pneumonia: boxes, filled masks, smaller copies, patients, the three recipes."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.rsna import BROKEN, image_id, write_rsna
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.chest.rsna import CARD, read
from vlp_zoo.data.records import Record
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.types import Box


def test_an_image_has_all_of_its_rows(tmp_path: Path) -> None:
    write_rsna(tmp_path)
    records = list(read(tmp_path))
    assert [r.uid for r in records] == [image_id(i) for i in range(8)]
    assert [r.labels for r in records[:4]] == [(0.0,), (1.0,), (1.0,), (0.0,)]
    assert [r.row for r in records[:4]] == [2, 3, 4, 6]
    assert records[2].boxes == (
        Box("Pneumonia", (8.0, 16.0, 72.0, 144.0), "lesion"),
        Box("Pneumonia", (562.0, 0.0, 1024.0, 453.0), "lesion"),
    )
    assert records[3].facts["class"] == "No Lung Opacity / Not Normal"
    assert records[2].patient_id == records[2].uid != records[1].patient_id
    assert records[2].view is None


def test_masks_are_the_boxes_filled(tmp_path: Path) -> None:
    write_rsna(tmp_path, faults=False)
    studies, _ = load(CARD, tmp_path)
    mask = studies[2].masks["Pneumonia"]
    assert mask.shape == studies[2].image.shape == (1024, 1024)
    assert mask.sum() == 64 * 128 + 462 * 453
    assert mask[16, 8]
    assert not mask[15, 8]
    assert not studies[0].masks["Pneumonia"].any()


@pytest.mark.parametrize("side", [512, 1024, 2048])
def test_boxes_and_masks_fit_copies_of_another_size(tmp_path: Path, side: int) -> None:
    write_rsna(tmp_path, faults=False, side=side)
    studies, _ = load(CARD, tmp_path)
    study = studies[2]
    assert study.image.shape == (side, side)
    scale = side / 1024
    assert study.boxes[0].xyxy == (8 * scale, 16 * scale, 72 * scale, 144 * scale)
    ys, xs = np.nonzero(study.masks["Pneumonia"][:, : side // 2])
    assert (xs.min(), ys.min()) == (8 * scale, 16 * scale)
    assert rejected(CARD, tmp_path) == []


def test_mapping_and_headers_tell_patients_views_and_people(tmp_path: Path) -> None:
    write_rsna(tmp_path, mapping=True)
    records = list(read(tmp_path))
    # ChestX-ray14's patient number, as that reader gives it.
    assert [r.patient_id for r in records[:3]] == ["1", "13", "13"]
    assert records[1].facts["nih14"] == "00000013_005.png"
    assert {r.view for r in records} == {"PA"}
    assert records[1].facts["age"] == 41
    # The headers go up to 155 years.
    assert np.isnan(records[2].facts["age"])
    splits = split_of(CARD, records, "canonical")
    assert splits[1] == splits[2]


def test_tables_may_be_zipped_and_a_missing_image_is_listed(tmp_path: Path) -> None:
    write_rsna(tmp_path, faults=False)
    expected = list(read(tmp_path))
    for name in ("stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"):
        path = tmp_path / name
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert list(read(tmp_path)) == expected
    (tmp_path / "stage_2_train_images" / f"{image_id(3)}.dcm").unlink()
    assert rejected(CARD, tmp_path) == [(image_id(3), "missing")]


def test_the_cut_file_is_found(tmp_path: Path) -> None:
    write_rsna(tmp_path)
    assert rejected(CARD, tmp_path) == [(BROKEN, "undecodable")]


def release(positive: Callable[[int], bool] = lambda i: i % 4 == 0) -> list[Record]:
    """A table of as many images as the release has, in another order than their ids."""
    return [
        Record(f"{i * 7919 % 26684:08x}", Path(), "", "", labels=(float(positive(i)),))
        for i in range(26684)
    ]


@pytest.mark.parametrize("name", ["mgca-cls", "mgca-seg", "benchx"])
def test_recipes_hang_on_the_ids_and_not_on_their_order(name: str) -> None:
    records = release()
    rule = CARD.splits[name]
    splits = rule.assign(records)
    assert Counter(splits) == dict(rule.counts)
    backwards = rule.assign(records[::-1])
    assert backwards[::-1] == splits
    assert rule.legacy
    assert rule.sha256


def test_mgca_s_recipe_step_by_step() -> None:
    """Against the steps of the original, on a table grouped by id."""
    import pandas as pd
    from sklearn.model_selection import train_test_split

    records = release()
    frame = pd.DataFrame({"patientId": [r.uid for r in records]})
    frame["Target"] = [r.labels[0] for r in records]
    grouped = frame.groupby("patientId").agg(list).reset_index()
    for name, size in (("mgca-cls", 0.3), ("mgca-seg", 10674)):
        _, rest = train_test_split(grouped, test_size=size, random_state=0)
        test, val = train_test_split(rest, test_size=0.5, random_state=0)
        splits = dict(
            zip(frame.patientId, CARD.splits[name].assign(records), strict=True)
        )
        assert {uid for uid, s in splits.items() if s == "test"} == set(test.patientId)
        assert {uid for uid, s in splits.items() if s == "val"} == set(val.patientId)


def test_benchx_keeps_the_share_of_positives() -> None:
    records = release()
    splits = CARD.splits["benchx"].assign(records)
    shares = [
        np.mean([r.labels[0] for r, s in zip(records, splits, strict=True) if s == n])
        for n in ("train", "val", "test")
    ]
    assert np.allclose(shares, 0.25, atol=2e-4)


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="label table of RSNA"):
        list(read(tmp_path))
    write_rsna(tmp_path, mapping=True)
    with pytest.raises(DatasetNotFoundError, match="more than 10674"):
        split_of(CARD, list(read(tmp_path)), "mgca-seg")
    mapping = tmp_path / "pneumonia-challenge-dataset-mappings_2018.json"
    for text in ('[{"img_id": 1}]', "not json"):
        mapping.write_text(text)
        with pytest.raises(ConfigError, match="mappings"):
            list(read(tmp_path))
    mapping.unlink()
    table = tmp_path / "stage_2_train_labels.csv"
    kept = table.read_text()
    table.write_text(kept.replace(",,,,,0", ",,,,,none", 1))
    with pytest.raises(DatasetNotFoundError, match="Target in line 2"):
        list(read(tmp_path))
    table.write_text(kept)
    for path in (tmp_path / "stage_2_train_images").iterdir():
        path.unlink()
    with pytest.raises(DatasetNotFoundError, match="unpack the images"):
        list(read(tmp_path))

"""NIH ChestX-ray14: layouts, labels, boxes, the official split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fakes.nih14 import BROKEN, write_nih14
from vlp_zoo.data.catalogue import card_of, load, split_of
from vlp_zoo.data.precheck import find_rejected
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.types import Box

CARD = card_of("nih14")


@pytest.mark.parametrize("flat", [False, True])
def test_reads_the_official_layout(tmp_path: Path, flat: bool) -> None:
    write_nih14(tmp_path, flat=flat)
    records = list(CARD.read(tmp_path))
    assert len(records) == 12
    assert all(record.image.is_file() for record in records)
    third = records[2]
    assert (third.uid, third.patient_id, third.view, third.row) == (
        "00000001_002.png",
        "1",
        "AP",
        4,
    )
    found = {n for n, v in zip(CARD.label_names, third.labels, strict=True) if v == 1}
    assert found == {"Cardiomegaly", "Effusion"}
    assert set(third.labels) == {0.0, 1.0}
    assert sum(records[3].labels) == 0
    assert np.isnan(records[6].facts["age"])


def test_boxes_become_corners_under_the_name_of_the_label(tmp_path: Path) -> None:
    write_nih14(tmp_path)
    by_uid = {record.uid: record for record in CARD.read(tmp_path)}
    box = Box("Infiltration", (10.5, 4.25, 30.5, 20.25), "lesion")
    assert by_uid["00000003_001.png"].boxes == (box,)


def test_official_split_keeps_patients_apart(tmp_path: Path) -> None:
    write_nih14(tmp_path)
    records = list(CARD.read(tmp_path))
    splits = split_of(CARD, records, "official")
    test = {r.patient_id for r, s in zip(records, splits, strict=True) if s == "test"}
    assert test == {"3", "7"}
    assert {"train", "val"} <= set(splits)
    (tmp_path / "test_list.txt").unlink()
    with pytest.raises(
        DatasetNotFoundError, match=r"train_val_list\.txt and test_list"
    ):
        split_of(CARD, list(CARD.read(tmp_path)), "official")
    with pytest.raises(ConfigError, match="official, canonical"):
        split_of(CARD, records, "mrm")


def test_rgba_is_grey_and_the_cut_file_is_found(tmp_path: Path) -> None:
    write_nih14(tmp_path)
    studies, splits = load(CARD, tmp_path)
    assert len(studies) == len(splits) == 12
    assert studies[2].image.shape == (40, 48)
    rejected = find_rejected(studies, need_report=False, progress=False)
    assert [(item.uid, item.reason) for item in rejected] == [(BROKEN, "truncated")]


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="label table of ChestX-ray14"):
        list(CARD.read(tmp_path))
    write_nih14(tmp_path)
    table = tmp_path / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace("Hernia", "Hernie"))
    with pytest.raises(DatasetNotFoundError, match="line 6 of"):
        list(CARD.read(tmp_path))

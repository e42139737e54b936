"""MS-CXR: one record a phrase, where the images may be, both tables, smaller copies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.ms_cxr import BROKEN, dicom_id, write_ms_cxr
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.chest.ms_cxr import CARD, LABEL_NAMES, read
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.types import Box


def test_a_record_is_a_phrase_with_all_of_its_boxes(tmp_path: Path) -> None:
    write_ms_cxr(tmp_path, faults=False)
    records = list(read(tmp_path))
    assert len(records) == 8
    first = records[0]
    assert first.uid == f"{dicom_id(0)}/0"
    assert records[1].uid == f"{dicom_id(0)}/1"
    assert list(first.boxes) == [
        Box("Pleural Effusion", (4, 50, 24, 62), "lesion"),
        Box("Pleural Effusion", (60, 52, 84, 68), "lesion"),
    ]
    assert records[1].boxes[0].xyxy == (30.0, 30.0, 70.5, 60.25)
    assert (first.patient_id, first.study_id, first.row) == ("10000030", "50414260", 2)
    assert records[6].patient_id == records[5].patient_id == "10000034"
    assert records[1].row == 4
    study = load(CARD, tmp_path)[0][0]
    assert study.report.body == "Small bilateral effusions, left more"


def test_a_phrase_can_have_two_categories_and_says_nothing_of_others(
    tmp_path: Path,
) -> None:
    write_ms_cxr(tmp_path)
    record = list(read(tmp_path))[3]
    said = {n for n, v in zip(LABEL_NAMES, record.labels, strict=True) if v == 1}
    assert said == {"Consolidation", "Pneumonia"} == {box.name for box in record.boxes}
    assert np.isnan(record.labels).sum() == 6
    # The same words on another image are another record.
    records = list(read(tmp_path))
    assert records[1].text == records[4].text
    assert records[1].uid != records[4].uid


@pytest.mark.parametrize("files", [True, False])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_images_are_found_in_physionets_tree(
    tmp_path: Path, files: bool, suffix: str
) -> None:
    write_ms_cxr(tmp_path / "flat", files=files, suffix=suffix)
    write_ms_cxr(tmp_path / "tree", files=files, suffix=suffix, tree=True)
    expected = list(read(tmp_path / "flat"))
    for root in (tmp_path / "tree", tmp_path / "tree" / "ms-cxr" / "1.1.0"):
        records = list(read(root))
        assert all(r.image.is_file() for r in records)
        assert [r.uid for r in records] == [r.uid for r in expected]


def test_the_json_table_says_the_same(tmp_path: Path) -> None:
    write_ms_cxr(tmp_path)
    expected = list(read(tmp_path))
    (tmp_path / "MS_CXR_Local_Alignment_v1.1.0.csv").unlink()
    for record, other in zip(read(tmp_path), expected, strict=True):
        assert (record.uid, record.text, record.boxes, record.split) == (
            other.uid,
            other.text,
            other.boxes,
            other.split,
        )
        assert record.image == other.image
    path = tmp_path / "MS_CXR_Local_Alignment_v1.1.0.json"
    content = json.loads(path.read_text())
    del content["annotations"][0]["bbox"]
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="bbox"):
        list(read(tmp_path))


def test_boxes_fit_copies_of_another_size(tmp_path: Path) -> None:
    write_ms_cxr(tmp_path, faults=False, size=(40, 24))
    boxes = list(read(tmp_path))[1].boxes
    assert boxes[0].xyxy == (30 / 4, 30 / 2, 70.5 / 4, 60.25 / 2)
    assert rejected(CARD, tmp_path) == []


def test_the_split_is_that_of_release_1_1_0(tmp_path: Path) -> None:
    write_ms_cxr(tmp_path)
    splits = split_of(CARD, list(read(tmp_path)), "official")
    assert splits == ["test", "test", "val", *["train"] * 5]
    write_ms_cxr(tmp_path / "old", old=True)
    records = list(read(tmp_path / "old"))
    assert {r.split for r in records} == {""}
    with pytest.raises(DatasetNotFoundError, match=r"take release 1\.1\.0"):
        split_of(CARD, records, "official")
    by_canonical = split_of(CARD, records, "canonical")
    # Two phrases on one image.
    assert by_canonical[0] == by_canonical[1]


def test_the_cut_file_is_found(tmp_path: Path) -> None:
    write_ms_cxr(tmp_path)
    assert rejected(CARD, tmp_path) == [(BROKEN, "truncated")]
    next(tmp_path.rglob(f"{dicom_id(1)}.jpg")).unlink()
    assert (f"{dicom_id(1)}/0", "missing") in rejected(CARD, tmp_path)


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="the table of MS-CXR"):
        list(read(tmp_path))
    write_ms_cxr(tmp_path)
    table = tmp_path / "MS_CXR_Local_Alignment_v1.1.0.csv"
    kept = table.read_text()
    for old, new in (("Edema,mild", "Oedema,mild"), (f"{dicom_id(4)}.jpg", "x/y/z")):
        table.write_text(kept.replace(old, new))
        with pytest.raises(DatasetNotFoundError, match="in line 9 of"):
            list(read(tmp_path))
    table.write_text(kept)
    for path in tmp_path.rglob("*.jpg"):
        path.unlink()
    with pytest.raises(DatasetNotFoundError, match="named mimic-cxr-jpg"):
        list(read(tmp_path))

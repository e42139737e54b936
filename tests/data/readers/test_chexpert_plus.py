"""CheXpert Plus: sections, label files, the folders of several downloads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fakes.chexpert_plus import BROKEN, ROWS, write_chexpert_plus
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.chest.chexpert_plus import CARD, LABEL_NAMES, read
from vlp_zoo.data.precheck import find_rejected
from vlp_zoo.data.records import Record
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.types import Report


def report(record: Record) -> Report:
    assert isinstance(record.text, Report)
    return record.text


@pytest.mark.parametrize(
    ("images", "suffix"),
    [
        ("PNG", ".png"),
        ("images", ".png"),
        ("", ".png"),
        ("CheXpert-v1.0-small", ".jpg"),
    ],
)
def test_images_are_found_in_each_download(
    tmp_path: Path, images: str, suffix: str
) -> None:
    write_chexpert_plus(tmp_path, images=images, suffix=suffix)
    records = list(read(tmp_path))
    assert [r.uid for r in records] == [row[0] for row in ROWS]
    assert all(r.image.is_file() for r in records)
    assert {r.image.suffix for r in records} == {suffix}


def test_rows_become_records(tmp_path: Path) -> None:
    write_chexpert_plus(tmp_path)
    records = list(read(tmp_path))
    assert [r.view for r in records[:5]] == ["AP", "LATERAL", "PA", "AP", "LATERAL"]
    fourth = records[3]
    assert fourth.patient_id == records[2].patient_id == "patient00002"
    assert fourth.study_id == "patient00002/study2"
    assert fourth.row == 5
    assert (fourth.facts["age"], fourth.facts["sex"]) == (62, "Male")
    assert [r.split for r in records] == ["train"] * 7 + ["val"]


def test_sections_come_ready(tmp_path: Path) -> None:
    write_chexpert_plus(tmp_path)
    records = list(read(tmp_path))
    assert report(records[0]).impression == "1. No acute process."
    assert report(records[0]).indication == "61 years Female, ICU patient"
    assert report(records[0]).findings == ""
    assert report(records[2]).body == "Small effusion. Effusion."
    # A backslash and an n stand for a blank section.
    assert report(records[3]).impression == ""
    assert report(records[3]).body == "Large effusion."


def test_labels_of_the_wanted_part_by_path(tmp_path: Path) -> None:
    write_chexpert_plus(tmp_path)
    records = list(read(tmp_path))
    found = dict(zip(LABEL_NAMES, records[0].labels, strict=True))
    assert (found["Pleural Effusion"], found["Pneumothorax"]) == (1, 0)
    assert found["Edema"] == -1
    assert np.isnan(list(found.values())).sum() == 11
    # An image that the label file leaves out.
    assert np.isnan(records[6].labels).all()
    of_report = list(read(tmp_path, label_source="report"))
    assert of_report[0].labels[LABEL_NAMES.index("Edema")] == 1
    studies, _ = load(CARD, tmp_path, uncertain=1)
    assert studies.labels[0, LABEL_NAMES.index("Edema")] == 1


def test_without_a_label_file_all_are_unknown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_chexpert_plus(tmp_path)
    records = list(read(tmp_path, label_source="findings"))
    assert np.isnan([r.labels for r in records]).all()
    assert "findings_fixed.json" in caplog.text
    with pytest.raises(ConfigError, match="impression, findings, report"):
        list(read(tmp_path, label_source="chexpert"))  # type: ignore[arg-type]


def test_official_split(tmp_path: Path) -> None:
    write_chexpert_plus(tmp_path)
    records = list(read(tmp_path))
    assert split_of(CARD, records, "official") == ["train"] * 7 + ["val"]
    splits = split_of(CARD, records, "canonical")
    assert splits[7] == "val"
    assert {"train", "test"} <= set(splits)


def test_finds_the_cut_file(tmp_path: Path) -> None:
    write_chexpert_plus(tmp_path)
    studies, _ = load(CARD, tmp_path)
    assert studies[0].image.shape == (40, 48)
    rejected = find_rejected(studies, need_report=False, progress=False)
    assert [(item.uid, item.reason) for item in rejected] == [(BROKEN, "truncated")]
    write_chexpert_plus(tmp_path, faults=False)
    assert not find_rejected(load(CARD, tmp_path)[0], need_report=False, progress=False)


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="table of CheXpert Plus"):
        list(read(tmp_path))
    write_chexpert_plus(tmp_path)
    path = tmp_path / "chexbert_labels" / "impression_fixed.json"
    path.write_text(path.read_text().replace('"Edema"', '"Oedema"'))
    with pytest.raises(DatasetNotFoundError, match=r"line 1 of .*impression"):
        list(read(tmp_path))
    path.unlink()
    table = tmp_path / "df_chexpert_plus_240401.csv"
    kept = table.read_text()
    table.write_text(kept.replace("path_to_image", "path"))
    with pytest.raises(DatasetNotFoundError, match="columns path_to_image"):
        list(read(tmp_path))
    table.write_text(kept)
    (tmp_path / "PNG").rename(tmp_path / "pictures")
    with pytest.raises(DatasetNotFoundError, match="train and valid"):
        list(read(tmp_path))

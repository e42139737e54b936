"""ODIR-5K: both tables, labels per eye from keywords, patients."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.odir import BROKEN, write_odir
from vlp_zoo.data.catalogue import load
from vlp_zoo.data.fundus.odir import CARD, LABEL_NAMES, eye_labels
from vlp_zoo.data.records import Record
from vlp_zoo.errors import DatasetNotFoundError, DependencyNotFoundError


def found(record: Record, value: float = 1.0) -> set[str]:
    pairs = zip(LABEL_NAMES, record.labels, strict=True)
    return {name for name, label in pairs if label == value}


@pytest.mark.parametrize("official", [False, True])
def test_labels_are_of_the_eye_not_of_the_patient(
    tmp_path: Path, official: bool
) -> None:
    write_odir(tmp_path, official=official)
    records = {record.uid: record for record in CARD.read(tmp_path)}
    assert len(records) == 12
    assert all(record.image.is_file() for record in records.values())
    assert found(records["0_left"]) == {"cataract"}
    assert found(records["0_right"]) == {"normal"}
    assert records["0_right"].facts["patient_labels"] == ("cataract",)
    assert records["0_right"].patient_id == records["0_left"].patient_id == "0"
    assert records["0_left"].facts["age"] == 69
    assert found(records["1_right"]) == {"other"}
    assert found(records["1_right"], -1.0) == {"glaucoma"}
    assert found(records["2_left"]) == {
        "diabetic retinopathy",
        "hypertensive retinopathy",
    }
    assert found(records["4_left"]) == {"pathological myopia"}
    assert found(records["4_right"]) == {"age-related macular degeneration"}
    assert found(records["7_left"]) == {"other", "diabetic retinopathy"}


def test_remarks_and_pictures_without_fundus_label_nothing(tmp_path: Path) -> None:
    write_odir(tmp_path)
    records = {record.uid: record for record in CARD.read(tmp_path)}
    for uid in ("6_left", "6_right", "7_right"):
        assert np.isnan(records[uid].labels).all()
    assert not records["6_right"].facts["fundus"]
    assert records["6_left"].facts["fundus"]
    assert eye_labels(["lens dust", "cataract"])[3] == 1
    assert eye_labels(["suspected cataract", "cataract"])[3] == 1
    assert eye_labels(["cataract", "suspected cataract"])[3] == 1


def test_keywords_are_the_text_and_suspicion_is_unknown(tmp_path: Path) -> None:
    write_odir(tmp_path)
    studies, splits = load(CARD, tmp_path)
    i = studies.uids.index("1_right")
    assert studies.report(i).body == "Lens dust, suspected glaucoma, drusen."
    assert np.isnan(studies.labels[i][2])
    assert studies.facts[i]["kaggle_label"] == "N"
    sides: dict[str, set[str]] = {}
    for patient, split in zip(studies.patient_ids, splits, strict=True):
        sides.setdefault(patient, set()).add(split)
    assert all(len(names) == 1 for names in sides.values())


@pytest.mark.parametrize("official", [False, True])
def test_the_cut_file_is_found_and_its_fellow_kept(
    tmp_path: Path, official: bool
) -> None:
    write_odir(tmp_path, official=official)
    assert rejected(CARD, tmp_path) == [(BROKEN, "truncated")]


def test_the_spreadsheet_needs_openpyxl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_odir(tmp_path, official=True)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DependencyNotFoundError, match=r"vlp-zoo\[sheets\]"):
        list(CARD.read(tmp_path))


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="annotations of ODIR-5K"):
        list(CARD.read(tmp_path))
    write_odir(tmp_path)
    table = tmp_path / "full_df.csv"
    text = table.read_text(encoding="utf-8")
    table.write_text(
        text[: text.rindex("7_left.jpg")] + "8_left.jpg\n", encoding="utf-8"
    )
    with pytest.raises(DatasetNotFoundError, match="left or right eye in line 13"):
        list(CARD.read(tmp_path))
    table.write_text("ID,Left-Fundus\n")
    with pytest.raises(DatasetNotFoundError, match="Left-Diagnostic Keywords"):
        list(CARD.read(tmp_path))

"""MESSIDOR-2: both packs, endings, examinations, what could not be graded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.messidor2 import BROKEN, write_messidor2
from vlp_zoo.data.catalogue import load
from vlp_zoo.data.fundus.messidor2 import CARD
from vlp_zoo.errors import DatasetNotFoundError


@pytest.mark.parametrize("repacked", [False, True])
def test_reads_both_packs(tmp_path: Path, repacked: bool) -> None:
    write_messidor2(tmp_path, repacked=repacked)
    records = list(CARD.read(tmp_path))
    assert len(records) == 10
    assert all(record.image.is_file() for record in records)
    assert [record.labels.index(1.0) for record in records[:7]] == [0, 1, 2, 2, 0, 0, 4]
    ungradable = records[7]
    assert np.isnan(ungradable.labels).all()
    assert not ungradable.facts["gradable"]
    assert np.isnan(ungradable.facts["grade"])


def test_an_examination_is_one_patient(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_messidor2(tmp_path)
    studies, splits = load(CARD, tmp_path)
    assert len(set(studies.patient_ids)) == 5
    assert studies.patient_ids[6] == studies.patient_ids[7] == "IM000101"
    assert splits[::2] == splits[1::2]
    assert not caplog.records
    (tmp_path / "messidor-2.csv").unlink()
    assert len({record.patient_id for record in CARD.read(tmp_path)}) == 10
    assert "counts as its own patient" in caplog.text


def test_the_cut_file_is_found(tmp_path: Path) -> None:
    write_messidor2(tmp_path)
    assert rejected(CARD, tmp_path) == [(BROKEN, "truncated")]


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="grades of MESSIDOR-2"):
        list(CARD.read(tmp_path))
    (tmp_path / "messidor_data.csv").write_text("image_id,adjudicated_dme\na,0\n")
    with pytest.raises(DatasetNotFoundError, match="adjudicated_dr_grade or diagnosis"):
        list(CARD.read(tmp_path))

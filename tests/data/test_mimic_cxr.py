"""The official layout of MIMIC-CXR-JPG and the ways people store it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.mimic_cxr import (
    EMPTY_REPORT,
    NO_REPORT,
    TRUNCATED,
    dicom_id,
    write_mimic_cxr,
)
from vlp_zoo.data.chest.mimic_cxr import LABEL_NAMES, read_mimic_cxr
from vlp_zoo.data.datamodules import MIMICCXR
from vlp_zoo.data.phantom.chest.facts import LABELS
from vlp_zoo.errors import ConfigError, DataRejectedError, DatasetNotFoundError


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("files", [True, False])
@pytest.mark.parametrize("apart", [True, False])
def test_every_way_of_storing_gives_the_same_studies(
    tmp_path: Path, zipped: bool, files: bool, apart: bool
) -> None:
    root = tmp_path / "jpg"
    reports = tmp_path / "reports" if apart else None
    write_mimic_cxr(root, reports, zipped=zipped, files=files, faults=False)
    studies, splits = read_mimic_cxr(root, reports_root=reports)
    # Examination 2 has no view at all.
    assert studies.uids == [dicom_id(i) for i in range(10) if i != 2]
    assert splits == ["train"] * 5 + ["val"] * 2 + ["test"] * 2
    study = studies[0]
    assert (study.patient_id, study.study_id) == ("10000000", "50000000")
    assert study.image.shape == (24, 32)
    assert study.report.impression == "No acute process."
    assert "study 0" in study.report.findings
    assert study.report.indication.endswith("woman with cough.")


def test_the_view_code_stands_in_for_the_position(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path)
    studies, _ = read_mimic_cxr(tmp_path)
    assert studies.views[studies.uids.index(dicom_id(1))] == "PA"
    everything, _ = read_mimic_cxr(tmp_path, views=None)
    assert len(everything) == 20
    assert everything.views[everything.uids.index(dicom_id(2))] is None
    lateral, _ = read_mimic_cxr(tmp_path, views=["LATERAL"])
    assert lateral.uids == [dicom_id(i, 1) for i in range(10)]
    assert lateral.rows == list(range(3, 23, 2))
    with pytest.raises(DatasetNotFoundError, match="LATERAL"):
        read_mimic_cxr(tmp_path, views=["AP"])


@pytest.mark.parametrize(
    ("uncertain", "value"), [("nan", np.nan), ("one", 1.0), ("zero", 0.0)]
)
def test_labels_are_found_by_name(tmp_path: Path, uncertain: str, value: float) -> None:
    write_mimic_cxr(tmp_path)
    studies, _ = read_mimic_cxr(tmp_path, uncertain=uncertain)
    assert studies.label_names == LABEL_NAMES
    assert len(LABEL_NAMES) == 14
    found = dict(zip(LABEL_NAMES, studies.labels[0].tolist(), strict=True))
    assert found["Pneumonia"] == 1
    assert found["Atelectasis"] == 0
    assert found["Cardiomegaly"] == pytest.approx(value, nan_ok=True)
    assert sum(np.isnan(list(found.values()))) == 11 + (uncertain == "nan")
    unlabelled = studies.uids.index(dicom_id(4))
    assert np.isnan(studies.labels[unlabelled]).all()


def test_without_a_label_file_all_labels_are_unknown(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path)
    (tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    studies, _ = read_mimic_cxr(tmp_path)
    assert studies.label_names == LABEL_NAMES
    assert np.isnan(studies.labels).all()


def test_bad_examinations_are_counted_and_can_be_left_out(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path / "data")
    root = str(tmp_path / "data")
    with pytest.raises(DataRejectedError, match="3 of 9 rows") as caught:
        MIMICCXR(root).prepare_data()
    for reason in ("truncated 1", "missing_report 1", "empty_report 1"):
        assert reason in caught.value.found
    data = MIMICCXR(root, on_error="skip")
    kept = {uid for source in data.sources.values() for uid in source.uids}
    bad = (2, TRUNCATED, NO_REPORT, EMPTY_REPORT)
    assert kept == {dicom_id(i) for i in range(10) if i not in bad}
    assert len(list(data.corpus())) == len(data.sources["train"]) == 3
    assert all("Heart size" in text for text in data.corpus())


def test_what_is_missing_is_said_with_the_option(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="no folder"):
        read_mimic_cxr(tmp_path / "none")
    write_mimic_cxr(tmp_path)
    with pytest.raises(ConfigError, match="'maybe'"):
        read_mimic_cxr(tmp_path, uncertain="maybe")
    with pytest.raises(DatasetNotFoundError, match="reports_root"):
        read_mimic_cxr(tmp_path, reports_root=tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "files")
    with pytest.raises(DatasetNotFoundError, match=r"files/p10/p10000000"):
        read_mimic_cxr(tmp_path)


def test_the_order_of_the_labels_is_that_of_older_results() -> None:
    assert len(LABEL_NAMES) == 14
    assert list(LABEL_NAMES) == sorted(LABEL_NAMES)
    assert LABEL_NAMES == LABELS

"""MIMIC-CXR through its card: all views, three sources of labels, folders side by side."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.mimic_cxr import (
    BROKEN,
    EMPTY_REPORT,
    NO_REPORT,
    dicom_id,
    write_mimic_cxr,
    write_other_labels,
)
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.chest.mimic_cxr import CARD, LABEL_NAMES, card, read, read_mimic_cxr
from vlp_zoo.data.precheck import find_rejected
from vlp_zoo.data.records import Record
from vlp_zoo.errors import ConfigError, DatasetNotFoundError


def labels(record: Record) -> dict[str, float]:
    return dict(zip(LABEL_NAMES, record.labels, strict=True))


def test_all_views_raw_labels_and_the_official_split(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path)
    records = list(read(tmp_path))
    assert [r.uid for r in records] == [
        dicom_id(i, image) for i in range(10) for image in range(2)
    ]
    assert [r.view for r in records[:6]] == ["PA", "LATERAL"] * 2 + [None, "LATERAL"]
    assert all(r.image.is_file() for r in records)
    assert records[3].row == 5
    assert (records[3].patient_id, records[3].study_id) == ("10000000", "50000001")
    # A lateral image has the labels of its examination.
    assert (
        labels(records[0])["Cardiomegaly"] == labels(records[1])["Cardiomegaly"] == -1
    )
    assert labels(records[0])["Pneumonia"] == 1
    assert np.isnan(records[8].labels).all()
    splits = split_of(CARD, records, "official")
    assert splits == ["train"] * 12 + ["val"] * 4 + ["test"] * 4
    assert split_of(CARD, records, "canonical") == splits


def test_it_agrees_with_the_data_module(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path, faults=False)
    old, old_splits = read_mimic_cxr(tmp_path, uncertain="one")
    new, new_splits = load(CARD, tmp_path, views=["PA", "AP"], uncertain=1)
    assert (new.uids, new_splits) == (old.uids, old_splits)
    assert np.array_equal(new.labels, old.labels, equal_nan=True)
    assert new.images == old.images
    assert list(new.reports()) == list(old.reports())


def test_negbio_and_the_radiologist(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path)
    write_other_labels(tmp_path)
    negbio = list(card("negbio").read(tmp_path))
    assert labels(negbio[0])["Atelectasis"] == 1
    assert labels(negbio[0])["Cardiomegaly"] == -1
    by_hand = list(card("radiologist").read(tmp_path))
    assert all(np.isnan(r.labels).all() for r in by_hand[:16])
    test = labels(by_hand[16])
    # "Airspace Opacity" in that file.
    assert test["Lung Opacity"] == 1
    assert test["Pleural Other"] == -1
    assert (test["Pneumonia"], test["Support Devices"]) == (0, 1)
    assert by_hand[16].split == "test"
    assert by_hand[16].facts["label_source"] == "radiologist"
    studies, _ = load(card("radiologist"), tmp_path, split="official")
    assert np.isfinite(studies.labels).any(axis=1).sum() == 4


def test_a_source_that_is_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_mimic_cxr(tmp_path)
    for source, name in (
        ("radiologist", r"2\.1\.0-test-set-labeled"),
        ("negbio", "negbio"),
    ):
        with pytest.raises(DatasetNotFoundError, match=name):
            list(read(tmp_path, label_source=source))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="chexpert, negbio, radiologist"):
        card("chexbert")  # type: ignore[arg-type]
    (tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    assert np.isnan([r.labels for r in read(tmp_path)]).all()
    assert "mimic-cxr-2.0.0-chexpert.csv" in caplog.text


@pytest.mark.parametrize(
    ("images", "texts", "root"),
    [
        ("mimic-cxr-jpg", "mimic-cxr", "."),
        ("mimic-cxr-jpg", "mimic-cxr", "mimic-cxr-jpg"),
        ("mimic-cxr-jpg/2.1.0", "mimic-cxr/2.0.0", "."),
        ("mimic-cxr-jpg/2.1.0", "mimic-cxr/2.0.0", "mimic-cxr-jpg"),
        ("mimic-cxr-jpg/2.1.0", "mimic-cxr", "mimic-cxr-jpg/2.1.0"),
        ("mimic-cxr-jpg", "mimic-cxr/mimic-cxr-reports", "."),
        (".", "mimic-cxr", "."),
        ("2.1.0", ".", "."),
    ],
)
def test_folders_side_by_side(
    tmp_path: Path, images: str, texts: str, root: str
) -> None:
    write_mimic_cxr(tmp_path / images, tmp_path / texts, studies=2)
    studies, _ = load(CARD, tmp_path / root)
    assert len(studies) == 4
    assert studies[3].image.shape == (24, 32)
    assert "study 1" in studies[3].report.findings


def test_images_without_reports_are_still_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_mimic_cxr(tmp_path / "jpg", tmp_path / "texts", studies=4, faults=False)
    studies, _ = load(CARD, tmp_path / "jpg")
    assert "no reports" in caplog.text
    assert studies[0].report.body == ""
    assert not find_rejected(studies, need_report=False, progress=False)
    with_texts = card("chexpert", reports_root=tmp_path / "texts")
    studies, _ = load(with_texts, tmp_path / "jpg")
    assert studies[0].report.impression == "No acute process."
    elsewhere = card("chexpert", reports_root=tmp_path / "jpg")
    with pytest.raises(DatasetNotFoundError, match="reports_root"):
        load(elsewhere, tmp_path / "jpg")


def test_finds_the_cut_file_and_bad_reports(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path)
    studies, _ = load(CARD, tmp_path)
    rejected = find_rejected(studies, need_report=False, progress=False)
    assert [(item.uid, item.reason) for item in rejected] == [(BROKEN, "truncated")]
    rejected = find_rejected(studies, progress=False)
    assert {(item.uid, item.reason) for item in rejected} == {
        (BROKEN, "truncated"),
        *((dicom_id(NO_REPORT, i), "missing_report") for i in range(2)),
        *((dicom_id(EMPTY_REPORT, i), "empty_report") for i in range(2)),
    }


def test_an_image_outside_the_official_split_is_in_no_split(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path, zipped=False)
    path = tmp_path / "mimic-cxr-2.0.0-split.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:1] + lines[2:]) + "\n")
    records = list(read(tmp_path))
    assert (records[0].uid, records[0].split) == (dicom_id(0), "")
    assert split_of(CARD, records, "official")[0] == ""


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="metadata"):
        list(read(tmp_path))
    write_mimic_cxr(tmp_path, zipped=False)
    path = tmp_path / "mimic-cxr-2.0.0-chexpert.csv"
    path.write_text(path.read_text().replace("Edema", "Oedema"))
    with pytest.raises(DatasetNotFoundError, match="columns Edema"):
        list(read(tmp_path))
    shutil.rmtree(tmp_path / "files")
    with pytest.raises(DatasetNotFoundError, match=r"files/p10/p10000000"):
        list(read(tmp_path))

"""PadChest: lists in cells, Spanish reports, 16 bits, who labelled what."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.padchest import BROKEN, write_padchest
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.chest.padchest import CARD, LABEL_NAMES, read
from vlp_zoo.data.precheck import find_rejected
from vlp_zoo.data.records import Record
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.types import Report


def positive(record: Record) -> set[str]:
    pairs = zip(LABEL_NAMES, record.labels, strict=True)
    return {name for name, value in pairs if value == 1}


@pytest.mark.parametrize("flat", ["", "images", "images-224"])
def test_reads_the_official_layout(tmp_path: Path, flat: str) -> None:
    write_padchest(tmp_path, flat=flat)
    records = list(read(tmp_path))
    assert len(records) == 10
    assert all(r.image.is_file() for r in records)
    third = records[2]
    assert (third.uid, third.row, third.view) == ("2001_4002.png", 4, "PA")
    # Thirty digits and more: numbers would lose the last of them.
    assert third.patient_id == f"{10:036d}"
    assert third.study_id == f"{101:039d}"
    assert third.facts["sex"] == "M"
    assert third.facts["age"] == 84
    assert np.isnan(records[5].facts["age"])
    assert third.facts["method_label"] == "RNN_model"
    assert third.facts["localizations"] == ("loc pleural", "loc left")


def test_lists_in_cells_with_stray_blanks(tmp_path: Path) -> None:
    write_padchest(tmp_path)
    records = list(read(tmp_path))
    assert positive(records[0]) == {"normal"}
    assert positive(records[2]) == {"cardiomegaly", "pleural effusion"}
    assert records[2].facts["findings"] == ("cardiomegaly", "pleural effusion")
    # A finding that has no column is not lost.
    assert positive(records[3]) == {"COPD signs"}
    assert records[3].facts["findings"] == ("COPD signs", "kerley lines")
    assert positive(records[9]) == {"scoliosis"}


def test_what_a_report_does_not_state_is_unknown(tmp_path: Path) -> None:
    write_padchest(tmp_path)
    records = list(read(tmp_path))
    # Only "unchanged", marked "exclude", and no list at all.
    unknown = [i for i, r in enumerate(records) if np.isnan(r.labels).all()]
    assert unknown == [6, 7, 8]
    assert records[7].facts["findings"] == ("exclude", "nodule")
    assert all(np.isfinite(r.labels).all() for i, r in enumerate(records) if i < 6)


def test_views(tmp_path: Path) -> None:
    write_padchest(tmp_path)
    views = [r.view for r in read(tmp_path)]
    assert views[1] == "LATERAL"
    assert views[3:6] == ["AP", "AP", "COSTAL"]
    assert views[8] is None
    studies, _ = load(CARD, tmp_path, views=["PA", "AP"])
    assert len(studies) == 7


def test_reports_are_findings_and_images_fill_eight_bits(tmp_path: Path) -> None:
    write_padchest(tmp_path, faults=False)
    studies, _ = load(CARD, tmp_path)
    study = studies[2]
    text = "cardiomegali . derram pleural ."
    assert study.report == Report(text, findings=text)
    assert study.image.dtype == np.uint8
    assert (study.image.min(), study.image.max()) == (0, 255)
    rejected = find_rejected(studies, progress=False)
    assert [(r.uid, r.reason) for r in rejected] == [("2001_4008.png", "empty_report")]


def test_finds_the_cut_file(tmp_path: Path) -> None:
    write_padchest(tmp_path)
    studies, _ = load(CARD, tmp_path)
    rejected = find_rejected(studies, need_report=False, progress=False)
    assert [(item.uid, item.reason) for item in rejected] == [(BROKEN, "truncated")]


def test_physicians_images_are_the_test_set(tmp_path: Path) -> None:
    write_padchest(tmp_path)
    records = list(read(tmp_path))
    splits = split_of(CARD, records, "physician")
    assert [splits[i] for i in (0, 1, 6)] == ["test"] * 3
    # A model's labels of a test patient are in no split.
    assert splits[2] == ""
    rest = {splits[i] for i in (3, 4, 5, 7, 8, 9)}
    assert rest == {"train", "val"}


def test_a_zipped_table_with_numbers_written_again(tmp_path: Path) -> None:
    write_padchest(tmp_path)
    expected = list(read(tmp_path))
    (path,) = tmp_path.glob("PADCHEST*.csv")
    content = path.read_text(encoding="utf-8")
    content = content.replace(",14,2014", ",14.0,2014").replace('""', "nan")
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content.encode()))
    path.unlink()
    records = list(read(tmp_path))
    assert [r.image for r in records] == [r.image for r in expected]
    assert [r.facts["findings"] for r in records] == [
        r.facts["findings"] for r in expected
    ]


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="label table of PadChest"):
        list(read(tmp_path))
    write_padchest(tmp_path)
    (path,) = tmp_path.glob("PADCHEST*.csv")
    kept = path.read_text(encoding="utf-8")
    path.write_text(kept.replace("['normal']", "['normal'"))
    with pytest.raises(DatasetNotFoundError, match="column Labels in line 2"):
        list(read(tmp_path))
    path.write_text(kept.replace("MethodLabel", "Method"))
    with pytest.raises(DatasetNotFoundError, match="columns MethodLabel"):
        list(read(tmp_path))
    path.write_text(kept)
    for image in tmp_path.glob("*/*.png"):
        image.unlink()
    with pytest.raises(DatasetNotFoundError, match="unpack the archives"):
        list(read(tmp_path))

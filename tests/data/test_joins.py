"""Two tables of a data set: joined as their ids were meant, or refused with examples."""

from __future__ import annotations

import csv
import gzip
import io
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.chexpert import write_chexpert
from tests.fakes.mimic_cxr import write_mimic_cxr
from tests.fakes.mured import write_mured
from tests.fakes.nih14 import write_nih14
from tests.fakes.openi import write_openi_kaggle
from tests.fakes.tbx11k import write_tbx11k
from tests.fakes.vindr import write_vindr
from vlp_zoo.data.catalogue import card_of, load
from vlp_zoo.data.studies import FileStudies
from vlp_zoo.data.tables import check_join, stated
from vlp_zoo.errors import DatasetNotFoundError

LABELS = "mimic-cxr-2.0.0-chexpert.csv.gz"
SPLIT = "mimic-cxr-2.0.0-split.csv.gz"


def change(path: Path, column: str, swap: Callable[[str], str]) -> None:
    """Rewrite a column of a table."""
    packed = path.suffix == ".gz"
    content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    head, *rest = csv.reader(io.StringIO(content.decode()))
    place = head.index(column)
    for row in rest:
        row[place] = swap(row[place])
    stream = io.StringIO()
    csv.writer(stream).writerows([head, *rest])
    made = stream.getvalue().encode()
    path.write_bytes(gzip.compress(made) if packed else made)


def same(one: FileStudies, other: FileStudies) -> bool:
    """Whether two readings are one, whatever their images weigh."""
    return one.fingerprint == other.fingerprint and one.images == other.images


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("mimic-cxr-2.0.0-metadata.csv.gz", "subject_id"),
        ("mimic-cxr-2.0.0-metadata.csv.gz", "study_id"),
        (LABELS, "study_id"),
        (LABELS, "subject_id"),
    ],
)
def test_ids_that_pandas_wrote_as_floats_join(
    tmp_path: Path, table: str, column: str
) -> None:
    write_mimic_cxr(tmp_path, faults=False)
    before, _ = load(card_of("mimic_cxr"), tmp_path)
    assert (before.labels == 1).any()
    change(tmp_path / table, column, lambda cell: f"{cell}.0")
    assert same(before, load(card_of("mimic_cxr"), tmp_path)[0])


def test_openi_and_mured_with_floats(tmp_path: Path) -> None:
    write_openi_kaggle(tmp_path / "openi", faults=False)
    before, _ = load(card_of("openi"), tmp_path / "openi")
    change(tmp_path / "openi/indiana_reports.csv", "uid", lambda cell: f"{cell}.0")
    assert same(before, load(card_of("openi"), tmp_path / "openi")[0])
    write_mured(tmp_path / "mured")
    before, _ = load(card_of("mured"), tmp_path / "mured")
    floats = lambda cell: f"{cell}.0" if cell.isdecimal() else cell
    change(tmp_path / "mured/train_data.csv", "ID", floats)
    assert same(before, load(card_of("mured"), tmp_path / "mured")[0])


@pytest.mark.parametrize(
    ("table", "column", "said"),
    [
        (LABELS, "study_id", "labels of studies"),
        (SPLIT, "dicom_id", "splits of images"),
    ],
)
def test_a_join_that_matches_nothing_shows_both_sides(
    tmp_path: Path, table: str, column: str, said: str
) -> None:
    write_mimic_cxr(tmp_path, faults=False)
    change(tmp_path / table, column, lambda cell: f"s{cell}")
    with pytest.raises(DatasetNotFoundError, match=said) as caught:
        load(card_of("mimic_cxr"), tmp_path)
    mine, theirs = caught.value.looked_for, caught.value.found
    assert theirs.startswith("none of ")
    assert f"s{mine.split('such as ')[1].split(',')[0]}" in theirs


def test_lists_and_annotations_of_another_release(tmp_path: Path) -> None:
    write_nih14(tmp_path / "nih")
    for name in ("train_val_list.txt", "test_list.txt"):
        (tmp_path / "nih" / name).write_text("other_000.png\n")
    with pytest.raises(DatasetNotFoundError, match="the released lists"):
        load(card_of("nih14"), tmp_path / "nih")
    write_tbx11k(tmp_path / "tbx")
    path = next((tmp_path / "tbx").rglob("TBX11K_train.json"))
    path.write_text(path.read_text().replace('"image_id": ', '"image_id": 9000'))
    with pytest.raises(DatasetNotFoundError, match="images such as 9000"):
        load(card_of("tbx11k"), tmp_path / "tbx")


def test_a_part_that_is_missing_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        check_join(["1", "2", "2", "3"], {"1": 0}, "labels", "t.csv")
        assert "t.csv: no labels for 2 of 3, such as 2" in caplog.text
        caplog.clear()
        check_join(["1", "2"], {"1": 0}, "labels", "t.csv", whole=False)
        check_join([], {}, "labels", "t.csv")
        assert not caplog.text
        write_vindr(tmp_path)
        (tmp_path / "annotations/image_labels_train.csv").unlink()
        load(card_of("vindr"), tmp_path)
        assert "no image_labels_train.csv" in caplog.text


def test_label_cells(tmp_path: Path) -> None:
    assert [stated(c, "t") for c in ("1", "0.0", "-1.0")] == [1, 0, -1]
    assert all(np.isnan(stated(c, "t")) for c in ("", " ", "nan", "NA", "None"))
    for odd in ("yes", "2", "1,0", "0.5", "inf", "l"):
        with pytest.raises(DatasetNotFoundError, match="1, 0, -1 or blank"):
            stated(odd, "t")
    write_chexpert(tmp_path)
    change(tmp_path / "train.csv", "Edema", lambda _: "1.O")
    with pytest.raises(DatasetNotFoundError, match="Edema, line 2 of") as caught:
        load(card_of("chexpert"), tmp_path)
    assert caught.value.found == "'1.O'"


def test_findings_that_are_left_blank_are_not_absent(tmp_path: Path) -> None:
    write_nih14(tmp_path)
    table = tmp_path / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace(",No Finding,", ",,", 1))
    with pytest.raises(DatasetNotFoundError, match="findings of ChestX-ray14 in line"):
        load(card_of("nih14"), tmp_path)

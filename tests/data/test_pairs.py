"""Tables of images and reports: columns, oddities of files, splits, real data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conftest import require_shared
from tests.fakes.pairs import write_pairs, write_table
from tests.fakes.sources import NoisyTransform
from vlp_zoo.data.datamodules import Pairs
from vlp_zoo.data.pairs import PairColumns, read_pairs
from vlp_zoo.data.studies import parse_boxes
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.types import Box, StudySource


def test_rows_become_studies(tmp_path: Path) -> None:
    path, rows = write_pairs(tmp_path)
    studies, splits = read_pairs(path)
    assert isinstance(studies, StudySource)
    assert splits is None
    assert studies.uids == [row["image"] for row in rows]
    assert studies.rows[:2] == [2, 3]
    study = studies[2]
    assert (study.uid, study.patient_id, study.study_id) == (
        "images/002.jpg",
        "p1",
        "s2",
    )
    assert study.image.shape == (24, 32)
    assert study.view == "PA"
    assert study.report.findings == "Finding number 2, with a comma."
    assert study.report.text == (
        'FINDINGS: Finding number 2, with a comma.\nIMPRESSION: Quoted "words".'
    )
    assert study.boxes == (Box("heart", (2, 3, 10, 12)),)
    assert [r.findings for r in studies.reports()] == [r["findings"] for r in rows]


def test_unknown_labels_stay_unknown(tmp_path: Path) -> None:
    studies, _ = read_pairs(write_pairs(tmp_path)[0])
    assert studies.label_names == ("effusion", "edema")
    assert studies.labels.dtype == np.float32
    nan = np.nan
    expected = np.array([[1, 0], [0, nan], [nan, nan]], np.float32)
    assert np.array_equal(studies.labels[:3], expected, equal_nan=True)


def test_marks_of_windows_and_quoted_line_breaks(tmp_path: Path) -> None:
    _, rows = write_pairs(tmp_path, 2)
    path = tmp_path / "windows.csv"
    path.write_bytes(
        b"\xef\xbb\xbfimage,findings\r\n"
        + rows[0]["image"].encode()
        + b',"Clear.\r\nNo ""effusion"", none."\r\n'
        + rows[1]["image"].encode()
        + b",No acute NA\r\n"
    )
    studies, _ = read_pairs(path)
    assert studies.report(0).findings == 'Clear.\r\nNo "effusion", none.'
    assert studies.report(1).findings == "No acute NA"
    assert studies.views == [None, None]
    assert studies.labels.shape == (2, 0)


def test_blank_ids_fall_back_and_floats_are_undone(tmp_path: Path) -> None:
    _, rows = write_pairs(tmp_path, 4)
    ids = [("10.0", "7"), ("", "8"), ("nan", ""), ("007", "9")]
    for row, (patient, study) in zip(rows, ids, strict=True):
        row |= {"patient_id": patient, "study_id": study}
    studies, _ = read_pairs(write_table(tmp_path / "ids.csv", rows))
    assert studies.patient_ids == ["10", "8", "images/002.jpg", "007"]


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    path, rows = write_pairs(tmp_path)
    table = pd.DataFrame(rows)
    for name in ("label_effusion", "label_edema"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    table.loc[table["boxes"] == "", "boxes"] = None
    table.to_parquet(tmp_path / "pairs.parquet")
    csv, _ = read_pairs(path)
    parquet, _ = read_pairs(tmp_path / "pairs.parquet")
    assert csv.fingerprint == parquet.fingerprint
    assert csv[0].boxes == parquet[0].boxes


def test_whole_reports_are_cut_into_sections(tmp_path: Path) -> None:
    _, rows = write_pairs(tmp_path, 1)
    text = " FINDINGS: The heart is large.\n\n IMPRESSION: Cardiomegaly."
    rows = [{"pic": rows[0]["image"], "text": text}]
    path = write_table(tmp_path / "whole.csv", rows)
    studies, _ = read_pairs(path, PairColumns(image="pic", report="text"))
    assert studies.report(0).impression == "Cardiomegaly."
    assert studies.report(0).body == "The heart is large. Cardiomegaly."


def test_images_can_lie_elsewhere(tmp_path: Path) -> None:
    write_pairs(tmp_path, 1)
    (tmp_path / "tables").mkdir()
    rows = [{"image": "000.jpg", "findings": "Clear."}]
    path = write_table(tmp_path / "tables" / "t.csv", rows)
    studies, _ = read_pairs(path, image_root=tmp_path / "images")
    assert studies[0].image.shape == (24, 32)


def test_views_are_chosen_by_any_spelling(tmp_path: Path) -> None:
    path, _ = write_pairs(tmp_path)
    frontal, _ = read_pairs(path, views=["FRONTAL"])
    lateral, _ = read_pairs(path, views=["lateral"])
    assert frontal.rows == list(range(2, 14, 2))
    assert lateral.rows == list(range(3, 15, 2))
    with pytest.raises(DatasetNotFoundError, match="Lateral"):
        read_pairs(path, views=["AP"])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"image": "path"}, "--data.image_column"),
        ({"report": "text"}, "--data.report_column"),
        ({"findings": "x", "impression": "y"}, "--data.findings_column"),
        ({"patient_id": "subject"}, "--data.patient_column"),
        ({"split": "fold"}, "--data.split_column"),
    ],
)
def test_missing_columns_name_the_option(
    tmp_path: Path, columns: dict[str, str], said: str
) -> None:
    path, _ = write_pairs(tmp_path, 2)
    with pytest.raises(DatasetNotFoundError, match=said) as caught:
        read_pairs(path, PairColumns(**columns))
    assert "columns image, patient_id, study_id" in caught.value.found


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="no such file"):
        read_pairs(tmp_path / "none.csv")
    odd = tmp_path / "odd.csv"
    odd.write_bytes("image,findings\n1.jpg,心脏正常\n".encode("gbk"))
    with pytest.raises(ConfigError, match="UTF-8"):
        read_pairs(odd)
    odd.write_text("")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_pairs(odd)


@pytest.mark.parametrize("value", ["yes", "2", "-0.5"])
def test_labels_that_mean_nothing_are_refused(tmp_path: Path, value: str) -> None:
    _, rows = write_pairs(tmp_path, 2)
    rows[1]["label_edema"] = value
    with pytest.raises(ConfigError, match="label_edema"):
        read_pairs(write_table(tmp_path / "odd.csv", rows))


def test_boxes_in_both_spellings() -> None:
    assert parse_boxes("") == ()
    assert parse_boxes("[[1, 2, 3, 4]]") == (Box("", (1, 2, 3, 4)),)
    lesion = '[{"name": "nodule", "xyxy": [1, 2, 3, 4], "kind": "lesion"}]'
    assert parse_boxes(lesion) == (Box("nodule", (1, 2, 3, 4), "lesion"),)
    for bad in ("[[1, 2, 3]]", "{", '[{"name": "x"}]', "[7]", '["abcd"]'):
        with pytest.raises((ValueError, TypeError, KeyError)):
            parse_boxes(bad)


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    path, rows = write_pairs(tmp_path)
    before, _ = read_pairs(path)
    part = before.subset([3, 4], "part")
    assert read_pairs(path)[0].fingerprint == before.fingerprint
    rows[3]["findings"] = "Changed."
    after, _ = read_pairs(write_table(path, rows))
    assert after.fingerprint != before.fingerprint
    assert after.subset([3, 4], "part").fingerprint != part.fingerprint
    assert after.subset([4], "x").fingerprint == before.subset([4], "x").fingerprint
    assert part.uids == [rows[3]["image"], rows[4]["image"]]
    assert part.labels.shape == (2, 2)


def test_the_tables_own_split_is_followed(tmp_path: Path) -> None:
    _, rows = write_pairs(tmp_path, 5)
    for row, split in zip(
        rows, ["train", "validate", "TEST", "train", "val"], strict=True
    ):
        row |= {"split": split, "patient_id": row["study_id"]}
    path = write_table(tmp_path / "split.csv", rows)
    sources = Pairs(str(path)).sources
    uids = {name: [uid[-7:-4] for uid in s.uids] for name, s in sources.items()}
    assert uids == {"train": ["000", "003"], "val": ["001", "004"], "test": ["002"]}
    rows[0]["split"] = "holdout"
    with pytest.raises(ConfigError, match="holdout"):
        Pairs(str(write_table(path, rows))).setup()


def test_without_a_split_column_patients_are_split_by_rule(tmp_path: Path) -> None:
    path, _ = write_pairs(tmp_path, 60)
    data = Pairs(str(path), val_fraction=0.3, test_fraction=0.3, seed=4)
    patients = {name: set(s.patient_ids) for name, s in data.sources.items()}
    assert len(set.union(*patients.values())) == sum(map(len, patients.values())) == 30
    assert sum(len(s) for s in data.sources.values()) == 60
    again = Pairs(str(path), val_fraction=0.3, test_fraction=0.3, seed=5)
    assert again.sources["val"].uids == data.sources["val"].uids
    other = Pairs(str(path), val_fraction=0.3, test_fraction=0.3, split_seed=1)
    assert other.sources["val"].uids != data.sources["val"].uids


def test_batches_from_files_are_the_same_with_two_workers(tmp_path: Path) -> None:
    path, _ = write_pairs(tmp_path, 12)
    batches = [load(path, workers) for workers in (0, 2)]
    for left, right in zip(*batches, strict=True):
        assert left["uid"] == right["uid"]
        assert np.array_equal(left["image"], right["image"])
        assert np.array_equal(left["noise"], right["noise"])
        assert np.array_equal(left["labels"], right["labels"], equal_nan=True)


@pytest.mark.slow  # each process imports torch anew
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_inherit_nothing_load_the_same(
    tmp_path: Path, method: str
) -> None:
    path, _ = write_pairs(tmp_path, 12)
    batches = [load(path, 0), load(path, 2, start_method=method)]
    for left, right in zip(*batches, strict=True):
        assert left["uid"] == right["uid"]
        assert np.array_equal(left["noise"], right["noise"])


def load(path: Path, workers: int, **more: Any) -> list[dict[str, Any]]:
    data = Pairs(
        str(path),
        batch_size=4,
        num_workers=workers,
        val_fraction=0,
        test_fraction=0,
        **more,
    )
    return list(data.make_loader("train", NoisyTransform(), train=True))


def test_real_chest_images_and_reports() -> None:
    path = require_shared("realdata", "cxr_text", "pairs.csv")
    studies, splits = read_pairs(path)
    assert splits is None
    assert len(studies) == 2524
    assert len(set(studies.patient_ids)) == 2367
    assert len(studies.label_names) == 23
    assert not np.isnan(studies.labels).any()
    assert studies.views.count("LATERAL") == 157
    assert all(report.body.strip() for report in studies.reports())
    assert studies[0].image.shape == (256, 256)
    assert studies.report(0).impression == "Normal chest x-XXXX."

    data = Pairs(str(path), views=["FRONTAL"], precheck=False)
    sizes = {name: len(source) for name, source in data.sources.items()}
    assert sum(sizes.values()) == 2367
    assert sizes["val"] == pytest.approx(237, abs=45)
    patients = [set(source.patient_ids) for source in data.sources.values()]
    assert len(set.union(*patients)) == sum(map(len, patients))
    assert sum(1 for _ in data.corpus()) == sizes["train"]


def test_section_columns_beside_whole_reports_are_not_read(tmp_path: Path) -> None:
    path, _ = write_pairs(tmp_path, 2)
    with pytest.raises(ConfigError, match="impression_column, which would not"):
        read_pairs(path, PairColumns(report="findings", impression="view"))


def test_a_bad_mask_cell_is_named_by_its_row(tmp_path: Path) -> None:
    _, rows = write_pairs(tmp_path, 4)
    rows[3]["masks"] = '{"lung": "a\\u0000.png"}'
    path = write_table(tmp_path / "masks.csv", rows)
    with pytest.raises(ConfigError, match="in row 5"):
        read_pairs(path, views=["LATERAL"])

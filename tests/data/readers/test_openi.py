"""Open-i: three layouts, sections, MeSH terms as labels, R2Gen's split."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import require_shared
from tests.fakes.openi import (
    BROKEN,
    write_openi,
    write_openi_kaggle,
    write_openi_r2gen,
)
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.chest.openi import CARD, LABEL_NAMES, labels_of, read
from vlp_zoo.data.precheck import find_rejected
from vlp_zoo.data.records import Record
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.types import Report


def positive(record: Record) -> set[str]:
    pairs = zip(LABEL_NAMES, record.labels, strict=True)
    return {name for name, value in pairs if value == 1}


def report(record: Record) -> Report:
    assert isinstance(record.text, Report)
    return record.text


def test_reads_the_collection_in_the_order_of_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_openi(tmp_path)
    with caplog.at_level("INFO"):
        records = list(read(tmp_path))
    assert "1 of 6 reports have no image" in caplog.text
    studies = ["CXR1", "CXR1", "CXR2", "CXR2", "CXR3", "CXR3", "CXR4", "CXR10"]
    assert [r.study_id for r in records] == studies
    assert records[1].uid == "CXR1_1_IM-0001-4001"
    assert all(r.image.is_file() for r in records)
    assert report(records[0]).impression == "Normal chest x-XXXX."
    assert report(records[0]).comparison == "None."
    assert report(records[2]).findings.endswith("<2 cm nodule & apical thickening.")
    assert report(records[4]).body == "Left base opacity."
    assert records[2].facts["mesh_automatic"] == ("thickening",)
    # Only an indication: no report, but the indication is kept.
    assert (report(records[7]).body, report(records[7]).indication) == (
        "",
        "Chest pain",
    )


def test_terms_become_labels(tmp_path: Path) -> None:
    write_openi(tmp_path)
    records = list(read(tmp_path))
    assert positive(records[0]) == {"No Finding"}
    assert positive(records[2]) == {"Cardiomegaly", "Pleural Thickening", "Nodule"}
    assert positive(records[4]) == {"Opacity", "Fracture"}
    assert np.isnan(records[6].labels).all()
    # A coded examination in which none of the labels is named.
    assert set(records[7].labels) == {0.0}
    assert np.isnan(labels_of([""])).all()


def test_labels_agree_with_those_of_a_real_pack() -> None:
    path = require_shared("realdata", "cxr_text", "pairs.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    made = np.array([labels_of(row["mesh_major"].split(";")) for row in rows])
    assert len(made) > 2000
    # Theirs counts obstructive disease as emphysema.
    shared = {f"label_{name.lower().replace(' ', '_')}": name for name in LABEL_NAMES}
    columns = [c for c in shared if c in rows[0] and c != "label_emphysema"]
    assert len(columns) == 12
    for column in columns:
        told = np.array([float(row[column]) for row in rows])
        assert np.array_equal(made[:, LABEL_NAMES.index(shared[column])], told), column
    assert (np.nansum(made, axis=0) > 0).all()


def test_kaggles_pack_knows_the_views(tmp_path: Path) -> None:
    write_openi(tmp_path / "nlm")
    write_openi_kaggle(tmp_path / "kaggle")
    nlm, kaggle = (list(read(tmp_path / name)) for name in ("nlm", "kaggle"))
    views = ["FRONTAL", "LATERAL"] * 3 + ["FRONTAL"] * 2
    assert [r.view for r in kaggle] == views
    assert kaggle[1].uid == "1_IM-0001-4001"
    assert [r.text for r in kaggle] == [r.text for r in nlm]
    assert [r.study_id for r in kaggle] == [r.study_id for r in nlm]
    assert np.array_equal(
        [r.labels for r in kaggle], [r.labels for r in nlm], equal_nan=True
    )
    assert all(r.image.is_file() for r in kaggle)
    studies, _ = load(CARD, tmp_path / "kaggle", views=["FRONTAL"])
    assert len(studies) == 5


def test_r2gens_pack_has_findings_and_a_split(tmp_path: Path) -> None:
    write_openi_r2gen(tmp_path)
    records = list(read(tmp_path))
    assert [r.uid for r in records[:2]] == ["CXR1_IM-0001/0", "CXR1_IM-0001/1"]
    assert all(r.image.is_file() for r in records)
    assert report(records[2]).findings.startswith("Borderline cardiomegaly.")
    assert np.isnan(records[0].labels).all()
    splits = split_of(CARD, records, "r2gen")
    assert splits == ["train", "train", "val", "val", "test", "test"]
    write_openi(tmp_path / "nlm")
    with pytest.raises(DatasetNotFoundError, match="another layout"):
        split_of(CARD, list(read(tmp_path / "nlm")), "r2gen")


@pytest.mark.parametrize(
    ("write", "broken", "empty"),
    [
        (write_openi, BROKEN, "CXR10_IM-0002-1001"),
        (write_openi_kaggle, "3_IM-1384-1001", "10_IM-0002-1001"),
        (write_openi_r2gen, "CXR3_IM-1384/0", None),
    ],
)
def test_finds_the_cut_file_and_the_empty_report(
    tmp_path: Path, write: Callable[..., None], broken: str, empty: str | None
) -> None:
    write(tmp_path)
    studies, _ = load(CARD, tmp_path)
    rejected = find_rejected(studies, need_report=False, progress=False)
    assert [(item.uid, item.reason) for item in rejected] == [(broken, "truncated")]
    rejected = find_rejected(studies, progress=False)
    found = {item.uid: item.reason for item in rejected}
    expected = {broken: "truncated"}
    assert found == (expected | {empty: "empty_report"} if empty else expected)
    write(tmp_path / "good", faults=False)
    studies, _ = load(CARD, tmp_path / "good")
    assert not find_rejected(studies, need_report=False, progress=False)
    assert studies[0].image.shape == (40, 48)
    assert studies[0].report.findings


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="ecgen-radiology, indiana"):
        list(read(tmp_path))
    write_openi(tmp_path / "nlm")
    (tmp_path / "nlm" / "ecgen-radiology" / "3.xml").write_text("<eCitation>")
    with pytest.raises(DatasetNotFoundError, match="no XML"):
        list(read(tmp_path / "nlm"))
    for path in (tmp_path / "nlm" / "NLMCXR_png").iterdir():
        path.unlink()
    with pytest.raises(DatasetNotFoundError, match=r"NLMCXR_png\.tgz"):
        list(read(tmp_path / "nlm"))
    write_openi_kaggle(tmp_path / "kaggle")
    table = tmp_path / "kaggle" / "indiana_reports.csv"
    table.write_text(table.read_text().replace("\n10,", "\n12,"))
    with pytest.raises(DatasetNotFoundError, match="the report 10 of line 9"):
        list(read(tmp_path / "kaggle"))
    (tmp_path / "kaggle" / "indiana_projections.csv").unlink()
    with pytest.raises(DatasetNotFoundError, match="indiana_projections"):
        list(read(tmp_path / "kaggle"))
    write_openi_r2gen(tmp_path / "r2gen")
    path = tmp_path / "r2gen" / "annotation.json"
    path.write_text(json.dumps({"train": [{"id": "CXR1", "image_path": ["0.png"]}]}))
    with pytest.raises(DatasetNotFoundError, match="KeyError: 'report'"):
        list(read(tmp_path / "r2gen"))

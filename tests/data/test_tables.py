"""Lines of official tables, and what readers ask of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from vlp_zoo.data.chest.radiographs import first_layout
from vlp_zoo.data.records import Record
from vlp_zoo.data.splits import canonical_after, validation_as_test
from vlp_zoo.data.tables import check_word, first_of, read_rows, shaped
from vlp_zoo.errors import ConfigError, DatasetNotFoundError


def test_a_line_knows_its_cells_labels_and_place(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,Oedema,x\n 007 ,1.0,3\n8,often,\n")
    first, second = read_rows(path, ["id", "Edema"], rename={"Oedema": "Edema"})
    assert (first["id"], first.get("age"), "x" in first) == ("007", "", True)
    assert first.line == 2
    assert first.numbers("x") == (3.0,)
    assert math.isnan(second.numbers("age")[0])
    edema, fracture = first.labels(["Edema", "Fracture"])
    assert edema == 1
    assert math.isnan(fracture)
    with pytest.raises(DatasetNotFoundError, match=r"Edema, line 3 of .*t\.csv"):
        second.labels(["Edema"])
    error = second.refused("a finding", second["Edema"])
    assert (error.looked_for, error.found) == (
        f"a finding in {second.where}",
        "'often'",
    )


def test_the_first_layout_and_the_first_file_win(tmp_path: Path) -> None:
    for name in ("b/1.png", "b/1.jpg", "a/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folders = [tmp_path / "a", tmp_path / "b"]
    assert first_layout(folders, (".jpg", ".png"), ["0", "1"]) == (folders[1], ".jpg")
    assert first_layout(folders, (".jpg",), ["2"]) is None
    assert first_of(tmp_path, ("c/*", "b/*.png", "a")) == tmp_path / "b/1.png"
    assert first_of(tmp_path, ("c",)) is None


def test_other_words_and_shapes_are_refused_by_name() -> None:
    check_word("nan", ("nan", "one"), "a label")
    with pytest.raises(ConfigError, match="a label among nan, one"):
        check_word("two", ("nan", "one"), "a label")
    with (
        pytest.raises(DatasetNotFoundError, match="KeyError: 'x'"),
        shaped("x", "a.json", DatasetNotFoundError),
    ):
        dict[str, int]()["x"]


def test_a_record_without_a_patient_is_its_own() -> None:
    record = Record("a", Path("a.png"))
    assert (record.patient_id, record.study_id) == ("a", "a")
    # A blank cell is no missing one: all of them are one patient, on one side.
    assert Record("a", Path("a.png"), "", "s").patient_id == ""


def test_other_images_can_count_as_released() -> None:
    splits = ["train"] * 8 + ["val", "test"]
    records = [
        Record(str(i), Path(f"{i}.png"), split=split) for i, split in enumerate(splits)
    ]
    named = validation_as_test(records)
    assert named[8:] == ["test", ""]
    assert set(named[:8]) == {"train", "val"}
    kept = canonical_after(records, lambda r: None if r.uid == "0" else "train")
    assert kept[0] == ""
    assert set(kept[1:]) == {"train", "val", "test"}

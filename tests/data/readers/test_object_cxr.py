"""Object-CXR: three shapes as boxes and masks, tables with two headings, splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fakes.object_cxr import BROKEN, write_object_cxr
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.chest.object_cxr import CARD, read
from vlp_zoo.data.precheck import find_rejected, usable
from vlp_zoo.errors import DatasetNotFoundError


def test_reads_three_tables(tmp_path: Path) -> None:
    write_object_cxr(tmp_path)
    records = list(read(tmp_path))
    assert [r.split for r in records] == ["train"] * 5 + ["val"] * 3 + ["test"] * 2
    assert all(r.image.is_file() for r in records)
    assert [r.labels for r in records] == [
        (float(has),) for has in (0, 1, 1, 1, 0, 1, 0, 1, 0, 1)
    ]
    # The test table has paths of another machine.
    assert (records[8].uid, records[8].row) == ("test/00008.jpg", 2)
    assert records[2].facts["objects"] == 2


def test_shapes_become_tight_boxes(tmp_path: Path) -> None:
    write_object_cxr(tmp_path)
    boxes = [[box.xyxy for box in r.boxes] for r in read(tmp_path)]
    assert boxes[1] == [(10, 5, 20, 15)]
    assert boxes[2] == [(4, 6, 24, 16), (30, 30, 40, 36)]
    assert boxes[3] == [(10, 10, 30, 30)]
    assert boxes[5] == [(5, 5, 25, 20)]
    # Drawn from the lower right corner.
    assert boxes[7] == [(10, 5, 20, 15)]


def test_shapes_become_one_mask(tmp_path: Path) -> None:
    write_object_cxr(tmp_path, faults=False)
    studies, _ = load(CARD, tmp_path)
    masks = [studies[i].masks for i in range(10)]
    assert masks[0] == masks[4] == {}
    rectangle = masks[1]["Foreign object"]
    assert rectangle.shape == (40, 48)
    assert rectangle.sum() == 100
    assert rectangle[5:15, 10:20].all()
    both = masks[2]["Foreign object"]
    # The corner of an ellipse's rectangle is outside it, its middle inside.
    assert both[11, 14]
    assert not both[6, 4]
    assert both[30:36, 30:40].all()
    polygon = masks[3]["Foreign object"]
    assert polygon[10:31, 10:31].all()
    assert polygon.sum() == 21 * 21
    triangle = masks[5]["Foreign object"]
    assert triangle[6, 15]
    assert not triangle[19, 6]
    assert np.array_equal(masks[7]["Foreign object"], rectangle)


def test_finds_the_cut_file_and_leaves_out_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))
    write_object_cxr(tmp_path)
    studies, _ = load(CARD, tmp_path, split="official")
    rejected = find_rejected(studies, need_report=False, progress=False)
    assert [(item.uid, item.reason) for item in rejected] == [(BROKEN, "truncated")]
    # Lines of different tables are different rows.
    kept = usable(studies, on_error="skip", need_report=False, progress=False)
    assert len(kept) == len(studies) - 1
    write_object_cxr(tmp_path / "good", faults=False)
    studies, _ = load(CARD, tmp_path / "good")
    assert not find_rejected(studies, need_report=False, progress=False)


def test_splits_with_and_without_a_test_set(tmp_path: Path) -> None:
    write_object_cxr(tmp_path / "kaggle")
    records = list(read(tmp_path / "kaggle"))
    splits = split_of(CARD, records, "official")
    assert splits == ["train"] * 5 + ["val"] * 3 + ["test"] * 2
    splits = split_of(CARD, records, "dev_as_test")
    assert splits[5:] == ["test"] * 3 + ["", ""]
    assert set(splits[:5]) == {"train", "val"}
    write_object_cxr(tmp_path / "torrent", test=False)
    records = list(read(tmp_path / "torrent"))
    assert len(records) == 8
    assert set(split_of(CARD, records, "official")) == {"train", "val"}
    assert "test" in split_of(CARD, records, "canonical")


def test_a_missing_image_is_still_listed(tmp_path: Path) -> None:
    write_object_cxr(tmp_path, faults=False)
    (tmp_path / "dev" / "00005.jpg").unlink()
    studies, _ = load(CARD, tmp_path)
    rejected = find_rejected(studies, need_report=False, progress=False)
    assert [(r.uid, r.reason) for r in rejected] == [("dev/00005.jpg", "missing")]


@pytest.mark.parametrize("cell", ["3 1 2 3 4", "0 1 2 3", "2 1 2 3 4", "0 a b c d"])
def test_messages_name_the_line_of_a_bad_annotation(tmp_path: Path, cell: str) -> None:
    write_object_cxr(tmp_path)
    table = tmp_path / "train.csv"
    table.write_text(table.read_text().replace("0 10 5 20 15", cell))
    with pytest.raises(DatasetNotFoundError, match="line 3 of"):
        list(read(tmp_path))


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"train.csv, dev.csv"):
        list(read(tmp_path))
    (tmp_path / "dev.csv").write_text("image_name,annotation\n1.jpg,\n")
    with pytest.raises(DatasetNotFoundError, match="images of Object-CXR"):
        list(read(tmp_path))
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev.csv").write_text("image,annotation\n1.jpg,\n")
    with pytest.raises(DatasetNotFoundError, match="image_name or image_path"):
        list(read(tmp_path))

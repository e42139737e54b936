"""TBX11K: the release, the simplified pack, kinds of boxes, splits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.tbx11k import BROKEN, IMAGES, write_tbx11k, write_tbx11k_simplified
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.chest.tbx11k import CARD, read
from vlp_zoo.data.precheck import find_rejected
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.types import Box

LABELS = {"health": (1, 0, 0), "sick": (0, 1, 0), "tb": (0, 0, 1)}


def test_reads_the_release_by_folder(tmp_path: Path) -> None:
    write_tbx11k(tmp_path)
    records = list(read(tmp_path))
    assert [r.uid for r in records] == [file for _, file, _ in IMAGES]
    assert [r.split for r in records] == [split for split, _, _ in IMAGES]
    assert all(r.image.is_file() for r in records)
    assert [r.labels for r in records] == [
        LABELS[file.split("/")[0]] for _, file, _ in IMAGES
    ]
    # The image without a box is still one of tuberculosis.
    assert records[8].boxes == ()
    assert records[8].facts["tb_type"] == ""


def test_boxes_say_which_kind(tmp_path: Path) -> None:
    write_tbx11k(tmp_path)
    records = list(read(tmp_path))
    expected = Box("ActiveTuberculosis", (10.5, 12, 30.5, 20.5), "lesion")
    assert records[2].boxes == (expected,)
    assert [box.name for box in records[3].boxes] == [
        "ActiveTuberculosis",
        "ObsoletePulmonaryTuberculosis",
    ]
    assert records[3].boxes[1].xyxy == (20.0, 20.0, 32.0, 36.0)
    assert [r.facts["tb_type"] for r in records[2:4]] == ["active", "active, latent"]


def test_the_simplified_pack_says_the_same(tmp_path: Path) -> None:
    write_tbx11k(tmp_path / "release")
    write_tbx11k_simplified(tmp_path / "pack")
    release, pack = (list(read(tmp_path / name)) for name in ("release", "pack"))
    assert [r.uid for r in pack] == [r.uid.split("/")[1] for r in release]
    for name in ("labels", "boxes", "split", "facts"):
        assert [getattr(r, name) for r in pack] == [getattr(r, name) for r in release]
    assert all(r.image.is_file() for r in pack)
    # Two boxes are two lines, but one image.
    assert [r.row for r in pack] == [2, 3, 4, 5, 7, 8, 9, 10, 11]


def test_a_pack_without_image_type_falls_back_to_the_names(tmp_path: Path) -> None:
    write_tbx11k_simplified(tmp_path)
    expected = [r.labels for r in read(tmp_path)]
    table = tmp_path / "data.csv"
    lines = [line.rsplit(",", 1)[0] for line in table.read_text().splitlines()]
    table.write_text("\n".join(lines) + "\n")
    assert [r.labels for r in read(tmp_path)] == expected


def test_a_row_of_both_kinds_names_none(tmp_path: Path) -> None:
    write_tbx11k_simplified(tmp_path)
    table = tmp_path / "data.csv"
    table.write_text(
        table.read_text().replace(",tb,active_tb,", ",tb,active&latent_tb,")
    )
    third = list(read(tmp_path))[2]
    assert [box.name for box in third.boxes] == ["Tuberculosis"]
    assert third.facts["tb_type"] == "active, latent"


def test_unlabelled_images_only_on_request(tmp_path: Path) -> None:
    write_tbx11k(tmp_path)
    records = list(read(tmp_path, unlabelled=True))
    assert [r.uid for r in records[9:]] == ["test/00001.png", "test/00002.png"]
    assert all(np.isnan(r.labels).all() for r in records[9:])
    splits = split_of(CARD, records, "val_as_test")
    assert splits[9:] == ["", ""]


def test_splits(tmp_path: Path) -> None:
    write_tbx11k(tmp_path)
    records = list(read(tmp_path))
    assert split_of(CARD, records, "official") == ["train"] * 5 + ["val"] * 4
    splits = split_of(CARD, records, "val_as_test")
    assert splits[5:] == ["test"] * 4
    assert set(splits[:5]) == {"train", "val"}


@pytest.mark.parametrize("write", [write_tbx11k, write_tbx11k_simplified])
def test_finds_the_cut_file(tmp_path: Path, write: Callable[..., None]) -> None:
    write(tmp_path / "bad")
    studies, _ = load(CARD, tmp_path / "bad")
    assert studies[2].image.shape == (48, 48)
    assert len(studies[3].boxes) == 2
    rejected = find_rejected(studies, need_report=False, progress=False)
    assert [item.uid.split("/")[-1] for item in rejected] == [BROKEN.split("/")[-1]]
    assert rejected[0].reason == "truncated"
    write(tmp_path / "good", faults=False)
    studies, _ = load(CARD, tmp_path / "good")
    assert not find_rejected(studies, need_report=False, progress=False)


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"data\.csv of the simplified"):
        list(read(tmp_path))
    write_tbx11k(tmp_path)
    path = tmp_path / "annotations" / "json" / "TBX11K_val.json"
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = "TB"
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetNotFoundError, match="the categories Active"):
        list(read(tmp_path))
    content["categories"][0]["name"] = "ActiveTuberculosis"
    content["images"][0]["file_name"] = "extra/da/p1.png"
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetNotFoundError, match="health, sick or tb"):
        list(read(tmp_path))
    path.write_text(json.dumps({"images": []}))
    with pytest.raises(DatasetNotFoundError, match="images, annotations, categ"):
        list(read(tmp_path))
    path.write_text("{")
    with pytest.raises(ConfigError, match="JSON in"):
        list(read(tmp_path))
    path.unlink()
    with pytest.raises(DatasetNotFoundError, match=r"TBX11K_val\.json"):
        list(read(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("'xmin': 10.5", "'x': 10.5", "a box with xmin.* line 4"),
        ("no_tb,none,sick_but_no_tb", "no_tb,none,other", "line 3"),
        ("fname", "file", "the columns fname"),
    ],
)
def test_messages_name_the_line_of_the_pack(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    write_tbx11k_simplified(tmp_path)
    table = tmp_path / "data.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DatasetNotFoundError, match=message):
        list(read(tmp_path))

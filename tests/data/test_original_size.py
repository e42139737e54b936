"""Boxes of the published image on copies that were made smaller."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fakes.mimic_cxr import dicom_id, write_mimic_cxr
from tests.fakes.nih14 import write_nih14
from tests.fakes.vindr import write_vindr_kaggle
from vlp_zoo.data.catalogue import card_of, to_studies
from vlp_zoo.data.chest.mimic_cxr import CARD
from vlp_zoo.data.records import Record
from vlp_zoo.data.store.prepare import prepare
from vlp_zoo.data.store.raw_sets import scan_card
from vlp_zoo.data.store.reading import PreparedStudies
from vlp_zoo.data.store.slices import Settings
from vlp_zoo.errors import DataRejectedError
from vlp_zoo.reports.regions import RegionBoxes, read_scene_graph
from vlp_zoo.types import Report, Study

EDGES = ("x1", "y1", "x2", "y2")


def graph(folder: Path, uid: str, *boxes: tuple[str, tuple[float, ...]]) -> None:
    objects = [
        {"bbox_name": name}
        | dict(zip(EDGES, (1, 1, 200, 200), strict=True))
        | {f"original_{edge}": v for edge, v in zip(EDGES, box, strict=True)}
        for name, box in boxes
    ]
    folder.mkdir(exist_ok=True)
    path = folder / f"{uid}_SceneGraph.json"
    path.write_text(json.dumps({"image_id": uid, "objects": objects}))


def a_study(size: tuple[int, int], original: tuple[int, int] | None) -> Study:
    return Study(
        *("u1", "p", "s"),
        np.zeros(size, np.uint8),
        Report(""),
        "PA",
        original_size=original,
    )


def test_boxes_of_scene_graphs_follow_an_image_that_was_shrunk(tmp_path: Path) -> None:
    graph(tmp_path, "u1", ("left lung", (20, 40, 100.4, 200.5)))
    boxes = RegionBoxes.open("study", "phantom", str(tmp_path))
    small = boxes.find(a_study((50, 25), (200, 100)), ["left lung"])
    # What rounds over the edge ends there.
    assert small["left lung"].xyxy == (5.0, 10.0, 25.0, 50.0)
    whole = boxes.find(a_study((200, 100), None), ["left lung"])
    assert whole["left lung"].xyxy == (20.0, 40.0, 100.0, 200.0)


def test_boxes_that_leave_the_image_are_refused(tmp_path: Path) -> None:
    graph(tmp_path, "u1", ("left lung", (20, 40, 101, 190)))
    boxes = RegionBoxes.open("study", "phantom", str(tmp_path))
    with pytest.raises(DataRejectedError, match="outside_box: left lung"):
        boxes.find(a_study((200, 100), None), ["left lung"])
    with pytest.raises(DataRejectedError, match="prepare the data set again"):
        boxes.find(a_study((200, 100), (0, 0)), ["left lung"])
    path = tmp_path / "u1_SceneGraph.json"
    only = {"bbox_name": "left lung", "x1": 1, "y1": 1, "x2": 9, "y2": 9}
    path.write_text(json.dumps({"objects": [only]}))
    with pytest.raises(DataRejectedError, match="original_x1"):
        read_scene_graph(path)


def test_graphs_of_another_release_are_refused_before_training(tmp_path: Path) -> None:
    graph(tmp_path, "u1", ("left lung", (20, 40, 101, 190)))
    boxes = RegionBoxes.open("study", "phantom", str(tmp_path))

    class Source:
        name, uids, views = "one", ["u1"], ["PA"]

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Study:
            return a_study((200, 100), None)

    with pytest.raises(DataRejectedError, match="outside_box: left lung"):
        boxes.shares(Source())  # type: ignore[arg-type]
    graph(tmp_path / "right", "u1", ("left lung", (20, 40, 100, 190)))
    right = RegionBoxes.open("study", "phantom", str(tmp_path / "right"))
    assert right.shares(Source())["scene_graphs"] == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("mirror", [False, True])
def test_a_store_of_mimic_keeps_the_published_size(
    tmp_path: Path, mirror: bool
) -> None:
    """Rows and Columns of the table, also where the JPEG was made smaller before."""
    root = tmp_path / "raw"
    write_mimic_cxr(root, faults=False)
    if mirror:
        for path in root.rglob("*.jpg"):
            Image.open(path).resize((16, 12)).save(path)
    settings = Settings(size=6, format="png")
    prepare("mimic", partial(scan_card, CARD, root), tmp_path / "store", settings)
    studies = PreparedStudies(tmp_path / "store")
    uid = dicom_id(0)
    index = studies.uids.index(uid)
    study = studies[index]
    assert study.image.shape == (6, 8)
    assert study.original_size == studies.original_size(index) == (24, 32)
    graph(tmp_path / "graphs", uid, ("left lung", (16, 4, 32, 20)))
    boxes = RegionBoxes.open("study", "phantom", str(tmp_path / "graphs"))
    assert boxes.find(study, ["left lung"])["left lung"].xyxy == (4, 1, 8, 5)
    # The raw files say the same, through subsets too.
    raw = to_studies(CARD, list(CARD.read(root)))
    raw = raw.subset([raw.uids.index(uid)], "one")
    factor = 2 if mirror else 1
    expected = tuple(v / factor for v in (16, 4, 32, 20))
    assert boxes.find(raw[0], ["left lung"])["left lung"].xyxy == expected


def test_a_store_without_the_size_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "raw" / "a.png"
    path.parent.mkdir()
    Image.fromarray(np.full((30, 40), 9, np.uint8)).save(path)
    record = Record("a", path, "p", "s", text=Report("x", findings="No edema."))

    def read(root: Path) -> Any:
        yield record

    card = replace(CARD, read=read, label_names=(), markers=("a.png",), splits={})
    prepare("a", partial(scan_card, card, path.parent), tmp_path / "store", Settings())
    studies = PreparedStudies(tmp_path / "store")
    assert studies[0].original_size == (30, 40)
    monkeypatch.setattr(studies, "_has_original_size", False)
    assert studies[0].original_size == (0, 0)


def test_boxes_of_chestxray14_follow_copies_that_were_made_smaller(
    tmp_path: Path,
) -> None:
    write_nih14(tmp_path, faults=False)
    (image,) = tmp_path.rglob("00000003_001.png")
    Image.fromarray(np.zeros((512, 512), np.uint8)).save(image)
    by_uid = {record.uid: record for record in card_of("nih14").read(tmp_path)}
    (box,) = by_uid["00000003_001.png"].boxes
    assert box.xyxy == (5.25, 2.125, 15.25, 10.125)


def test_boxes_of_vindr_follow_copies_whose_pack_says_the_size(tmp_path: Path) -> None:
    write_vindr_kaggle(tmp_path, faults=False)
    before = {record.uid: record for record in card_of("vindr").read(tmp_path)}
    uid = next(uid for uid, record in before.items() if record.boxes)
    file = before[uid].image
    file.unlink()
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(file.with_suffix(".png"))
    table = tmp_path / "train_meta.csv"
    table.write_text(f"image_id,dim0,dim1\n{uid},40,60\n")
    after = {record.uid: record for record in card_of("vindr").read(tmp_path)}
    for old, new in zip(before[uid].boxes, after[uid].boxes, strict=True):
        assert new.xyxy == tuple(value / 2 for value in old.xyxy)

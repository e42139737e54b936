from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import require_shared
from vlp_zoo.errors import DataRejectedError
from vlp_zoo.reports.regions import RegionAtlas, RegionBoxes, read_scene_graph
from vlp_zoo.reports.triplets import (
    Triplet,
    align,
    sentence_regions,
    statements,
    tag_vector,
    triplets,
)
from vlp_zoo.reports.words.alignment import ALWAYS_AT, TAG_SITES, lung_of, regions_at
from vlp_zoo.reports.words.anatomy import PAIRED_SITES, REGIONS, SINGLE_SITES
from vlp_zoo.reports.words.tags import TAG_FINDINGS, TAGS
from vlp_zoo.types import Box, Report, Study


def said(text: str) -> set[tuple[str, str, str]]:
    return {(t.region, t.tag, t.existence) for t in triplets(text)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Small left pleural effusion.",
            {("left costophrenic angle", "pleural effusion", "present")},
        ),
        (
            "No pleural effusion.",
            {
                (f"{side} costophrenic angle", "pleural effusion", "absent")
                for side in ("left", "right")
            },
        ),
        (
            "Possible right lower lobe pneumonia.",
            {("right lower lung zone", "pneumonia", "uncertain")},
        ),
        (
            "Heart size is normal.",
            {("cardiac silhouette", "cardiomegaly", "absent")},
        ),
        (
            "The cardiomediastinal silhouette is within normal limits.",
            {
                ("cardiac silhouette", "cardiomegaly", "absent"),
                ("mediastinum", "enlarged cardiomediastinum", "absent"),
                ("upper mediastinum", "enlarged cardiomediastinum", "absent"),
            },
        ),
        (
            "A consolidative opacity in the left upper lobe.",
            {
                ("left upper lung zone", "consolidation", "present"),
                ("left upper lung zone", "opacity", "present"),
            },
        ),
        (
            "The endotracheal tube ends 3 cm above the carina.",
            {("trachea", "tube", "present")},
        ),
        (
            "A right jugular line terminates in the right atrium.",
            {("right atrium", "line", "present")},
        ),
        # One side of the body is enough for a device; none is not both.
        (
            "Pacemaker in place.",
            {("cardiac silhouette", "pacemaker", "present")},
        ),
        (
            "Left-sided dual-lead pacemaker is in place.",
            {
                ("cardiac silhouette", "pacemaker", "present"),
                ("left upper lung zone", "pacemaker", "present"),
            },
        ),
        ("Leads to confusion.", set()),
        ("", set()),
    ],
)
def test_triplets_of_sentences(text: str, expected: set[tuple[str, str, str]]) -> None:
    assert said(text) == expected


def test_triplets_know_their_sentence_and_repeat_nothing() -> None:
    found = triplets("Left effusion and left effusion. Right effusion.")
    assert found == [
        Triplet("left costophrenic angle", "pleural effusion", "present", 0),
        Triplet("right costophrenic angle", "pleural effusion", "present", 1),
    ]


def test_presence_outranks_doubt_outranks_denial() -> None:
    assert tag_vector("No edema. Possible edema.")["edema"] == -1
    assert tag_vector("Possible edema. Mild edema. No edema.")["edema"] == 1
    assert tag_vector("No edema.")["edema"] == 0
    assert tag_vector("No edema.")["mass"] is None
    assert list(tag_vector("")) == list(TAGS)
    assert tag_vector(["No edema.", "Edema."])["edema"] == 1


def test_sentences_find_their_regions() -> None:
    sentences = (
        "The hilar contours are normal.",
        "Lungs are clear.",
        "No acute process.",
        "The trachea is midline.",
        "Small left effusion.",
        "The left costophrenic angle is blunted.",
    )
    found = align(sentences)
    assert found["left costophrenic angle"] == (4, 5)
    assert found["trachea"] == (3,)
    assert found["right hilar structures"] == (0,)
    assert found["right lung"] == (1,)
    assert not sentence_regions(sentences[2])
    assert set(found) <= set(REGIONS)


def test_every_tag_is_read_from_its_own_name_or_words() -> None:
    words = {"pleural thicken": "pleural thickening", "hyperinflate": "hyperinflation"}
    words |= {"aerate": "aeration", "blunt": "blunting"}
    for tag in TAGS:
        text = f"There is {words.get(tag, tag)}."
        assert tag in {s.tag for s in statements(text)}, tag
    assert len(TAGS) == 40


def test_tags_stand_in_the_order_of_the_recorded_labels() -> None:
    meta = require_shared("golden", "asg", "public_a", "meta.json")
    assert list(TAGS) == json.loads(meta.read_text())["tags"]


def test_tables_name_only_what_exists() -> None:
    sites = set(PAIRED_SITES) | set(SINGLE_SITES)
    for row in (*ALWAYS_AT.values(), *TAG_SITES.values()):
        assert set(row) <= sites
    assert set(TAG_SITES) <= set(TAGS)
    assert set(TAG_FINDINGS.values()) <= set(TAGS)
    assert set(regions_at("", tuple(sites))) == set(REGIONS)
    assert {lung_of(r) for r in REGIONS} == {None, "left lung", "right lung"}
    assert lung_of("left lung") is None


# Boxes ---------------------------------------------------------------------------


def study(view: str | None = "PA", boxes: tuple[Box, ...] = ()) -> Study:
    return Study(
        "u1", "p", "s", np.zeros((200, 100), np.uint8), Report(""), view, boxes=boxes
    )


def test_the_studys_own_boxes_come_before_the_atlas() -> None:
    own = (Box("left lung", (1, 2, 3, 4)), Box("trachea", (0, 0, 9, 9), "lesion"))
    names = ("left lung", "trachea", "spine")
    found = RegionBoxes.open("auto", "phantom", None).find(study(boxes=own), names)
    assert found["left lung"].xyxy == (1.0, 2.0, 3.0, 4.0)
    # A lesion is no region, whatever its name.
    assert found["trachea"].xyxy[0] == pytest.approx(47.8, abs=0.1)
    assert list(found) == list(names)
    only = RegionBoxes.open("study", "phantom", None).find(study(boxes=own), names)
    assert list(only) == ["left lung"]
    assert not RegionBoxes.open("auto", "phantom", None).find(study("LATERAL"), names)


def test_scene_graphs_come_first(tmp_path: Path) -> None:
    objects = [
        {"bbox_name": "left lung", "x1": 1, "y1": 1, "x2": 2, "y2": 2}
        | {
            f"original_{k}": v
            for k, v in zip(("x1", "y1", "x2", "y2"), (5, 6, 70, 80), strict=True)
        },
        {"bbox_name": "spine", "x1": 4, "y1": 4, "x2": 4, "y2": 9},
        {"bbox_name": "left breast", "x1": 0, "y1": 0, "x2": 9, "y2": 9},
    ]
    path = tmp_path / "u1_SceneGraph.json"
    path.write_text(json.dumps({"image_id": "u1", "objects": objects}))
    assert read_scene_graph(path) == [Box("left lung", (5.0, 6.0, 70.0, 80.0))]
    boxes = RegionBoxes.open("study", "phantom", str(tmp_path))
    own = (Box("left lung", (1, 2, 3, 4)),)
    assert boxes.find(study(boxes=own), ["left lung"])["left lung"].xyxy[0] == 5.0
    path.write_text('{"objects": [{"bbox_name": "spine"}]}')
    with pytest.raises(DataRejectedError, match="scene graph"):
        read_scene_graph(path)


def test_an_atlas_is_the_median_in_shares_of_the_image(tmp_path: Path) -> None:
    examples = [
        ([Box("left lung", (x * w, 0.0, 0.9 * w, 50.0))], w, 100)
        for x, w in ((0.5, 100), (0.6, 200), (0.7, 300), (0.6, 100), (0.55, 400))
    ]
    few = [([Box("spine", (0, 0, 1, 1))], 10, 10)]
    atlas = RegionAtlas.fit([*examples, *few], "five")
    assert dict(atlas.boxes) == {"left lung": (0.6, 0.0, 0.9, 0.5)}
    atlas.save(tmp_path / "a.json")
    again = RegionAtlas.load(tmp_path / "a.json")
    assert again == atlas
    placed = again.place("left lung", 50, 40)
    assert placed is not None
    assert placed.xyxy == (30.0, 0.0, 45.0, 20.0)
    with pytest.raises(DataRejectedError, match="29 regions"):
        RegionAtlas.fit(few)


def test_the_packaged_atlas_overlaps_held_out_chests() -> None:
    from vlp_zoo.data.phantom.chest.source import PhantomChestSource

    source = PhantomChestSource("test", 12, seed=5, image_size=64)
    atlas, overlaps = RegionAtlas.phantom(), []
    assert set(atlas.boxes) == set(REGIONS)
    for i in range(len(source)):
        for box in source[i].boxes:
            guess = atlas.place(box.name, 64, 64) if box.kind == "region" else None
            if guess is None or box.name not in ("left lung", "cardiac silhouette"):
                continue
            (a, b, c, d), (e, f, g, h) = box.xyxy, guess.xyxy
            both = max(min(c, g) - max(a, e), 0) * max(min(d, h) - max(b, f), 0)
            whole = (c - a) * (d - b) + (g - e) * (h - f) - both
            overlaps.append(both / whole)
    assert np.mean(overlaps) > 0.6

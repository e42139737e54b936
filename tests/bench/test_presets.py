"""Presets and suites: every packaged file can be read, mistakes are one message."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from tests.evaluation.stubs import block_task
from vlp_zoo.bench.presets import (
    preset_names,
    read_preset,
    read_suite,
    suite_names,
)
from vlp_zoo.bench.tasks import DRAWN
from vlp_zoo.data.catalogue import card_of
from vlp_zoo.errors import ConfigError, UnknownNameError
from vlp_zoo.evaluation.protocol import Candidate
from vlp_zoo.evaluation.subject import Subject
from vlp_zoo.files import configs_folder

KEYS = Path(__file__).parents[1] / "golden" / "before" / "preset_keys.json"
REFUSED = [name for name in preset_names() if name.startswith("place")]


@pytest.mark.parametrize("name", preset_names())
def test_a_packaged_preset_is_ready_or_says_why_not(name: str) -> None:
    if name in REFUSED:
        with pytest.raises(ConfigError, match="public"):
            read_preset(name)
        return
    preset = read_preset(name)
    assert preset.protocol.name == name
    assert preset.summary
    # A preset that stands for others' work says whose, and how it is known.
    if not name.startswith("vlp-"):
        assert preset.reference
        assert preset.verified != "ours"
    text = (configs_folder() / "presets" / f"{name}.yaml").read_text()
    if "\nfixed:" in text:
        fixed = read_preset(f"{name}@fixed")
        assert fixed.protocol.name == f"{name}@fixed"
        assert fixed.protocol != preset.protocol


@pytest.mark.parametrize("name", suite_names())
def test_a_packaged_suite_names_what_there_is(name: str) -> None:
    suite = read_suite(name)
    assert suite.summary
    for task in suite.tasks:
        given = {"labels", "reports", "boxes", "masks"}
        if task.data not in DRAWN:
            card = card_of(task.data)
            given = {*card.gives}
            assert task.options.get("split", "canonical") in {"canonical", *card.splits}
        for preset in task.presets:
            assert read_preset(preset).protocol.needs <= given, (task, preset)


def test_known_issues_travel_with_the_protocol(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "summary: s\nprotocol: linear\nverified: code\nreference: {paper: p}\n"
        "known_issues: [it leaks]\nsettings: {c_grid: [1.0]}\n"
        "fixed: {c_grid: [1.0, 2.0], known_issues: []}\n"
    )
    preset = read_preset(str(path))
    assert preset.known_issues == preset.protocol.known_issues == ("it leaks",)
    with pytest.raises(UnknownNameError):
        read_preset("mine@fixed")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("protocol: lineal\n", "protocol: one of linear"),
        ("protocol: linear\nsettings: {c: 1}\n", "settings among"),
        ("protocol: linear\nverified: maybe\n", "verified: one of"),
        ("- a\n", "names and values"),
        ("a: [\n", "YAML"),
    ],
)
def test_a_malformed_preset_is_one_message(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_preset(str(path))


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="vlp-linear"):
        read_preset("vlp-liner")
    with pytest.raises(ConfigError, match="no variants"):
        read_preset("vlp-linear@fixed")
    with pytest.raises(UnknownNameError, match="phantom-chest"):
        read_suite("phantom")


def preset_keys() -> dict[str, str]:
    """Keys under which each packaged preset, run as it is, finds its stored results."""
    task, found = block_task(8), {}
    who = Candidate(
        Subject("x", "f" * 64, preprocessing={"image_size": 8}), nn.Identity()
    )
    for name in preset_names():
        for variant in (name, f"{name}@fixed"):
            try:
                protocol = read_preset(variant).protocol
            except ConfigError:
                continue
            found[variant] = replace(protocol, fraction=0.1).key(who, task, 3)
    return found


def test_results_that_were_stored_are_found_by_the_presets_of_today() -> None:
    """A key that changes measures everything again: see the README beside the file."""
    assert preset_keys() == json.loads(KEYS.read_text(encoding="utf-8"))


def test_a_setting_that_was_renamed_is_read_and_stored_as_before(
    tmp_path: Path,
) -> None:
    made = []
    for words in (
        "{score_threshold: 0.2, nms_iou: 0.4, max_detections: 7}",
        "{confidence: 0.2, overlap: 0.4, most: 7}",
    ):
        path = tmp_path / "mine.yaml"
        path.write_text(f"summary: s\nprotocol: detection\nsettings: {words}\n")
        made.append(read_preset(str(path)).protocol)
    assert made[0] == made[1]
    stored = made[0].settings(Subject("x", "f" * 64), block_task(8))
    assert (stored["confidence"], stored["overlap"], stored["most"]) == (0.2, 0.4, 7)
    assert not {"score_threshold", "nms_iou", "max_detections"} & stored.keys()

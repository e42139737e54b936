"""The names and terms under which a training's data go into the card of its encoder."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from vlp_zoo.data import datamodules, official
from vlp_zoo.data.catalogue import card_of
from vlp_zoo.overlaps import contamination

READER = """
from vlp_zoo.data.records import Card

CARD = Card(
    name="my_set", title="My set", domain="chest", read=lambda root: [],
    label_names=(), gives=("labels",), patients="true", markers=(), access="mine",
    licence="mine", citation="none",
)
"""


def test_each_kind_of_data_has_its_name_and_terms(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert datamodules.PhantomChest().pretraining_sources == ["phantom_chest"]
    mimic = datamodules.MIMICCXR(root=str(tmp_path))
    assert mimic.pretraining_sources == ["mimic_cxr"]
    assert official.nih14(root=str(tmp_path)).pretraining_sources == ["nih14"]
    pairs = datamodules.Pairs(path=str(tmp_path / "mine.csv"))
    assert pairs.pretraining_sources == ["pairs:mine.csv"]
    reader = tmp_path / "reader.py"
    reader.write_text(READER)
    own = official.Own(reader=str(reader), root=str(tmp_path))
    assert own.pretraining_sources == ["my_set"]
    assert own.licence == "mine"
    assert official.nih14(root=str(tmp_path)).licence == card_of("nih14").licence
    assert pairs.licence == "unknown"
    for drawn in (datamodules.PhantomChest(), datamodules.PhantomFundus()):
        assert "Apache-2.0" in drawn.licence
        assert "no patient" in drawn.licence
    monkeypatch.setattr(
        "vlp_zoo.data.store.datamodule.describe", lambda root: {"licence": "CC0"}
    )
    assert datamodules.Prepared(root=str(tmp_path)).licence == "CC0"


def test_a_store_has_the_name_of_what_it_was_made_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Studies:
        description: ClassVar = {"name": "rsna"}

    data = datamodules.Prepared(root=str(tmp_path))
    monkeypatch.setitem(data.__dict__, "sources", {"train": Studies()})
    assert data.pretraining_sources == ["rsna"]
    (found,) = contamination(data.pretraining_sources, "nih14")
    assert found.certain

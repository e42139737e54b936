"""What holds for every data set of the catalogue, on the layout its fake writes."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from vlp_zoo.cli import main
from vlp_zoo.data import DATAMODULES, DATASETS, official
from vlp_zoo.data.catalogue import card_of, load, split_of
from vlp_zoo.data.precheck import find_rejected

QUICK = ("flair", "mimic_cxr", "nih14")
"""Data sets whose training is tried in the fast suite too: words, reports, labels."""


def write(name: str, root: Path, faults: bool = True) -> None:
    fake = importlib.import_module(f"tests.fakes.{name}")
    getattr(fake, f"write_{name}")(root, faults=faults)


@pytest.mark.parametrize("name", DATASETS)
def test_records_keep_the_contract(name: str, tmp_path: Path) -> None:
    write(name, tmp_path)
    card = card_of(name)
    assert card.name == name
    assert any(next(tmp_path.glob(marker), None) for marker in card.markers)
    records = list(card.read(tmp_path))
    assert len(records) >= 6
    uids = [record.uid for record in records]
    assert len(set(uids)) == len(uids)
    for record in records:
        assert record.patient_id
        assert record.study_id
        assert len(record.labels) == len(card.label_names)
        assert record.split in ("", "train", "val", "test")
        known = [v for v in record.labels if not np.isnan(v)]
        assert all(value in (-1, 0, 1) for value in known)
    # A reader says the same every time, in the same order.
    assert uids == [record.uid for record in card.read(tmp_path)]
    splits = split_of(card, records, "canonical")
    sides: dict[str, set[str]] = {}
    for record, split in zip(records, splits, strict=True):
        sides.setdefault(record.patient_id, set()).add(split)
    assert all(len(names) == 1 for names in sides.values())


@pytest.mark.parametrize("name", DATASETS)
def test_only_the_broken_sample_is_rejected(name: str, tmp_path: Path) -> None:
    card = card_of(name)
    write(name, tmp_path / "good", faults=False)
    studies, _ = load(card, tmp_path / "good")
    assert find_rejected(studies, need_report=False, progress=False) == []
    study = studies[0]
    assert study.image.ndim == (3 if card.colour else 2)
    for mask in study.masks.values():
        assert mask.shape == study.image.shape[:2]
    write(name, tmp_path / "bad")
    studies, _ = load(card, tmp_path / "bad")
    assert find_rejected(studies, need_report=False, progress=False)


@pytest.mark.parametrize("name", DATASETS)
def test_the_docstring_tells_what_one_must_know(name: str) -> None:
    text = importlib.import_module(DATASETS[name]).__doc__ or ""
    assert "::" in text, "the layout as a block"
    assert "ite " in text, "whom to cite"
    assert card_of(name).access
    assert card_of(name).licence
    assert DATAMODULES[name]


def test_a_wrong_root_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in DATASETS:
        task = f"{name}:{tmp_path}"
        assert main(["bench", "--encoder", "random:micro", "--task", task]) == 1
        error = capsys.readouterr().err
        assert "looked for: " in error, name
        assert "Traceback" not in error


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in DATASETS
    ],
)
def test_a_method_trains_on_it_through_the_command_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))
    write(name, tmp_path / "raw")
    options = {
        "config": "demo/mae",
        "data": name,
        "data.root": "raw",
        "data.batch_size": 1,
        "data.num_workers": 0,
        "data.on_error": "skip",
        "trainer.max_steps": 1,
        "trainer.limit_val_batches": 0,
        "evaluate": "[]",
    }
    words = [f"--{key}={value}" for key, value in options.items()]
    if name == "chexlocalize":
        # It has validation and test images only.
        assert main(["fit", *words]) == 1
        return
    assert main(["fit", *words]) == 0
    assert list(tmp_path.glob("runs/mae/version_*/encoder.safetensors"))


@pytest.mark.parametrize("name", DATASETS)
def test_raw_and_prepared_give_the_same_studies(name: str, tmp_path: Path) -> None:
    write(name, tmp_path / "raw", faults=False)
    command = ["prepare", name, "--root", str(tmp_path / "raw"), "--format", "png"]
    command += ["--size", "2048"]
    assert main([*command, "--out", str(tmp_path / "store"), "--workers", "0"]) == 0
    made = [
        getattr(official, name)(root=str(tmp_path / place), num_workers=0)
        for place in ("raw", "store")
    ]
    for module in made:
        # Fakes of label sets have no reports, and some leave a report out.
        module.has_reports = False
    raw, prepared = (module.sources for module in made)
    assert raw.keys() == prepared.keys()
    for split, source in raw.items():
        other = prepared[split]
        assert other.uids == source.uids
        assert other.patient_ids == source.patient_ids
        assert np.array_equal(other.labels, source.labels, equal_nan=True)
        for i in range(len(source)):
            one, two = source[i], other[i]
            assert np.array_equal(one.image, two.image)
            assert one.report.body == two.report.body
            assert one.masks.keys() == two.masks.keys()
            for mask in one.masks:
                assert np.array_equal(one.masks[mask], two.masks[mask])
            assert [b.name for b in one.boxes] == [b.name for b in two.boxes]
            for mine, theirs in zip(one.boxes, two.boxes, strict=True):
                assert mine.xyxy == pytest.approx(theirs.xyxy)

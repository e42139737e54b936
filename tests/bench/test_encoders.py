"""Encoders of other libraries, and what they may have seen, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.encoders.tiny_hub import save_clip, save_vision
from tests.fakes.nih14 import write_nih14
from vlp_zoo.bench.encoders import seen_lines, sources_of
from vlp_zoo.bench.suite import candidates_of
from vlp_zoo.bench.tasks import build_task
from vlp_zoo.cli import main
from vlp_zoo.encoders.checkpoint import load_encoder, save_encoder
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.results import ResultStore

SMALL = (
    *("--studies", "24", "12", "16", "--image-size", "32", "--num-workers", "0"),
    *("--min-positives", "1", "--bootstrap", "0", "--task", "phantom_chest"),
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
def test_models_of_transformers_are_probed_and_pairs_read_texts(tmp_path: Path) -> None:
    save_vision(tmp_path / "vit", "ViT")
    save_clip(tmp_path / "clip")
    specs = [f"hf:{tmp_path / 'vit'}", f"hf:{tmp_path / 'clip'}"]
    out = tmp_path / "out"
    options = ["--encoder", specs[0], "--encoder", specs[1], "--out", str(out)]
    presets = ["--preset", "vlp-linear", "--preset", "vlp-zeroshot"]
    assert main(["bench", *options, *presets, *SMALL]) == 0
    rows = ResultStore(out).read()
    probed = {row.encoder for row in rows if row.protocol == "vlp-linear"}
    assert {*specs, f"random init of {specs[0]}", "pixels"} <= probed
    assert {row.encoder for row in rows if row.protocol == "vlp-zeroshot"} == {specs[1]}


def test_the_help_lists_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "-h"])
    printed = " ".join(capsys.readouterr().out.split())
    for form in ("timm:NAME", "official:LAYOUT:FILE", "hf:REPO_OR_DIR", "open_clip:"):
        assert form in printed


def test_what_an_encoder_has_seen_is_said_and_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = load_encoder("random:micro")
    card = {"pretraining_sources": ["chexpert", "phantom_chest"]}
    path = save_encoder(tmp_path / "mine.safetensors", encoder, card)
    out = tmp_path / "out"
    assert main(["bench", "--encoder", str(path), *SMALL, "--out", str(out)]) == 0
    warnings = [
        line
        for line in capsys.readouterr().err.splitlines()
        if line.startswith("warning")
    ]
    assert len(warnings) == 1
    assert "pre-trained on phantom_chest itself" in warnings[0]
    rows = ResultStore(out).read()
    for row in rows:
        seen = row.details.get("contamination", [])
        assert [found["source"] for found in seen] == (
            ["phantom_chest"] if row.encoder == str(path) else []
        )
    assert {row.role for row in rows} == {"encoder", "floor"}


def test_shared_images_are_found_through_the_data_sets_between(tmp_path: Path) -> None:
    write_nih14(tmp_path / "nih")
    task = build_task(f"nih14:{tmp_path / 'nih'}", min_positives=1, on_error="skip")
    assert task.dataset == "nih14"
    card = {"pretraining_sources": ["covidx", "siim", "chexpert"]}
    path = save_encoder(
        tmp_path / "mine.safetensors", load_encoder("random:micro"), card
    )
    specs = [str(path), "random:tiny_resnet"]
    sources = {spec: sources_of(spec) for spec in specs}
    candidates = candidates_of(specs, Extraction(), sources=sources)
    first, second = seen_lines(candidates, task)
    seen = "mine.safetensors: images of nih14 seen in pre-training"
    assert f"{seen} (covidx > rsna > nih14" in first
    assert "siim > nih14" in second


def test_tasks_know_their_data_set(tmp_path: Path) -> None:
    small = {"train": 24, "val": 12, "test": 16}
    task = build_task("phantom_chest", studies=small, image_size=32, title="other")
    assert (task.name, task.dataset) == ("other", "phantom_chest")

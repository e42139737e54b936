"""Encoders of other libraries, and what they may have seen, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.encoders.tiny_hub import save_clip, save_vision
from vlp_zoo.cli import main
from vlp_zoo.evaluation.results import ResultStore

SMALL = (
    *("--studies", "24", "12", "16", "--image-size", "32", "--num-workers", "0"),
    *("--min-positives", "1", "--bootstrap", "0", "--task", "phantom_chest"),
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))


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

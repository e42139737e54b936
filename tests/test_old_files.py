"""What an older state of the package wrote is read, continued and found again.

The files in ``golden/before`` and the commands that wrote them: see the README there.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from vlp_zoo.cli import main
from vlp_zoo.encoders.checkpoint import load_encoder
from vlp_zoo.methods.stored import load_method

BEFORE = Path(__file__).parent / "golden" / "before"
METHODS = ("clip", "ecamp")
BENCH = [
    *("--studies", "24", "12", "24", "--image-size", "32", "--min-positives", "2"),
    *("--preset", "vlp-knn", "--bootstrap", "50", "--num-workers", "0"),
    *("--device", "cpu", "--out", "results"),
]


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the old files, which is the folder that one is in."""
    folder = tmp_path / "before"
    shutil.copytree(BEFORE, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_the_encoder_and_the_checkpoint_hold_the_same_weights(name: str) -> None:
    method = load_method(BEFORE / name / "checkpoints" / "last.ckpt")
    encoder = load_encoder(str(BEFORE / name / "encoder.safetensors"))
    assert type(method).__name__.lower() == name
    stored = method.image_encoder.timm.state_dict()
    found = encoder.timm.state_dict()
    assert stored.keys() == found.keys()
    for key, tensor in found.items():
        assert torch.equal(stored[key], tensor), key
    assert encoder.preprocessing["mean"] == pytest.approx([0.4721] * 3)


@pytest.mark.parametrize("name", METHODS)
def test_a_run_is_validated_by_its_own_config(
    before: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = f"{name}/checkpoints/last.ckpt"
    assert main(["validate", "--ckpt_path", checkpoint]) == 0
    printed = capsys.readouterr()
    assert f"using the run's own {before / name / 'config.yaml'}" in (
        printed.out + printed.err
    ).replace("\n", "")
    assert "val/loss" in printed.out


@pytest.mark.parametrize("name", METHODS)
def test_a_run_goes_on_where_it_ended(before: Path, name: str) -> None:
    checkpoint = before / name / "checkpoints" / "last.ckpt"
    then = torch.load(checkpoint, weights_only=True)
    words = ["fit", "--ckpt_path", str(checkpoint), "--trainer.max_epochs", "2"]
    assert main(words) == 0
    now = torch.load(checkpoint, weights_only=True)
    assert (then["global_step"], now["global_step"]) == (2, 4)
    assert now["tokenizer_json"] == then["tokenizer_json"]
    assert now["state_dict"].keys() == then["state_dict"].keys()
    card = json.loads((before / name / "encoder.json").read_text())
    assert (card["epochs"], card["steps"]) == (2, 4)


def test_nothing_that_was_evaluated_is_computed_anew(before: Path) -> None:
    results = before / "results" / "results.jsonl"
    then = results.read_bytes()
    named = ["--encoder", "ecamp=ecamp", "--encoder", "clip=clip", "--no-floors"]
    chest = ["--task", "phantom_chest", "--preset", "vlp-retrieval"]
    assert main(["bench", *named, *chest, *BENCH]) == 0
    assert results.read_bytes() == then
    # Of 0.1 a random init is one draw of weights; the others are none of what was there.
    grades = ["--encoder", "ecamp", "--task", "phantom_fundus_grades"]
    grades += ["--random-draws", "1"]
    assert main(["bench", *grades, *BENCH]) == 0
    # The last bits of random weights, and so who they are, hang on the processor.
    for line in results.read_bytes().removeprefix(then).splitlines():
        row = json.loads(line)
        assert "random init of ecamp" in (row["encoder"], row["baseline_name"])


def test_the_leaderboard_shows_every_old_row(
    before: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["leaderboard", "--results", "results", "--out", "page", "--bootstrap", "0"]
    assert main(words) == 0
    capsys.readouterr()
    text = (before / "page" / "LEADERBOARD.md").read_text()
    rows = [json.loads(line) for line in (before / "results/results.jsonl").open()]
    wanted = {(row["task"], row["encoder"]) for row in rows}
    assert len(wanted) == 7
    for task, encoder in wanted:
        assert task in text
        assert encoder in text
    assert "stale" not in text.lower()

"""Every method on every paired source, through the command a user types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlp_zoo.cli import main
from vlp_zoo.methods import METHODS

QUICK = [
    *("--trainer.max_steps", "2", "--trainer.accelerator", "cpu"),
    *("--trainer.enable_model_summary", "false", "--evaluate", "[]"),
    *("--data.batch_size", "4", "--data.num_workers", "0"),
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    folder = tmp_path_factory.mktemp("drawn")
    found = {
        "phantom": [
            *("--data.train_studies", "12", "--data.val_studies", "6"),
            *("--data.image_size", "64"),
        ]
    }
    for layout, name, option in (
        ("pairs", "pairs", "path"),
        ("mimic-cxr", "mimic_cxr", "root"),
    ):
        out = folder / layout
        words = ["synth", "chest", "--layout", layout, "--studies", "40"]
        assert main([*words, "--image-size", "64", "--out", str(out)]) == 0
        place = out / "pairs.csv" if layout == "pairs" else out
        found[name] = ["--data", name, f"--data.{option}", str(place)]
    return found


@pytest.mark.parametrize("source", ["phantom", "pairs", "mimic_cxr"])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_trains_on_every_paired_source(
    method: str, source: str, sources: dict[str, list[str]], tmp_path: Path
) -> None:
    config = ["--config", f"demo/{method}"]
    command = ["fit", *config, *sources[source], *QUICK, "--out", str(tmp_path)]
    assert main(command) == 0
    (card,) = tmp_path.rglob("encoder.json")
    written = json.loads(card.read_text())
    assert (written["method"], written["steps"]) == (method, 2)

"""What `benchmarks/leaderboard/run.py` decides itself."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from vlp_zoo.encoders.checkpoint import save_encoder
from vlp_zoo.encoders.image import ImageEncoder

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "leaderboard" / "run.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("leaderboard_run_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def saved(folder: Path, side: int) -> str:
    path = folder / "encoder.safetensors"
    save_encoder(path, ImageEncoder("tiny_resnet", side), {"method": "none"})
    return str(path)


def test_encoders_of_one_network_are_evaluated_by_one_process(
    script: Any, tmp_path: Path
) -> None:
    sides = {"a": 32, "large": 96, "b": 32, "c": 32}
    encoders = {name: saved(tmp_path / name, side) for name, side in sides.items()}
    assert script.shares(encoders, 2) == [["large"], ["a", "b", "c"]]
    assert script.shares(encoders, 1) == [["large", "a", "b", "c"]]
    assert script.shares({"a": encoders["a"]}, 3) == [["a"]]


def test_a_part_that_fails_fails_all(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def vlpzoo(*words: str, log: object = None, threads: int = 0) -> int:
        asked.append((words, threads))
        return int("--encoder=large=" in " ".join(words))

    monkeypatch.setattr(script, "vlpzoo", vlpzoo)
    encoders = {
        name: saved(tmp_path / name, side)
        for name, side in {"a": 32, "large": 64}.items()
    }
    assert script.evaluate(encoders, ["--suite=s"], tmp_path, 2) == 1
    assert len(asked) == 2
    assert all(threads >= 1 for _, threads in asked)
    del encoders["large"]
    assert script.evaluate(encoders, ["--suite=s"], tmp_path, 2) == 0
    # One part alone is all: it is not asked twice, and has all cores.
    assert [threads for _, threads in asked[2:]] == [0]

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.parity.recordings import met, recorded
from vlp_zoo.encoders.published.official import load_official
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.parity.imitate.recording import (
    generated_state,
    imitate_state,
    official_module,
)
from vlp_zoo.parity.imitate.replay import replay_fixture


@pytest.mark.slow
def test_the_real_resnet_50_and_the_schedules_are_met() -> None:
    for name in ("public_b", "common"):
        assert met("imitate", name, torch.float32)


def test_missing_and_broken_fixtures_say_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="no such folder"):
        replay_fixture(tmp_path / "absent")
    with pytest.raises(DatasetNotFoundError, match="none of them"):
        replay_fixture(tmp_path)
    (tmp_path / "losses.json").write_text("{}")
    with pytest.raises(DatasetNotFoundError, match="fetch"):
        replay_fixture(tmp_path)
    (tmp_path / "losses.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(DatasetNotFoundError, match="fetch"):
        replay_fixture(tmp_path)


@pytest.fixture(scope="module")
def official() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    meta = json.loads((recorded("imitate", "public_a") / "model.json").read_text())
    shapes = {k: v["shape"] for k, v in meta["param_info"].items()}
    state = generated_state(shapes, meta["config"]["seed"])
    counters = {
        name.replace("running_mean", "num_batches_tracked"): torch.tensor(0)
        for name in state
        if name.endswith("running_mean")
    }
    return meta["config"], {**state, **counters}


@pytest.mark.parametrize("kind", ["full", "encoder", "resumed"])
def test_official_checkpoints_load_as_encoders(
    kind: str, official: tuple[dict[str, Any], dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    config, state = official
    content: dict[str, Any] = dict(state)
    if kind == "encoder":
        content = {
            name.removeprefix("encoder."): value
            for name, value in state.items()
            if name.startswith("encoder.")
        }
    elif kind == "resumed":
        wrapped = {f"module.{name}": value for name, value in state.items()}
        content = {"epoch": 3, "model_state_dict": wrapped}
    path = tmp_path / "imitate.pth"
    torch.save(content, path)
    encoder = load_official("imitate", path).eval()
    assert encoder.width == 2048
    assert encoder.mean == [0.485, 0.456, 0.406]
    module = official_module(config, state).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = encoder(images), module.image_encoder(images)
    assert torch.allclose(ours.pooled, theirs.pooled, atol=1e-5)
    assert not any(name.startswith("lm_model") for name in imitate_state(state))

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.parity.recordings import recorded
from vlp_zoo.encoders.published.official import ecamp_state, load_official


def test_an_official_checkpoint_starts_the_encoder(tmp_path: Path) -> None:
    state = load_file(recorded("mrm", "public_a") / "state_dict.safetensors")
    path = tmp_path / "MRM.pth"
    torch.save({"model": state, "epoch": 199}, path)
    encoder = load_official("mrm", path)
    ours = {
        name.removeprefix("image_encoder.timm."): value
        for name, value in ecamp_state(state).items()
        if name.startswith("image_encoder.timm.")
    }
    held = encoder.timm.state_dict()
    assert ours.keys() <= held.keys() | {"norm.weight", "norm.bias"}
    assert torch.equal(held["pos_embed"], ours["pos_embed"])
    assert torch.equal(held["blocks.1.mlp.fc1.weight"], ours["blocks.1.mlp.fc1.weight"])

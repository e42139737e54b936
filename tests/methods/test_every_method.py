"""What holds of every method alike."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.methods.cases import BUILDERS, case
from tests.methods.paired import train_on
from vlp_zoo.encoders.checkpoint import save_encoder
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.methods import METHODS
from vlp_zoo.methods.base import VLPModule


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))


def test_every_method_is_tested_here() -> None:
    assert set(BUILDERS) == set(METHODS)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        module, batch = case(name)
        train_on(module, batch, steps=2, rate=1e-3)
        results.append(torch.cat([p.detach().ravel() for p in module.parameters()]))
    assert torch.equal(*results)


@pytest.mark.parametrize("name", BUILDERS)
def test_warm_start_copies_an_encoder(name: str, tmp_path: Path) -> None:
    source = ImageEncoder.from_spec(BUILDERS[name]().image_encoder.spec)
    path = save_encoder(tmp_path / "encoder.safetensors", source, {})
    module = BUILDERS[name](warm_start=str(path))
    module._trainer = SimpleNamespace(ckpt_path=None, is_global_zero=True)
    wanted, ours = (
        encoder.timm.state_dict() for encoder in (source, module.image_encoder)
    )
    trained = {n: p.requires_grad for n, p in module.named_parameters()}
    assert not all(torch.equal(ours[key], tensor) for key, tensor in wanted.items())
    VLPModule.on_fit_start(module)
    assert all(torch.equal(ours[key], tensor) for key, tensor in wanted.items())
    assert trained == {n: p.requires_grad for n, p in module.named_parameters()}

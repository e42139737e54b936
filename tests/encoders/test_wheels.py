"""Weights that are installed as packages: the right file, whole, under timm's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from vlp_zoo.encoders import wheels
from vlp_zoo.encoders.checkpoint import load_encoder
from vlp_zoo.encoders.frozen_text import load_frozen_text
from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.encoders.wheels import missing, wheel_path
from vlp_zoo.errors import DependencyNotFoundError, UnknownNameError


@pytest.fixture
def installed(request: pytest.FixtureRequest) -> None:
    """Skip where the extra is not installed; `make setup` installs it."""
    for name, wheel in wheels.WHEELS.items():
        if why := missing(f"wheel:{name}", text=wheel.text):
            pytest.skip(why)


@pytest.mark.usefixtures("installed")
def test_every_tensor_of_imagenet_is_where_timm_has_it() -> None:
    assert missing(wheels.IMAGENET) is None
    encoder = load_encoder("wheel:efficientnet_lite0")
    file = torch.load(wheel_path("wheel:efficientnet_lite0"), weights_only=True)
    # Both code bases list the network's parts in the order in which they run.
    reference: Any = timm.create_model("tf_efficientnet_lite0").eval()
    names = reference.state_dict().keys()
    reference.load_state_dict(dict(zip(names, file.values(), strict=True)))
    ours: Any = encoder.timm.state_dict()
    for name, value in reference.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(ours.pop(name), value), name
    assert not ours
    image = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pooled = encoder(encoder.normalise(image)).pooled
        wanted = reference.forward_features((image * 255 - 127) / 128).mean((2, 3))
    assert torch.allclose(pooled, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("installed")
def test_a_text_encoder_and_its_vocabulary_come_by_one_name() -> None:
    tokenizer = ReportTokenizer.load("wheel:minilm", any_kind=True)
    encoder = TextEncoder(
        tokenizer.vocab_size, pad_id=tokenizer.pad_id, name="wheel:minilm"
    )
    assert (encoder.width, encoder.spec["bert"]["num_hidden_layers"]) == (384, 6)
    frozen = load_frozen_text("wheel:minilm")
    texts = ["Small left pleural effusion.", "Fluid in the left pleural space.", "Car."]
    unit = torch.nn.functional.normalize(frozen.encode(texts), dim=1)
    assert float(unit[0] @ unit[1]) > float(unit[0] @ unit[2])


def test_what_is_not_known_or_not_installed_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UnknownNameError, match="wheel:efficientnet_lite0"):
        load_encoder("wheel:minilm")
    with pytest.raises(UnknownNameError, match="wheel:minilm"):
        wheel_path("wheel:efficientnet_lite0", text=True)
    assert wheel_path(str(tmp_path)) == str(tmp_path)
    monkeypatch.setattr(wheels, "find_spec", lambda name: None)
    with pytest.raises(DependencyNotFoundError, match=r"vlp-zoo\[weights\]"):
        load_encoder("wheel:efficientnet_lite0")
    assert "vlp-zoo[weights]" in str(missing(wheels.IMAGENET))

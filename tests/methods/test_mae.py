from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.methods.paired import (
    assert_every_parameter_learns,
    assert_two_processes_equal_one,
    batch_of,
    study,
    total,
    train_on,
)
from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.mae import MAE


def build(**arguments: Any) -> MAE:
    settings: dict[str, Any] = {
        "image_encoder": "micro",
        "image_size": 32,
        "decoder_width": 32,
        "decoder_depth": 1,
        "decoder_heads": 2,
    }
    module = MAE(**{**settings, **arguments})
    module.configure_model()
    return module


@pytest.mark.parametrize("norm_pix", [True, False])
def test_every_trainable_parameter_gets_a_gradient(norm_pix: bool) -> None:
    module = build(norm_pix=norm_pix).train()
    assert_every_parameter_learns(module, batch_of(module))
    fixed = {n for n, p in module.named_parameters() if not p.requires_grad}
    assert fixed == {"image_encoder.timm.pos_embed"}


@pytest.mark.slow
def test_it_learns_one_batch_by_heart() -> None:
    torch.manual_seed(0)
    module = build(norm_pix=False).train()
    batch = batch_of(module)
    before = float(total(module, batch).detach())
    train_on(module, batch, steps=200, rate=3e-3)
    assert float(total(module, batch).detach()) < 0.15 * before


@pytest.mark.parametrize("norm_pix", [True, False])
def test_the_loss_by_a_loop(norm_pix: bool) -> None:
    module = build(norm_pix=norm_pix).eval()
    batch = batch_of(module, count=2)
    with torch.no_grad():
        images = module.image_encoder.normalise(batch["image"])
        run = module.reconstruct(images, module.patch_noise(batch))
        loss = float(module.losses(batch)["mim"])
    errors = []
    for b in range(2):
        for place in range(16):
            if not run.mask.hidden[b, place]:
                continue
            row, column = divmod(place, 4)
            patch = images[b, 0, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
            if norm_pix:
                patch = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt()
            guess = run.pixels[b, place].view(8, 8, 3)
            errors.append((guess - patch[..., None]).square().mean())
    assert len(errors) == 24
    assert loss == pytest.approx(float(torch.stack(errors).mean()), rel=1e-5)


def test_hidden_pixels_do_not_leak() -> None:
    module = build().eval()
    batch = batch_of(module)
    images = module.image_encoder.normalise(batch["image"])
    noise = module.patch_noise(batch)
    with torch.no_grad():
        run = module.reconstruct(images, noise)
        hidden = run.mask.hidden.view(-1, 1, 4, 4).float()
        hidden = torch.nn.functional.interpolate(hidden, scale_factor=8.0)
        other = module.reconstruct(images + 3 * hidden, noise)
    assert torch.equal(run.pixels, other.pixels)


def test_two_processes_equal_one(tmp_path: Path) -> None:
    module = build().train()
    assert_two_processes_equal_one(module, batch_of(module, count=8), tmp_path)


def test_pictures_show_what_is_visible() -> None:
    module = build().eval()
    batch = batch_of(module)
    with torch.no_grad():
        shown = module.pictures(batch)
    assert set(shown) == {"input", "masked_input", "reconstruction"}
    for picture in shown.values():
        assert isinstance(picture, Tensor)
        assert picture.shape == (3, 32, 4 * 32)
    row = torch.cat(list(batch["image"] / 255), dim=2)
    assert torch.allclose(shown["input"], row.expand(3, -1, -1), atol=1e-5)  # type: ignore[arg-type]


def test_no_report_is_needed() -> None:
    transform = build().make_transform(True)
    example = transform(study(0), np.random.default_rng(0))
    assert set(example) == {"uid", "image", "noise_key"}
    with pytest.raises(ConfigError, match="joint space"):
        build().embed_texts(["No edema."])


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="decoder_width"):
        build(decoder_width=18)
    with pytest.raises(ConfigError, match="ViT"):
        build(image_encoder="tiny_resnet")

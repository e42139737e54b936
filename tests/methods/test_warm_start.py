"""What a warm start takes over beside the weights."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from tests.methods.test_clip import build
from vlp_zoo.encoders.checkpoint import load_encoder, save_encoder
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.methods.stored import load_method


def started(folder: Path, mean: float, keep: bool) -> Any:
    source = ImageEncoder("tiny_resnet", 48, mean=[mean] * 3, std=[0.2] * 3)
    path = save_encoder(folder / "encoder.safetensors", source, {})
    module = build(warm_start=str(path), keep_normalisation=keep)
    stub: Any = SimpleNamespace(ckpt_path=None, is_global_zero=True)
    module._trainer = stub
    module.on_fit_start()
    module._trainer = None
    return module


@pytest.mark.parametrize("keep", [False, True])
def test_another_look_of_pixels_is_said_and_taken_over_where_asked(
    keep: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        module = started(tmp_path, 0.1, keep)
    assert "mean [0.1, 0.1, 0.1]" in caplog.text
    assert ("keep_normalisation true" in caplog.text) is not keep
    assert module.image_encoder.mean[0] == pytest.approx(0.1 if keep else 0.4721)

    # The card and the checkpoint hold what the run uses.
    path = save_encoder(tmp_path / "own.safetensors", module.image_encoder, {})
    assert load_encoder(str(path)).mean == module.image_encoder.mean
    trainer = pl.Trainer(logger=False, accelerator="cpu", enable_progress_bar=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = load_method(tmp_path / "a.ckpt")
    assert again.image_encoder.mean == module.image_encoder.mean
    file = torch.load(tmp_path / "a.ckpt", weights_only=True)
    del file["normalisation"]
    torch.save(file, tmp_path / "old.ckpt")
    assert load_method(tmp_path / "old.ckpt").image_encoder.mean[0] > 0.4


def test_the_same_look_is_not_worth_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = ImageEncoder("tiny_resnet", 48)
    path = save_encoder(tmp_path / "encoder.safetensors", source, {})
    module: Any = build(warm_start=str(path))
    module._trainer = SimpleNamespace(ckpt_path=None, is_global_zero=True)
    with caplog.at_level(logging.WARNING):
        module.on_fit_start()
    assert "expect pixels" not in caplog.text

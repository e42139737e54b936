"""Colour photographs are learnt in colour, grey images as they always were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vlp_zoo.cli import main
from vlp_zoo.data.datamodules import PhantomChest, PhantomFundus
from vlp_zoo.encoders.checkpoint import load_encoder
from vlp_zoo.loading import collate_examples
from vlp_zoo.methods import METHODS
from vlp_zoo.methods.base import VLPModule
from vlp_zoo.transforms import planes

SMALL = (
    *("--data.train_studies", "24", "--data.val_studies", "8", "--data.image_size"),
    *("96", "--data.batch_size", "8", "--data.num_workers", "0"),
    *("--trainer.max_steps", "2", "--evaluate", "[]", "--trainer.accelerator", "cpu"),
)


def test_planes_come_first() -> None:
    colour = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert np.array_equal(planes(colour)[1], colour[..., 1])
    assert planes(colour[..., 0]).shape == (1, 2, 4)
    assert planes(colour).flags.c_contiguous


def test_grey_images_in_a_batch_of_colour_get_three_channels() -> None:
    rng = np.random.default_rng(0)
    grey, colour = (rng.integers(0, 256, (n, 5, 4), np.uint8) for n in (1, 3))
    batch = collate_examples([{"image": grey}, {"image": colour}])["image"]
    assert batch.shape == (2, 3, 5, 4)
    assert all(np.array_equal(batch[0, k], grey[0]) for k in range(3))
    assert np.array_equal(batch[1], colour)
    tensors = [{"image": torch.from_numpy(each)} for each in (grey, colour)]
    assert torch.equal(collate_examples(tensors)["image"], batch)


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("ecamp", "phantom_fundus"),
        *(
            pytest.param(name, "phantom_fundus", marks=pytest.mark.slow)
            for name in sorted(METHODS)
            if name != "ecamp"
        ),
        ("clip", "phantom_chest"),
    ],
)
def test_a_method_sees_what_the_camera_saw(
    method: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def watch(self: Any, batch: dict[str, Any], *rest: Any) -> Any:
        seen.extend(value for name, value in batch.items() if name.startswith("image"))
        return original(self, batch, *rest)

    original = VLPModule.training_step
    monkeypatch.setattr(VLPModule, "training_step", watch)
    words = ["fit", f"--config=demo/{method}", f"--data={data}", f"--out={tmp_path}"]
    assert main([*words, *SMALL]) == 0
    channels = 3 if data == "phantom_fundus" else 1
    assert seen
    assert {image.shape[1] for image in seen} == {channels}
    assert all(image.dtype == torch.uint8 for image in seen)
    if channels == 3:
        reds, greens = (torch.cat([i[:, k] for i in seen]).float() for k in (0, 1))
        assert (reds - greens).abs().mean() > 10
    (path,) = tmp_path.rglob("version_*/encoder.safetensors")
    assert load_encoder(str(path)).preprocessing["channels"] == 3


def test_sources_of_eyes_are_in_colour_and_of_chests_are_not() -> None:
    eyes = PhantomFundus(train_studies=2, val_studies=0, test_studies=0, image_size=64)
    chests = PhantomChest(train_studies=2, val_studies=0, test_studies=0, image_size=64)
    assert eyes.sources["train"][0].image.shape == (64, 64, 3)
    assert chests.sources["train"][0].image.shape == (64, 64)

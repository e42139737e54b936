"""Runs with a pretrained text model go on after its folder is gone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from tests.fakes.text_models import text_model
from tests.methods.paired import REPORTS, batch_of
from vlp_zoo.data.datamodules import PhantomChest
from vlp_zoo.errors import ConfigError, UnknownNameError
from vlp_zoo.methods.base import VLPModule
from vlp_zoo.methods.clip import CLIP
from vlp_zoo.methods.imitate.imitate import IMITATE
from vlp_zoo.methods.stored import load_method

TINY: dict[str, Any] = {
    "image_encoder": "tiny_resnet",
    "image_size": 48,
    "max_tokens": 40,
    "joint_width": 16,
    "head_width": 24,
}
CORPUS = [*REPORTS, "Small left effusion; heart size is normal. No pneumothorax."]


def trainer(folder: Path, epochs: int, place: Path | None = None) -> pl.Trainer:
    made = pl.Trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
    )
    # As `vlpzoo fit --ckpt_path` says it.
    made.ckpt_path = place
    return made


class Seen(CLIP):
    """Remembers whether the dropout of its text tower was active."""

    def losses(self, batch: Any) -> Any:
        """The options of `CLIP`."""
        drops = [p for p in self.text_tower.modules() if isinstance(p, nn.Dropout)]
        assert drops
        self.active: dict[bool, set[bool]] = getattr(self, "active", {})
        state = {part.training for part in drops}
        self.active.setdefault(bool(self.trainer.training), set()).update(state)
        return super().losses(batch)


def batches(module: VLPModule[Any]) -> DataLoader[Any]:
    made: list[Any] = [batch_of(module)] * 2
    return DataLoader(made, batch_size=None)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_pretrained_tower_is_trained_with_dropout_and_outlives_its_folder(
    kind: str, tmp_path: Path
) -> None:
    folder = text_model(tmp_path / "text", kind, CORPUS)
    module = Seen(**TINY, text_model=str(folder))
    module.setup("fit")
    data = batches(module)
    first = trainer(tmp_path, 1)
    first.fit(module, data, data)
    assert module.active == {True: {True}, False: {False}}
    first.save_checkpoint(tmp_path / "last.ckpt")
    wanted = module.eval().embed_texts(REPORTS)
    shutil.rmtree(folder)

    again = CLIP(**TINY, text_model=str(folder))
    place = tmp_path / "last.ckpt"
    trainer(tmp_path, 2, place).fit(again, data, data, weights_only=True)
    looked = CLIP(**TINY, text_model=str(folder))
    trainer(tmp_path, 1, place).validate(looked, data, weights_only=True)
    assert torch.equal(looked.eval().embed_texts(REPORTS), wanted)

    # Only installed methods are imported, and the subclass of a test is none.
    with pytest.raises(UnknownNameError, match=r"Seen"):
        load_method(tmp_path / "last.ckpt")
    file = torch.load(tmp_path / "last.ckpt", weights_only=True)
    file["method_class"] = "vlp_zoo.methods.clip.CLIP"
    torch.save(file, tmp_path / "last.ckpt")
    loaded = load_method(tmp_path / "last.ckpt")
    assert torch.equal(loaded.embed_texts(REPORTS), wanted)


def test_longer_texts_than_a_model_reads_are_refused_at_the_start(
    tmp_path: Path,
) -> None:
    folder = text_model(tmp_path / "text", "roberta", CORPUS)
    module = CLIP(**{**TINY, "max_tokens": 65}, text_model=str(folder))
    module.setup("fit")
    with pytest.raises(ConfigError, match=r"--model\.max_tokens 64"):
        module.configure_model()


IMITATE_TINY: dict[str, Any] = {
    "image_encoder": "resnet10t",
    "encoder_sizes": {"channels": [8, 8, 16, 16], "stem_width": 8},
    "image_size": 32,
    "channel_tokens": 24,
    "pool_side": 4,
    "joint_width": 16,
    "impression_hidden": 24,
    "text_hidden": 24,
}


def test_a_frozen_text_model_travels_in_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))
    folder = text_model(tmp_path / "text", "bert", CORPUS)
    sizes = {"train_studies": 8, "val_studies": 4, "image_size": 48}
    data = PhantomChest(**sizes, batch_size=4, num_workers=0)  # type: ignore[arg-type]
    module = IMITATE(**IMITATE_TINY, text_model=str(folder))
    first = trainer(tmp_path, 1)
    first.fit(module, datamodule=data)
    place = tmp_path / "last.ckpt"
    first.save_checkpoint(place)
    wanted = module.eval().embed_texts(REPORTS)
    assert not any(part.training for part in module.train().frozen().encoder.modules())  # type: ignore[attr-defined]
    shutil.rmtree(folder)

    again = IMITATE(**IMITATE_TINY, text_model=str(folder))
    trainer(tmp_path, 2, place).fit(again, datamodule=data, weights_only=True)
    looked = IMITATE(**IMITATE_TINY, text_model=str(folder))
    trainer(tmp_path, 1, place).validate(looked, datamodule=data, weights_only=True)
    for found in (looked.eval(), load_method(place)):
        assert torch.allclose(found.embed_texts(REPORTS), wanted, atol=1e-6)

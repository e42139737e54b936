"""The card beside an exported encoder: where its weights started, and whose data it saw."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from vlp_zoo.callbacks import ExportEncoder
from vlp_zoo.cli import main
from vlp_zoo.encoders.checkpoint import load_encoder
from vlp_zoo.encoders.specs import origin
from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.mae import MAE
from vlp_zoo.methods.stored import load_method


def test_a_card_names_the_file_that_weights_came_from_but_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    file = folder / "model.safetensors"
    file.write_bytes(b"weights")
    found = f" (SHA-256 {hashlib.sha256(b'weights').hexdigest()})"
    assert origin(str(file)) == f"model.safetensors{found}"
    assert origin(f"official:mae:{file}") == f"official:mae:model.safetensors{found}"
    assert origin(f"timm:resnet18@{file}") == f"timm:resnet18@model.safetensors{found}"
    assert origin(f"timm:local-dir:{folder}") == f"timm:local-dir:mine{found}"
    assert origin(f"hf:{folder}") == f"hf:mine{found}"
    assert origin(f"official:mae:{folder}/gone.pth") == "official:mae:gone.pth"
    # A file that happens to be called like a model is not where it came from.
    monkeypatch.chdir(tmp_path)
    Path("resnet18").write_bytes(b"other")
    for spec in ("timm:resnet18", "random:tiny", "hf:owner/name", "open_clip:RN50"):
        assert origin(spec) == spec


def test_a_resumed_run_keeps_its_origin_when_the_file_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "start.safetensors"
    file.write_bytes(b"weights")
    module = MAE(image_encoder="micro", warm_start=str(file))
    trainer: Any = None
    first = ExportEncoder()
    first.on_fit_start(trainer, module)
    file.unlink()
    resumed = ExportEncoder()
    resumed.load_state_dict(first.state_dict())
    resumed.on_fit_start(trainer, module)
    assert resumed.origin == first.origin == origin_of(b"weights")


@pytest.mark.slow
def test_an_encoder_is_exported_for_larger_images(tmp_path: Path) -> None:
    words = ["fit", "--config=demo/clip", "--model.image_encoder=tiny_resnet"]
    words += ["--model.image_size=32", "--export.image_size=48", "--evaluate=[]"]
    words += [
        "--data.train_studies=64",
        "--data.val_studies=32",
        "--data.image_size=64",
    ]
    words += ["--trainer.max_epochs=1", f"--out={tmp_path}"]
    assert main(words) == 0
    run = tmp_path / "clip" / "version_0"
    encoder = load_encoder(str(run / "encoder.safetensors"))
    best = load_encoder(str(run / "best" / "encoder.safetensors"))
    assert encoder.image_size == best.image_size == 48
    module = load_method(run / "checkpoints" / "last.ckpt")
    assert module.image_encoder.image_size == 32
    trained = module.image_encoder.timm.state_dict()
    for name, tensor in encoder.timm.state_dict().items():
        assert torch.equal(tensor, trained[name]), name


def test_weights_for_one_size_are_not_exported_for_another() -> None:
    module, trainer = MAE(image_encoder="micro"), cast(Any, None)
    module.configure_model()
    before = torch.get_rng_state()
    ExportEncoder().on_fit_start(trainer, module)
    with pytest.raises(ConfigError, match="keep that size"):
        ExportEncoder(image_size=2 * module.image_encoder.image_size).on_fit_start(
            trainer, module
        )
    assert torch.equal(torch.get_rng_state(), before)


def origin_of(content: bytes) -> str:
    return f"start.safetensors (SHA-256 {hashlib.sha256(content).hexdigest()})"

"""A joint space by itself: the same similarities as the method's, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vlp_zoo as vz
from tests.fakes.text_models import text_model
from tests.methods import (
    test_clip,
    test_flair,
    test_gloria,
    test_mae,
    test_medclip,
    test_mflag,
    test_mgca,
)
from tests.methods.imitate import test_imitate
from tests.methods.paired import REPORTS
from tests.methods.place import test_place
from vlp_zoo.cli import main
from vlp_zoo.encoders.checkpoint import save_encoder
from vlp_zoo.encoders.frozen_text import BertText
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError, EncoderLoadError
from vlp_zoo.methods.imitate import IMITATE
from vlp_zoo.methods.joint import JointModel, joint_of, load_joint, save_joint
from vlp_zoo.methods.mflag import MFLAG

MICRO = {"image_encoder": "micro", "image_size": 32}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))


def frozen(method: type[Any], settings: dict[str, Any], folder: Path) -> Any:
    """A method of frozen texts with a small BERT, its batch norms not as they begin."""
    module = method(**{**settings, **MICRO, "encoder_sizes": {}, "max_tokens": 24})
    module.frozen_text = BertText(str(text_model(folder, "bert", REPORTS)), 24)
    module.configure_model()
    drawn = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm1d):
            assert part.running_mean is not None
            part.running_mean.normal_(generator=drawn)
            if part.affine:
                part.bias.data.normal_(generator=drawn)
    return module


def built(kind: str, folder: Path) -> Any:
    match kind:
        case "clip":
            return test_clip.build()
        case "clip, linear heads":
            return test_clip.build(**MICRO, head_width=0)
        case "medclip":
            return test_medclip.build(**MICRO)
        case "flair":
            return test_flair.build(**MICRO)
        case "place":
            return test_place.build(**MICRO, text_model=None)
        case "mflag":
            return frozen(MFLAG, {"joint_width": 16, "head_hidden": 24}, folder)
        case _:
            return frozen(IMITATE, test_imitate.TINY, folder)


def written(model: JointModel, folder: Path) -> None:
    save_encoder(folder / "model.safetensors", model.image_encoder, {})
    save_joint(model, folder)


def similarities(model: Any, side: int = 45) -> Tensor:
    drawn = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 1, side, side), generator=drawn)
    texts = [*REPORTS, "", "[MASK] [PAD] effusion", "no effusion. " * 60]
    with torch.no_grad():
        found = model.embed_images(images.to(torch.uint8)) @ model.embed_texts(texts).T
    return torch.as_tensor(found)


@pytest.mark.parametrize(
    "kind",
    ["clip", "clip, linear heads", "medclip", "flair", "place", "mflag", "imitate"],
)
def test_a_folder_gives_the_similarities_of_the_method(
    kind: str, tmp_path: Path
) -> None:
    method = built(kind, tmp_path / "bert").eval()
    model = joint_of(method)
    written(model, tmp_path / "out")
    loaded: Any = vz.from_pretrained(tmp_path / "out")
    wanted = similarities(method)
    assert wanted.std() > 1e-4
    torch.testing.assert_close(similarities(loaded), wanted, atol=1e-5, rtol=0)
    assert loaded.sha256 == model.sha256
    assert loaded.preprocessing == method.image_encoder.preprocessing


def test_spaces_that_plain_layers_cannot_say_are_refused_by_name() -> None:
    corpus = {"text_model": "corpus", "text_width": 12}
    for method, reason in (
        (test_mgca.build(), "MGCA .*rules of its own"),
        (test_gloria.build(), "GLoRIA .*rules of its own"),
        (test_mae.build(), "MAE .*without a joint space"),
        (test_clip.build(**MICRO, **corpus), "CLIP .*fixed features of words"),
        (test_mflag.build(), "MFLAG .*fixed features of words"),
        (test_medclip.build(**MICRO, pool_padding=True), "MedCLIP .*padded"),
    ):
        with pytest.raises(ConfigError, match=f"(?s){reason}"):
            joint_of(method.eval())


def test_what_would_not_be_the_same_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    method = test_clip.build(**MICRO).eval()
    plain = method.embed_texts
    monkeypatch.setattr(method, "embed_texts", lambda texts: -plain(texts))
    with pytest.raises(ConfigError, match="embeddings that differ"):
        joint_of(method)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    model = joint_of(test_clip.build(**MICRO).eval())
    out = tmp_path / "out"
    written(model, out)
    sizes, weights = out / "joint.json", out / "joint.safetensors"
    said = json.loads(sizes.read_text())
    for change, message in (
        ({"format": 2}, "update vlp-zoo"),
        ({"text_head": [{"layer": "os.system"}]}, "KeyError"),
        ({"image_head": said["image_head"][:1]}, "unexpected"),
        ({"sha256": "0" * 64}, "do not belong together"),
    ):
        sizes.write_text(json.dumps({**said, **change}))
        with pytest.raises(EncoderLoadError, match=message):
            load_joint(out)
    sizes.write_text(json.dumps(said))
    torch.manual_seed(9)
    save_encoder(out / "model.safetensors", ImageEncoder("micro", pooling="avg"), {})
    with pytest.raises(EncoderLoadError, match="do not belong together"):
        load_joint(out)
    weights.unlink()
    with pytest.raises(EncoderLoadError, match="a joint space in"):
        load_joint(out)


def test_the_command_writes_what_python_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    method = test_clip.build(**MICRO).eval()
    save_encoder(run / "encoder.safetensors", method.image_encoder, {"method": "clip"})
    words = ["export", str(run), str(out), "--joint"]
    assert main(words) == 1
    assert "the checkpoint of a run beside" in capsys.readouterr().err
    file: dict[str, Any] = {
        "state_dict": method.state_dict(),
        "hyper_parameters": dict(method.hparams),
    }
    method.on_save_checkpoint(file)
    (run / "checkpoints").mkdir()
    torch.save(file, run / "checkpoints" / "last.ckpt")
    assert main(words) == 0
    assert "joint.safetensors" in capsys.readouterr().out
    loaded: Any = vz.from_pretrained(out)
    torch.testing.assert_close(
        similarities(loaded), similarities(method), atol=1e-5, rtol=0
    )
    card = (out / "MODEL_CARD.md").read_text()
    assert "pipeline_tag: zero-shot-image-classification" in card
    assert 'texts = model.embed_texts(["No pleural effusion.' in card
    torch.manual_seed(9)
    save_encoder(run / "encoder.safetensors", ImageEncoder("micro", pooling="avg"), {})
    other = tmp_path / "other"
    assert main(["export", str(run), str(other), "--joint"]) == 1
    assert "other weights: it was written earlier" in capsys.readouterr().err
    assert not other.exists()


@pytest.mark.slow
def test_the_onnx_pair_gives_the_same_similarities(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"ONNX graphs are written by {package}")
    runtime = pytest.importorskip("onnxruntime", reason="it runs the graphs")
    from vlp_zoo.methods.joint import write_pair

    method = test_clip.build(**MICRO).eval()
    model = joint_of(method)
    image, text = (
        runtime.InferenceSession(str(path)) for path in write_pair(model, tmp_path)
    )
    drawn = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 1, 32, 32), generator=drawn).to(torch.uint8)
    rows = model.tokenizer.encode_batch(list(REPORTS))
    (seen,) = image.run(None, {"images": model.image_encoder.prepare(images).numpy()})
    (read,) = text.run(
        None,
        {
            "input_ids": np.array([row.ids for row in rows]),
            "attention_mask": np.array([row.attention_mask for row in rows]),
        },
    )
    with torch.no_grad():
        wanted = method.embed_images(images) @ method.embed_texts(REPORTS).T
    np.testing.assert_allclose(seen @ read.T, wanted.numpy(), atol=1e-4)

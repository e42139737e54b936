from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.parity.recordings import copied, met, quantities, recorded
from vlp_zoo.cli import main as vlpzoo
from vlp_zoo.encoders.checkpoint import load_encoder
from vlp_zoo.encoders.published.official import asg_name, image_state
from vlp_zoo.errors import DatasetNotFoundError, EncoderLoadError
from vlp_zoo.parity.asg.replay import replay_fixture


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["public_a", "public_b"])
def test_recordings_of_the_official_code_are_met(name: str, dtype: torch.dtype) -> None:
    found = quantities(met("asg", name, dtype))
    for file in ("intermediates", "gradients"):
        tensors = load_file(recorded("asg", name) / f"{file}.safetensors")
        missing = {
            key
            for key in tensors
            if key not in found
            and f"mid.{key}" not in found
            and not key.endswith(tuple(VANISHING))
            and not key.startswith(("agg.", "bert."))
        }
        assert not missing
    assert {
        "loss.total",
        "train_aligned.total",
        "eval.total",
        "step9.total",
        "lr_curve",
        "loss_level.case1.no_region",
        "pipeline.train.image.5",
        "pipeline.big.region",
        "official_roi_index",
    } <= found


VANISHING = ("head.0.bias", "head.3.bias", "key.bias")


def test_the_command_reports_agreement(capsys: pytest.CaptureFixture[str]) -> None:
    assert vlpzoo(["parity", "asg", "--fixture", str(recorded("asg", "public_a"))]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "asg, public_a, float32"
    summary = json.loads(out[-1])
    assert summary["ok"]
    assert set(summary["losses"]) == {"ira", "arsa", "irl", "erl", "total"}
    assert summary["losses"]["total"]["relative_error"] < 1e-5


def test_missing_and_broken_fixtures_say_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="no such folder"):
        replay_fixture(tmp_path / "absent")
    with pytest.raises(DatasetNotFoundError, match=r"loss_level\.json"):
        replay_fixture(tmp_path)
    folder = copied(recorded("asg", "public_a"), tmp_path / "half")
    (folder / "expected.json").write_text("{}")
    with pytest.raises(DatasetNotFoundError, match="train_reference"):
        replay_fixture(folder)


def test_image_encoders_of_asg_and_mgca_checkpoints_load(tmp_path: Path) -> None:
    vit = {
        "cls_token": torch.randn(1, 1, 64),
        "pos_embed": torch.randn(1, 5, 64),
        "patch_embed.proj.weight": torch.randn(64, 3, 8, 8),
        "patch_embed.proj.bias": torch.randn(64),
        "norm.weight": torch.randn(64),
        "norm.bias": torch.randn(64),
    }
    for name, shape in {
        "norm1.weight": (64,),
        "norm1.bias": (64,),
        "attn.qkv.weight": (192, 64),
        "attn.qkv.bias": (192,),
        "attn.proj.weight": (64, 64),
        "attn.proj.bias": (64,),
        "norm2.weight": (64,),
        "norm2.bias": (64,),
        "mlp.fc1.weight": (256, 64),
        "mlp.fc1.bias": (256,),
        "mlp.fc2.weight": (64, 256),
        "mlp.fc2.bias": (64,),
    }.items():
        vit[f"blocks.0.{name}"] = torch.randn(shape)
    others = {
        "asg": ["irl.mlp_head.0.bias", "text_encoder.embeddings.LayerNorm.bias"],
        "mgca": ["prototype_layer.weight", "word_local_atten_layer.w.weight"],
    }
    shared = ["img_encoder_q.local_embed.head.0.bias", "text_encoder_q.model.x"]
    for layout, extra in others.items():
        state = {f"img_encoder_q.model.{k}": v for k, v in vit.items()}
        state |= {name: torch.zeros(1) for name in (*extra, *shared)}
        path = tmp_path / f"{layout}.safetensors"
        save_file(state, path)
        encoder = load_encoder(f"official:{layout}:{path}")
        assert encoder.pooling == "token"
        assert torch.equal(encoder.timm.state_dict()["norm.weight"], vit["norm.weight"])
        assert encoder.mean[0] == (0.485 if layout == "asg" else 0.5)
        save_file({**state, "surprise": torch.zeros(1)}, path)
        with pytest.raises(EncoderLoadError, match="surprise"):
            load_encoder(f"official:{layout}:{path}")
    with pytest.raises(EncoderLoadError, match="ViT"):
        image_state("asg", {"img_encoder_q.model.layer1.0.conv1.weight": torch.ones(1)})


def test_names_of_the_official_state() -> None:
    assert asg_name("text_encoder.embeddings.LayerNorm.bias") is None
    assert asg_name("irl.decoder_norm.weight") == "tag_decoder.decoder.norm.weight"
    assert asg_name("module.img_encoder_q.model.norm.bias") == (
        "image_encoder.timm.norm.bias"
    )

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from tests.conftest import require_shared
from vlp_zoo.cli.encoder.convert import main as convert
from vlp_zoo.encoders.checkpoint import load_encoder
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.encoders.published.official import ecamp_state, image_state, load_official
from vlp_zoo.encoders.weight_files import check_keys
from vlp_zoo.errors import EncoderLoadError, UnknownNameError
from vlp_zoo.methods.ecamp.ecamp import ECAMP

INVENTORIES = {
    "ecamp": ("pretrain_vit_base", 350, 150),
    "ecamp_classifier": ("classification_vit_base_14", 152, 150),
    "ecamp_segmentation": ("segmentation_vit_base", 180, 148),
    "ecamp_detector": ("detection_vit_base_expansion4", 335, 148),
}


def inventory(name: str) -> dict[str, Tensor]:
    path = require_shared("golden", "ecamp", "state_dict_shapes", f"{name}.json")
    shapes = json.loads(path.read_text())
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


@pytest.mark.parametrize("layout", INVENTORIES)
def test_recorded_inventories_leave_exactly_a_vit(layout: str) -> None:
    name, total, kept = INVENTORIES[layout]
    state = inventory(name)
    assert len(state) == total
    found = image_state(layout, state)
    assert len(found) == kept
    pooled = layout == "ecamp_classifier"
    with torch.device("meta"):
        model = timm.create_model(
            "vit_base_patch16_224",
            num_classes=0,
            global_pool="avg",
            fc_norm=pooled,
            final_norm=kept == 150,
        )
    check_keys(model.state_dict(), found, layout)


def test_riga_and_the_larger_detector_fit_as_well() -> None:
    assert len(
        image_state("ecamp_segmentation", inventory("segmentation_riga_vit_base"))
    )
    assert len(
        image_state("ecamp_detector", inventory("detection_vit_base_expansion8"))
    )


@pytest.mark.parametrize("legacy", [False, True])
def test_the_whole_pre_training_state_fits_ours(legacy: bool) -> None:
    state = inventory("pretrain_vit_base")
    if legacy:
        state = {
            key.replace("context_fusion_layer", "cross_attn_layer"): tensor
            for key, tensor in state.items()
        }
        key = "bert_encoder.model.bert.embeddings.position_ids"
        state[key] = torch.empty((1, 256), device="meta", dtype=torch.int64)
        assert len(state) == 351
    module = ECAMP(variant="official")
    with torch.device("meta"):
        module.configure_model()
    check_keys(module.state_dict(), ecamp_state(state), "the inventory")
    words = "text_encoder.bert.embeddings.word_embeddings.weight"
    converted = ecamp_state(state)
    assert converted[words] is not converted["mlm_head.output.weight"]


def official(encoder: ImageEncoder, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + key: value for key, value in encoder.timm.state_dict().items()}


def small_encoder(**arguments: object) -> ImageEncoder:
    torch.manual_seed(0)
    sizes = {"embed_dim": 128, "num_heads": 2}
    return ImageEncoder("micro", pooling="avg", timm_arguments={**sizes, **arguments})


@pytest.mark.parametrize(
    ("layout", "prefix", "extra", "arguments"),
    [
        ("ecamp", "", "bert_encoder.model.x", {}),
        ("ecamp", "module.", "module.super_res.conv1.bias", {}),
        ("ecamp_classifier", "", "head.weight", {"fc_norm": True}),
        ("ecamp_segmentation", "encoder.", "decoder_disc.x", {"final_norm": False}),
        ("ecamp_detector", "backbone.encoder.", "embedding0.x", {"final_norm": False}),
        ("mae", "", "decoder_embed.weight", {}),
        ("timm", "", "head.bias", {}),
    ],
)
def test_files_give_the_features_they_were_made_with(
    tmp_path: Path, layout: str, prefix: str, extra: str, arguments: dict[str, object]
) -> None:
    encoder = small_encoder(**arguments).eval()
    path = tmp_path / "checkpoint.pth"
    content = {**official(encoder, prefix), extra: torch.zeros(2)}
    torch.save({"model": content, "epoch": 3}, path)
    loaded = load_official(layout, path).eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(images).tokens, encoder(images).tokens)
    if layout != "timm":
        assert torch.equal(loaded(images).pooled, encoder(images).pooled)


def test_convert_writes_an_encoder_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = small_encoder().eval()
    path = tmp_path / "checkpoint.pth"
    torch.save(official(encoder), path)
    assert convert([f"official:ecamp:{path}", str(tmp_path / "out")]) == 0
    assert "encoder.safetensors" in capsys.readouterr().out
    again = load_encoder(str(tmp_path / "out" / "encoder.safetensors"))
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(again(images).pooled, encoder(images).pooled)


def test_wrong_files_are_refused_with_counts(tmp_path: Path) -> None:
    encoder = small_encoder()
    path = tmp_path / "checkpoint.pth"
    state = official(encoder)
    del state["norm.bias"]
    torch.save({**state, "strange": torch.zeros(1)}, path)
    with pytest.raises(EncoderLoadError, match=r"1 missing \(norm.bias\).*strange"):
        load_official("ecamp", path)
    with pytest.raises(EncoderLoadError, match="layout"):
        load_official("ecamp_detector", path)
    with pytest.raises(UnknownNameError, match="known ones"):
        load_official("ecmap", path)
    with pytest.raises(EncoderLoadError, match="no such file"):
        load_official("ecamp", tmp_path / "absent.pth")
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(EncoderLoadError):
        load_official("ecamp", path)
    torch.save({"model": {"epoch": 3}}, path)
    with pytest.raises(EncoderLoadError, match="without tensors"):
        load_official("ecamp", path)


class Unsafe:
    """Something that weights_only=True must not build."""


def test_pickled_objects_are_not_run(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": official(small_encoder()), "args": Unsafe()}, path)
    with pytest.raises(EncoderLoadError, match="for safety"):
        load_official("ecamp", path)

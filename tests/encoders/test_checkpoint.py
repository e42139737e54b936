from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from vlp_zoo.encoders.checkpoint import card_path, load_encoder, save_encoder
from vlp_zoo.encoders.identity import encoder_sha256
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import EncoderLoadError, VLPZooError


def small() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(
        "vit_tiny_patch16_224", image_size=32, embed_dim=24, depth=2, num_heads=2
    ).eval()


def test_a_saved_encoder_reloads_with_identical_features(tmp_path: Path) -> None:
    encoder = small()
    path = save_encoder(tmp_path / "encoder.safetensors", encoder, {"method": "toy"})
    again = load_encoder(str(path))
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(encoder(images).pooled, again(images).pooled)
    assert torch.equal(encoder(images).tokens, again(images).tokens)
    assert again.preprocessing == encoder.preprocessing
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_the_weights_load_into_a_stock_timm_model_strictly(tmp_path: Path) -> None:
    path = save_encoder(tmp_path / "encoder.safetensors", small(), {})
    stock = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=32,
        embed_dim=24,
        depth=2,
        num_heads=2,
        num_classes=0,
    )
    stock.load_state_dict(load_file(path), strict=True)


def test_the_card_says_where_the_encoder_comes_from(tmp_path: Path) -> None:
    path = save_encoder(tmp_path / "e.safetensors", small(), {"method": "toy"})
    card = json.loads(card_path(path).read_text())
    assert card["method"] == "toy"
    assert card["sha256"] == encoder_sha256(small())
    assert {"date", "versions", "commit"} <= set(card["made"])
    assert "Not for clinical use" in card["intended_use"]


def test_weights_that_do_not_belong_to_the_card_are_refused(tmp_path: Path) -> None:
    path = save_encoder(tmp_path / "e.safetensors", small(), {})
    state = load_file(path)
    state["norm.bias"] += 1
    save_file(state, path)
    with pytest.raises(EncoderLoadError, match="do not belong together"):
        load_encoder(str(path))


def test_missing_and_unexpected_keys_are_counted(tmp_path: Path) -> None:
    path = save_encoder(tmp_path / "e.safetensors", small(), {})
    state = load_file(path)
    state["extra"] = state.pop("norm.bias")
    save_file(state, path)
    with pytest.raises(EncoderLoadError) as caught:
        load_encoder(str(path))
    assert "norm.bias" in caught.value.found
    assert "extra" in caught.value.found


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08" * 64])
def test_a_corrupt_file_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = save_encoder(tmp_path / "e.safetensors", small(), {})
    path.write_bytes(content)
    with pytest.raises(EncoderLoadError):
        load_encoder(str(path))


def test_a_missing_file_says_what_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(EncoderLoadError, match="timm:NAME"):
        load_encoder(str(tmp_path / "none.safetensors"))


def test_random_encoders_hang_on_their_seed(tmp_path: Path) -> None:
    path = save_encoder(tmp_path / "e.safetensors", small(), {})
    one, two, other = (
        encoder_sha256(load_encoder(f"random:{path}", seed=seed)) for seed in (1, 1, 2)
    )
    assert one == two != other


@pytest.mark.parametrize(
    "change",
    [
        {"pretrained": True},
        {"checkpoint_path": "somewhere.pth"},
        {"pretrained_cfg": {"url": "file:///x"}},
        {"model_name": "hf-hub:owner/name"},
        {"model_name": "local-dir:somewhere"},
        {"no_such_argument": 1},
    ],
)
def test_a_card_never_loads_anything(
    change: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_encoder(tmp_path / "encoder.safetensors", small(), {})
    card = json.loads(card_path(path).read_text())
    card["spec"]["timm"] |= change
    card_path(path).write_text(json.dumps(card))

    def asked(*_: object, **__: object) -> None:
        raise AssertionError("asked the hub or the network")

    monkeypatch.setattr("timm.models._hub.load_state_dict_from_hf", asked)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", asked)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", asked)
    for spec in (str(path), f"random:{path}"):
        with pytest.raises(VLPZooError):
            load_encoder(spec)

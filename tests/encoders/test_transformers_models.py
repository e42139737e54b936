from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from tests.encoders.tiny_hub import SIDE, SIZES, save_clip, save_vision
from tests.evaluation.stubs import BlockSource
from vlp_zoo.encoders.checkpoint import load_encoder, open_encoder, open_joint
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.encoders.publish import publish
from vlp_zoo.encoders.published.transformers_models import FAMILIES, TransformersEncoder
from vlp_zoo.errors import EncoderLoadError
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction, weights_sha256


def opened(folder: Path) -> TransformersEncoder:
    encoder = open_encoder(f"hf:{folder}")
    assert isinstance(encoder, TransformersEncoder)
    return encoder


@pytest.mark.parametrize("name", SIZES)
def test_every_family_gives_what_its_own_model_gives(tmp_path: Path, name: str) -> None:
    model = save_vision(tmp_path, name)
    encoder = opened(tmp_path)
    images = torch.randn(2, 3, SIDE, SIDE)
    output = encoder(images)
    pooling = FAMILIES[model.config.model_type]
    extra = {}
    if name == "ViTMAE":
        model.config.mask_ratio = 0.0
        extra["noise"] = torch.arange(16.0).expand(2, -1)
    with torch.no_grad():
        theirs = model(pixel_values=images, **extra)
    hidden = theirs.last_hidden_state
    places = hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden
    own = getattr(theirs, "pooler_output", None)
    wanted = {
        "token": lambda: hidden[:, 0],
        "mean": lambda: hidden[:, 0 if name == "IJepa" else 1 :].mean(1),
        "pooler": lambda: theirs.pooler_output.flatten(1),
        "own": lambda: (
            places[:, -len(output.tokens[0]) :].mean(1) if own is None else own
        ),
    }[pooling]()
    torch.testing.assert_close(output.pooled, wanted)
    h, w = output.grid
    patches = hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden
    torch.testing.assert_close(output.tokens, patches[:, -h * w :])
    assert encoder.width == output.pooled.shape[1]
    assert encoder.grid == output.grid
    # The deepest level is the last map, so row and column are not exchanged.
    pyramid = encoder.pyramid(images)
    assert [level.shape[1] for level in pyramid.levels] == encoder.level_channels()
    sizes = [level.shape[-1] for level in pyramid.levels]
    assert sizes == sorted(sizes, reverse=True)
    assert pyramid.levels[-1].shape[-2:] == (h, w)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_patches_of_a_masked_autoencoder_stay_in_place(tmp_path: Path) -> None:
    save_vision(tmp_path, "ViTMAE")
    encoder = opened(tmp_path)
    images = torch.zeros(1, 3, SIDE, SIDE)
    images[:, :, 8:16, 16:24] = 3.0
    changed = (encoder(images).tokens - encoder(torch.zeros_like(images)).tokens)[0]
    assert int(changed.norm(dim=1).argmax()) == 1 * 4 + 2
    assert torch.equal(encoder(images).tokens, encoder(images).tokens)


@pytest.mark.parametrize(
    ("recipe", "wanted"),
    [
        ({}, {"mean": [0.5] * 3, "std": [0.5] * 3, "resize": "squash"}),
        ({"image_mean": [0.1] * 3}, {"mean": [0.1] * 3}),
        ({"do_normalize": False}, {"mean": [0.0] * 3, "std": [1.0] * 3}),
        # x / 127.5 - 0.5, over 0.5: what a range of 0 to 2 asks for.
        ({"rescale_factor": 1 / 127.5}, {"mean": [0.25] * 3, "std": [0.25] * 3}),
        ({"resample": 3}, {"interpolation": "bicubic"}),
        ({"resample": 2}, {"interpolation": "bilinear"}),
    ],
)
def test_preprocessing_is_the_models_own(
    tmp_path: Path, recipe: dict[str, object], wanted: dict[str, object]
) -> None:
    save_vision(tmp_path, "ViT", **recipe)
    found = opened(tmp_path).preprocessing
    assert found["image_size"] == SIDE
    assert {key: found[key] for key in wanted} == wanted


def test_normalisation_equals_that_of_the_models_processor(tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    recipe = {"image_mean": [0.3, 0.4, 0.5], "image_std": [0.2, 0.3, 0.4]}
    save_vision(tmp_path, "ViT", rescale_factor=1 / 200, **recipe)
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    factory: Any = AutoImageProcessor
    theirs = factory.from_pretrained(tmp_path)(image, return_tensors="pt")
    encoder = opened(tmp_path)
    ours = encoder.prepare(torch.from_numpy(image.transpose(2, 0, 1))[None])
    torch.testing.assert_close(ours, theirs["pixel_values"], atol=1e-5, rtol=1e-5)


def test_cropping_recipes_keep_the_whole_image(tmp_path: Path) -> None:
    save_clip(tmp_path)
    assert opened(tmp_path).preprocessing["resize"] == "pad"


def test_features_go_through_the_cache(tmp_path: Path) -> None:
    save_vision(tmp_path, "Dinov2")
    source = BlockSource("train", 4)
    encoder = opened(tmp_path)
    extraction = Extraction(cache=FeatureCache(tmp_path / "cache"), progress=False)
    made = extraction.get(encoder, source)
    assert made.shape == (4, 16)
    assert source.read == 4
    again = extraction.get(opened(tmp_path), source)
    assert source.read == 4
    assert np.array_equal(made, again)
    fresh = encoder.random_copy(0)
    assert weights_sha256(fresh) != weights_sha256(encoder)
    assert weights_sha256(fresh) == weights_sha256(encoder.random_copy(0))
    assert weights_sha256(fresh) != weights_sha256(encoder.random_copy(1))


@pytest.mark.parametrize("name", ["CLIP", "Siglip"])
def test_a_pair_is_an_encoder_and_a_joint_space(tmp_path: Path, name: str) -> None:
    model = save_clip(tmp_path, name)
    encoder = opened(tmp_path)
    joint = open_joint(f"hf:{tmp_path}")
    assert joint is not None
    pixels = torch.randint(0, 256, (2, 1, SIDE, SIDE), dtype=torch.uint8)
    images = encoder.prepare(pixels)
    with torch.no_grad():
        tower = model.vision_model(pixel_values=images)
        torch.testing.assert_close(encoder(images).pooled, tower.pooler_output)
        projected = model.get_image_features(pixel_values=images).pooler_output
        mine = joint.embed_images(pixels)
    torch.testing.assert_close(mine, functional.normalize(projected, dim=-1))
    texts = ["there is edema .", "there is no effusion ."]
    length = 12 if name == "Siglip" else 7
    ids = torch.zeros(2, length, dtype=torch.int64)
    ids[0, :6] = torch.tensor([2, 4, 5, 7, 9, 3])
    ids[1, :7] = torch.tensor([2, 4, 5, 6, 8, 9, 3])
    mask = {} if name == "Siglip" else {"attention_mask": (ids > 0).long()}
    with torch.no_grad():
        wanted = model.get_text_features(input_ids=ids, **mask).pooler_output
        found = joint.embed_texts(texts)
        alone = joint.embed_texts(texts[:1])
    torch.testing.assert_close(found, functional.normalize(wanted, dim=-1))
    torch.testing.assert_close(found[:1], alone)
    assert joint.embed_patches(pixels) is None
    other = open_joint(f"hf:{tmp_path}")
    assert other is not None
    assert other.sha256 == joint.sha256
    with torch.no_grad():
        next(other.model.parameters()).add_(1)
    del other.__dict__["sha256"]
    assert other.sha256 != joint.sha256


@pytest.mark.parametrize("name", ["CLIP", "ViT", "ResNet"])
def test_other_processes_can_be_handed_a_model(tmp_path: Path, name: str) -> None:
    if name == "CLIP":
        save_clip(tmp_path, name)
        joint: Any = open_joint(f"hf:{tmp_path}")
        pixels = torch.randint(0, 256, (2, 1, SIDE, SIDE), dtype=torch.uint8)
        with torch.no_grad():
            mine = joint.embed_images(pixels), joint.embed_texts(["edema ."])
            twin = pickle.loads(pickle.dumps(joint))
            theirs = twin.embed_images(pixels), twin.embed_texts(["edema ."])
        torch.testing.assert_close(mine, theirs)
    else:
        save_vision(tmp_path, name)
    encoder = opened(tmp_path)
    images = torch.randn(2, 3, SIDE, SIDE)
    levels = encoder.pyramid(images).levels
    for twin in (pickle.loads(pickle.dumps(encoder)), copy.deepcopy(encoder), encoder):
        # All depths again: the hooks that collect them are back.
        again = twin.pyramid(images).levels
        assert len(again) == len(levels) > 1
        assert all(torch.equal(*each) for each in zip(again, levels, strict=True))


def test_an_image_model_has_no_joint_space(tmp_path: Path) -> None:
    save_vision(tmp_path, "ViT")
    assert open_joint(f"hf:{tmp_path}") is None
    assert open_joint("random:micro") is None


def test_it_cannot_start_a_training(tmp_path: Path) -> None:
    with pytest.raises(EncoderLoadError, match="can be evaluated only"):
        load_encoder(f"hf:{tmp_path}")


def test_weights_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    save_vision(tmp_path, "ViT")
    path = tmp_path / "model.safetensors"
    whole = load_file(path)
    kept = {key: value for key, value in whole.items() if "layernorm_after" not in key}
    save_file({**kept, "strange": torch.zeros(1)}, path, {"format": "pt"})
    with pytest.raises(EncoderLoadError, match=r"4 missing.*1 unexpected \(strange\)"):
        open_encoder(f"hf:{tmp_path}")
    # A classifier and an absent pooler are no part of the encoder.
    bare = {key: value for key, value in whole.items() if "pooler" not in key}
    save_file({**bare, "classifier.weight": torch.zeros(2)}, path, {"format": "pt"})
    assert opened(tmp_path).width == 16


def test_what_is_missing_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(EncoderLoadError, match=r"config\.json"):
        open_encoder(f"hf:{tmp_path}")
    save_vision(tmp_path, "ViT")
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(EncoderLoadError, match=r"preprocessor_config\.json"):
        open_encoder(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(EncoderLoadError, match="a model of type bert"):
        open_encoder(f"hf:{tmp_path}")
    save_vision(tmp_path, "ViT", size={"height": 16, "width": 16})
    with pytest.raises(EncoderLoadError, match="16 x 16"):
        open_encoder(f"hf:{tmp_path}")


def test_siglip_of_flexible_size_reads_patches_in_their_order(tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    model = save_clip(tmp_path, "Siglip2")
    encoder = opened(tmp_path)
    assert encoder.image_size == SIDE
    assert encoder.preprocessing["resize"] == "pad"
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    factory: Any = AutoImageProcessor
    theirs = factory.from_pretrained(tmp_path)(image, return_tensors="pt")
    with torch.no_grad():
        wanted = model.vision_model(**theirs).pooler_output
        projected = model.get_image_features(**theirs).pooler_output
        pixels = torch.from_numpy(image.transpose(2, 0, 1))[None]
        found = encoder(encoder.prepare(pixels)).pooled
        joint: Any = open_joint(f"hf:{tmp_path}")
        mine = joint.embed_images(pixels)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        mine, functional.normalize(projected, dim=-1), atol=1e-4, rtol=1e-4
    )


def test_a_type_that_is_not_listed_is_pooled_by_a_rule_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_vision(tmp_path, "Data2VecVision")
    monkeypatch.delitem(FAMILIES, "data2vec-vision")
    encoder = opened(tmp_path)
    assert "type data2vec-vision, of which nothing is known" in caplog.text
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        hidden = model(pixel_values=images).last_hidden_state
        torch.testing.assert_close(encoder(images).pooled, hidden[:, 1:].mean(1))


def test_a_beit_without_a_trained_pooler_is_pooled_by_its_patches(
    tmp_path: Path,
) -> None:
    model = save_vision(tmp_path, "Beit")
    path = tmp_path / "model.safetensors"
    whole = load_file(path)
    bare = {key: value for key, value in whole.items() if "pooler" not in key}
    assert len(bare) < len(whole)
    save_file(bare, path, {"format": "pt"})
    encoder = opened(tmp_path)
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        hidden = model(pixel_values=images).last_hidden_state
        torch.testing.assert_close(encoder(images).pooled, hidden[:, 1:].mean(1))
    assert torch.isfinite(encoder.random_copy(0)(images).pooled).all()


def test_a_folder_of_timm_is_a_plain_encoder(tmp_path: Path) -> None:
    encoder = ImageEncoder("tiny_resnet", 32).eval()
    publish(encoder, {}, tmp_path, name="tiny")
    found: Any = open_encoder(f"hf:{tmp_path}")
    assert isinstance(found, ImageEncoder)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(found(images).pooled, encoder(images).pooled)

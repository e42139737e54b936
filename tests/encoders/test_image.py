from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch

from vlp_zoo.encoders.image import (
    IMAGE_PRESETS,
    ImageEncoder,
    patchify,
    sincos_table,
)
from vlp_zoo.encoders.weight_files import check_keys
from vlp_zoo.errors import ConfigError, EncoderLoadError, UnknownNameError


def permutations(batch: int, patches: int) -> torch.Tensor:
    return torch.stack([torch.randperm(patches) for _ in range(batch)])


@pytest.mark.parametrize("name", ["micro", "tiny", "tiny_resnet"])
@pytest.mark.parametrize("pooling", ["token", "avg"])
def test_output_has_the_promised_shapes(name: str, pooling: str) -> None:
    encoder = ImageEncoder(name, pooling=pooling).eval()
    size, (h, w) = encoder.image_size, encoder.grid
    output = encoder(torch.randn(2, 3, size, size))
    assert output.pooled.shape == (2, encoder.width)
    assert output.tokens.shape == (2, h * w, encoder.width)
    assert output.grid == (h, w)
    last = output.levels[-1]
    assert torch.equal(last.flatten(2).transpose(1, 2), output.tokens)
    sides = [level.shape[-1] for level in output.levels]
    assert sides == sorted(sides, reverse=True)


def test_average_pooling_is_the_mean_of_the_tokens() -> None:
    encoder = ImageEncoder("micro", pooling="avg").eval()
    output = encoder(torch.randn(2, 3, 32, 32))
    assert torch.allclose(output.pooled, output.tokens.mean(1), atol=1e-6)


@pytest.mark.parametrize("name", ["micro", "tiny_hybrid", "tiny_resnet"])
def test_weights_load_into_stock_timm_and_a_rebuilt_encoder(name: str) -> None:
    encoder = ImageEncoder(name, pooling="avg", drop_path=0.1).eval()
    stock = timm.create_model(**encoder.spec["timm"])
    stock.load_state_dict(encoder.timm.state_dict(), strict=True)
    again = ImageEncoder.from_spec(encoder.spec).eval()
    again.load_weights(encoder.timm.state_dict(), "memory")
    assert again.spec == encoder.spec
    images = torch.randn(1, 3, encoder.image_size, encoder.image_size)
    assert torch.equal(again(images).pooled, encoder(images).pooled)


@pytest.mark.parametrize("name", ["micro", "tiny_hybrid"])
def test_visible_patches_equal_embedding_all_and_gathering(name: str) -> None:
    encoder = ImageEncoder(name, 32, embed_dim=48, depth=3, num_heads=3).eval()
    images = torch.randn(2, 3, 32, 32)
    order = permutations(2, 16)
    whole = encoder(images).tokens
    visible = encoder.encode_visible(images, order)[:, 1:]
    index = order[..., None].expand_as(whole)
    assert torch.allclose(visible, whole.gather(1, index), atol=1e-5)


@pytest.mark.parametrize("name", ["micro", "tiny_hybrid"])
def test_hidden_patches_do_not_leak(name: str) -> None:
    encoder = ImageEncoder(name, 32).eval()
    images = torch.randn(1, 3, 32, 32)
    keep = torch.tensor([[0, 5, 10, 14]])  # the last two touch patch 15
    before = encoder.encode_visible(images, keep)
    images[..., 24:, 24:] = 9.0  # patch 15
    assert torch.equal(encoder.encode_visible(images, keep), before)
    images[..., :8, :8] = 9.0  # patch 0
    assert not torch.equal(encoder.encode_visible(images, keep), before)


def test_patchify_views_a_grey_plane_without_a_copy() -> None:
    grey = torch.arange(64.0).view(1, 1, 8, 8)
    patches = patchify(grey.expand(-1, 3, -1, -1), 4)
    assert patches.data_ptr() == grey.data_ptr()
    assert torch.equal(patches[0, 1, 0, 2], grey[0, 0, 4:, :4])


def test_position_table_by_a_loop() -> None:
    for formula, divisor in (("mae", 4), ("ecamp", 16)):
        table = sincos_table((2, 3), 16, formula)
        assert not table[0, 0].any()
        for row in range(2):
            for column in range(3):
                expected = []
                for position in (column, row):
                    angles = [position * 10000 ** -(i / divisor) for i in range(4)]
                    expected += [*np.sin(angles), *np.cos(angles)]
                got = table[0, 1 + row * 3 + column]
                assert np.allclose(got.numpy(), expected, atol=1e-6)
    with pytest.raises(ValueError, match="width"):
        sincos_table((2, 2), 6)


def test_prepare_resizes_expands_and_normalises() -> None:
    encoder = ImageEncoder("micro", mean=[0.5] * 3, std=[0.25] * 3)
    grey = torch.full((2, 1, 64, 64), 255, dtype=torch.uint8)
    prepared = encoder.prepare(grey)
    assert prepared.shape == (2, 3, 32, 32)
    assert torch.allclose(prepared, torch.tensor(2.0), atol=1e-5)
    assert torch.equal(encoder.prepare(grey), encoder.prepare(grey.float() / 255))


def test_unknown_names_and_bad_sizes_say_what_to_do() -> None:
    with pytest.raises(UnknownNameError, match="tiny"):
        ImageEncoder("tyni")
    with pytest.raises(ConfigError, match="use 96"):
        ImageEncoder("tiny", 100)
    with pytest.raises(ConfigError, match="ViT"):
        ImageEncoder("tiny_resnet").require_maskable()
    with pytest.raises(ConfigError, match="use 96"):
        ImageEncoder("tiny_hybrid", 100)
    with pytest.raises(EncoderLoadError, match="spec"):
        ImageEncoder.from_spec({"timm": {}})


def test_keys_that_do_not_fit_are_counted_and_named() -> None:
    encoder = ImageEncoder("micro")
    state = dict(encoder.timm.state_dict())
    state["strange"] = state.pop("norm.weight")
    state["cls_token"] = torch.zeros(1, 1, 7)
    with pytest.raises(EncoderLoadError) as caught:
        check_keys(encoder.timm.state_dict(), state, "a test")
    message = str(caught.value)
    assert "1 missing (norm.weight)" in message
    assert "1 unexpected (strange)" in message
    assert "1 of another shape (cls_token" in message


def test_presets_are_real_names() -> None:
    for preset in IMAGE_PRESETS.values():
        assert timm.is_model(preset["model_name"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilevit_xxs", "levit_128s", "fastvit_t8"])
def test_networks_with_vit_in_their_names_are_no_plain_vits(name: str) -> None:
    encoder = ImageEncoder(name).eval()
    assert not encoder.is_vit
    side = encoder.image_size
    output = encoder(torch.zeros(1, 3, side, side))
    assert output.pooled.shape == (1, encoder.width)
    assert output.grid == encoder.grid


@pytest.mark.slow
def test_a_window_needs_the_size_it_was_made_for() -> None:
    assert ImageEncoder("maxvit_rmlp_pico_rw_256").image_size == 256
    assert ImageEncoder("resnet10t").image_size == 224


@pytest.mark.parametrize(
    ("name", "width", "tokens"),
    [
        ("resnet18", 512, "level"),
        pytest.param("densenet121", 1024, "level", marks=pytest.mark.slow),
        pytest.param("regnetx_002", 368, "level", marks=pytest.mark.slow),
        ("convnext_atto", 320, "level"),
        ("swin_tiny_patch4_window7_224", 768, "level"),
        pytest.param("maxvit_pico_rw_256", 256, "level", marks=pytest.mark.slow),
        ("efficientnet_b0", 1280, "final"),
        pytest.param("hrnet_w18_small", 2048, "final", marks=pytest.mark.slow),
        pytest.param("fastvit_t8", 768, "final", marks=pytest.mark.slow),
        ("mobilenetv3_small_050", 1024, "head"),
        pytest.param(
            "mobilenetv4_conv_small_035", 1280, "head", marks=pytest.mark.slow
        ),
        pytest.param("vgg11", 4096, "head", marks=pytest.mark.slow),
        pytest.param("ghostnet_050", 1280, "head", marks=pytest.mark.slow),
        pytest.param("mambaout_femto", 1152, "head", marks=pytest.mark.slow),
        ("vit_tiny_r_s16_p8_224", 192, "level"),
        pytest.param("beit_base_patch16_224", 768, "level", marks=pytest.mark.slow),
    ],
)
def test_pooled_and_tokens_are_as_wide_as_promised(
    name: str, width: int, tokens: str
) -> None:
    with torch.device("meta"):
        encoder = ImageEncoder(name).eval()
        side = encoder.image_size
        output = encoder(torch.zeros(2, 3, side, side))
    assert encoder.shapes.tokens == tokens
    assert encoder.width == width
    assert output.pooled.shape == (2, width)
    assert output.grid == encoder.grid
    assert output.tokens.shape == (2, encoder.grid[0] * encoder.grid[1], width)
    if not encoder.is_vit:
        channels = [level.shape[1] for level in output.levels]
        assert encoder.level_channels() == channels[-4:]


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "mambaout_femto"])
def test_a_token_is_what_an_image_of_one_place_is_pooled_to(name: str) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(name, 32).eval()
    with torch.no_grad():
        output = encoder(torch.randn(2, 3, 32, 32))
    # At 32 px there is one place, so it is the image.
    assert output.grid == (1, 1)
    assert torch.allclose(output.tokens[:, 0], output.pooled, atol=1e-5)


def test_tokens_leave_the_statistics_of_a_head_alone() -> None:
    encoder = ImageEncoder("mobilenetv4_conv_small_035", 64).train()
    norm: Any = encoder.timm.norm_head
    encoder(torch.randn(4, 3, 64, 64))
    assert norm.training
    assert int(norm.num_batches_tracked) == 1


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        ("vit_medium_patch16_gap_240", "avg"),
        pytest.param("vit_medium_patch16_reg4_gap_256", "avg", marks=pytest.mark.slow),
        ("vit_base_patch16_siglip_224", "map"),
        pytest.param("vit_base_patch16_siglip_gap_224", "avg", marks=pytest.mark.slow),
        pytest.param("vit_relpos_small_patch16_224", "avg", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("wanted", ["token", "avg"])
def test_vits_without_a_class_token_pool_as_they_were_made(
    name: str, pooling: str, wanted: str
) -> None:
    with torch.device("meta"):
        encoder = ImageEncoder(name, pooling=wanted).eval()
        side = encoder.image_size
        output = encoder(torch.zeros(1, 3, side, side))
        again = ImageEncoder.from_spec(encoder.spec)
    assert encoder.pooling == pooling
    assert output.pooled.shape == (1, encoder.width)
    assert again.spec == encoder.spec


def test_the_pooling_of_deits_is_the_one_asked_for() -> None:
    encoder = ImageEncoder("deit_tiny_patch16_224", 32, pooling="avg", depth=1).eval()
    output = encoder(torch.randn(1, 3, 32, 32))
    assert torch.allclose(output.pooled, output.tokens.mean(1), atol=1e-6)
    distilled = ImageEncoder("deit_tiny_distilled_patch16_224", 32, pooling="avg")
    assert distilled.pooling == "token"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("swin_tiny_patch4_window7_224", 256),
        pytest.param("eva02_tiny_patch14_224", 252, marks=pytest.mark.slow),
        pytest.param("beit_base_patch16_224", 256, marks=pytest.mark.slow),
        pytest.param("maxvit_pico_rw_256", 224, marks=pytest.mark.slow),
        pytest.param("hiera_tiny_224", 256, marks=pytest.mark.slow),
    ],
)
def test_networks_of_a_fixed_size_are_made_for_another(name: str, size: int) -> None:
    with torch.device("meta"):
        encoder = ImageEncoder(name, size).eval()
        output = encoder(torch.zeros(1, 3, size, size))
        again = ImageEncoder.from_spec(encoder.spec)
    assert encoder.spec["timm"]["img_size"] == encoder.image_size == size
    assert output.grid == encoder.grid
    assert again.spec == encoder.spec


def test_sizes_that_a_network_cannot_read_are_refused_with_those_that_it_can() -> None:
    with pytest.raises(ConfigError, match=r"(?s)image_size=224.*use .*256"):
        ImageEncoder("bat_resnext26ts", 224)


def test_measuring_draws_no_numbers_and_changes_no_state() -> None:
    torch.manual_seed(5)
    encoder = ImageEncoder("mobilenetv4_conv_small_035", 64)
    torch.manual_seed(5)
    stock = timm.create_model("mobilenetv4_conv_small_035", num_classes=0)
    assert encoder.training
    for name, tensor in stock.state_dict().items():
        assert torch.equal(tensor, encoder.timm.state_dict()[name]), name


def test_a_network_is_asked_once_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ImageEncoder("micro", 96)

    def draft(arguments: object) -> torch.nn.Module:
        raise RuntimeError("asked again")

    monkeypatch.setattr("vlp_zoo.encoders.timm_shapes._draft", draft)
    again = ImageEncoder("micro", 96)
    assert (again.spec, again.shapes) == (first.spec, first.shapes)
    assert again.spec["timm"] is not first.spec["timm"]
    with pytest.raises(RuntimeError, match="asked again"):
        ImageEncoder("micro", 160)

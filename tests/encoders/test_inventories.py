"""Inventories of released files at their real sizes; no weight takes memory.

The names are spelt out here where they are the point of a layout, and taken from the
library that wrote the file (torchvision, transformers, timm) where it still writes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
import timm
import torch
from torch import Tensor
from torchvision.models import densenet121, resnet50
from transformers import SwinConfig, SwinModel

from tests.encoders.test_official_networks import (
    arkplus_names,
    cxrclip_swin_names,
    evax_names,
    under,
)
from vlp_zoo.encoders.published.official import network_of
from vlp_zoo.encoders.weight_files import check_keys

State = dict[str, Tensor]


def meta(shapes: Mapping[str, tuple[int, ...]]) -> State:
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def dino_blocks(width: int, depth: int) -> dict[str, tuple[int, ...]]:
    """Tensors that the blocks of DINOv2 and DINOv3 share."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(depth):
        for name, out, into in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            shapes[f"blocks.{i}.{name}.weight"] = (out, into)
            shapes[f"blocks.{i}.{name}.bias"] = (out,)
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            shapes[f"blocks.{i}.{name}"] = (width,)
        shapes[f"blocks.{i}.ls1.gamma"] = shapes[f"blocks.{i}.ls2.gamma"] = (width,)
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    return shapes


HEADS = {
    f"{head}.{key}": shape
    for head in ("dino_head", "ibot_head")
    for key, shape in {
        "mlp.0.weight": (2048, 1024),
        "mlp.0.bias": (2048,),
        "last_layer.weight": (65536, 256),
    }.items()
}


def retfound_dinov2() -> State:
    shapes = {
        "cls_token": (1, 1, 1024),
        "pos_embed": (1, 257, 1024),
        "mask_token": (1, 1024),
        "patch_embed.proj.weight": (1024, 3, 14, 14),
        "patch_embed.proj.bias": (1024,),
        **dino_blocks(1024, 24),
    }
    return under("backbone.", meta(shapes)) | meta(HEADS)


def retfound_dinov3() -> State:
    shapes = {
        "cls_token": (1, 1, 1024),
        "storage_tokens": (1, 4, 1024),
        "mask_token": (1, 1024),
        "patch_embed.proj.weight": (1024, 3, 16, 16),
        "patch_embed.proj.bias": (1024,),
        **dino_blocks(1024, 24),
        **{f"blocks.{i}.attn.qkv.bias_mask": (3072,) for i in range(24)},
    }
    periods = {"rope_embed.periods": torch.tensor([100 ** (i / 16) for i in range(16)])}
    return under("backbone.", meta(shapes) | periods) | meta(HEADS)


def carzero() -> State:
    with torch.device("meta"):
        network = timm.create_model("vit_base_patch16_224", num_classes=0)
    rest = {
        "CARZero.text_encoder.model.embeddings.word_embeddings.weight": (28996, 768)
    }
    rest["CARZero.fusion_module.mlp_head.0.weight"] = (768, 768)
    return under("CARZero.img_encoder.model.", network.state_dict()) | meta(rest)


CXRCLIP = {
    "text_encoder.text_encoder.embeddings.word_embeddings.weight": (28996, 768),
    "text_projection.projection.weight": (512, 768),
    "image_projection.projection.weight": (512, 768),
    "logit_scale": (),
}


def cxrclip() -> State:
    with torch.device("meta"):
        state = resnet50().state_dict()
    state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    return under("image_encoder.resnet.", state) | meta(CXRCLIP)


def cxrclip_swin() -> State:
    config = SwinConfig(
        embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7
    )
    with torch.device("meta"):
        return cxrclip_swin_names(SwinModel(config)) | meta(CXRCLIP)


def arkplus() -> State:
    depths = (2, 2, 18, 2)
    with torch.device("meta"):
        network = timm.create_model(
            "swin_base_patch4_window7_224",
            img_size=768,
            window_size=12,
            embed_dim=192,
            depths=depths,
            num_heads=(6, 12, 24, 48),
        )
        state = arkplus_names(network)
    state = {key: t for key, t in state.items() if not key.startswith("head.")}
    shapes: dict[str, tuple[int, ...]] = {}
    for stage, depth in enumerate(depths):
        windows = (768 // 4 // 2**stage // 12) ** 2
        for block in range(depth):
            name = f"layers.{stage}.blocks.{block}"
            shapes[f"{name}.attn.relative_position_index"] = (144, 144)
            if block % 2:
                shapes[f"{name}.attn_mask"] = (windows, 144, 144)
    shapes |= {"projector.weight": (1376, 1536), "projector.bias": (1376,)}
    for number, classes in enumerate((14, 14, 14, 3, 6, 1)):
        shapes[f"omni_heads.{number}.weight"] = (classes, 1376)
        shapes[f"omni_heads.{number}.bias"] = (classes,)
    shapes |= {"head.weight": (1000, 1536), "head.bias": (1000,)}
    return under("module.", state | meta(shapes))


def evax() -> State:
    with torch.device("meta"):
        network = timm.create_model(
            "eva02_base_patch14_224",
            num_classes=0,
            img_size=224,
            patch_size=16,
            ref_feat_shape=(14, 14),
        )
        return evax_names(network)


def xrv() -> State:
    with torch.device("meta"):
        network = densenet121(num_classes=18)
    state: State = network.state_dict()
    state["features.conv0.weight"] = torch.empty(64, 1, 7, 7, device="meta")
    return state | meta({"op_threshs": (18,)})


INVENTORIES: dict[str, tuple[Callable[[], State], int, int, tuple[int, int, float]]] = {
    "retfound_dinov2": (retfound_dinov2, 349, 342, (224, 1024, 303.2)),
    "retfound_dinov3": (retfound_dinov3, 374, 366, (224, 1024, 303.1)),
    "carzero": (carzero, 152, 150, (224, 768, 85.8)),
    "cxrclip": (cxrclip, 322, 318, (224, 2048, 23.5)),
    "cxrclip_swin": (cxrclip_swin, 235, 171, (224, 768, 27.5)),
    "arkplus": (arkplus, 379, 327, (768, 1536, 195.2)),
    "evax": (evax, 237, 234, (224, 768, 85.9)),
    "xrv": (xrv, 728, 725, (224, 1024, 7.0)),
}
"""Layout to its state, how many tensors it has and how many are the encoder's under
timm's names, and the encoder's side in pixels, width and millions of weights."""


@pytest.mark.slow
@pytest.mark.parametrize("layout", INVENTORIES)
def test_released_inventories_are_read_whole(layout: str) -> None:
    make, total, kept, sizes = INVENTORIES[layout]
    state = make()
    with torch.device("meta"):
        encoder, found = network_of(layout, state, layout)
    check_keys(encoder.timm.state_dict(), found, layout)
    weights = sum(math.prod(tensor.shape) for tensor in encoder.timm.parameters())
    made = (encoder.image_size, encoder.width, round(weights / 1e6, 1))
    assert (len(state), len(found), made) == (total, kept, sizes)

"""Networks of official checkpoints that are neither plain ViTs nor ResNets.

Each function names the encoder's tensors as timm does and says with which arguments
timm builds the network of their sizes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vlp_zoo.errors import EncoderLoadError

__all__ = ["FAMILIES", "VIT_HEADS", "dinov2_names", "refuse_family"]

VIT_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
"""Width to attention heads, which no weight reveals; other widths: 64 per head."""

State = dict[str, Tensor]
Plan = tuple[State, dict[str, Any]]
"""Tensors under timm's names, and arguments of `ImageEncoder`."""


def densenet(state: Mapping[str, Tensor]) -> Plan:
    """A DenseNet of torchvision or torchxrayvision; one grey channel becomes three.

    Three equal channels through a third of the weights each are the grey one.
    """
    found: State = {}
    for key, tensor in state.items():
        # Files of before 2018 have norm.1 for norm1.
        found[re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", key)] = tensor
    first = found["features.conv0.weight"]
    if first.shape[1] == 1:
        found["features.conv0.weight"] = first.expand(-1, 3, -1, -1) / 3
    layers = [
        len(
            {k.split(".")[2] for k in found if k.startswith(f"features.denseblock{i}.")}
        )
        for i in range(1, 5)
    ]
    growth = len(found["features.denseblock1.denselayer1.conv2.weight"])
    arguments = {"block_config": layers, "growth_rate": growth}
    return found, {"name": "densenet121", **arguments}


def swin(state: Mapping[str, Tensor]) -> Plan:
    """A Swin of timm before 0.8, which merges patches at the end of a stage."""
    masks = {key: t for key, t in state.items() if key.endswith("attn_mask")}
    return _swin(
        {
            _merging(key): tensor
            for key, tensor in state.items()
            if key not in masks and not key.endswith("relative_position_index")
        },
        masks,
    )


SWIN_WORDS = (
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("embeddings.norm.", "patch_embed.norm."),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("attention.self.relative", "attn.relative"),
    ("attention.output.dense.", "attn.proj."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
)
"""Parts of a tensor's name in transformers, and in timm."""


def swin_names(state: Mapping[str, Tensor]) -> State:
    """A Swin as transformers 4 names it, under timm's names.

    Query, key and value become one matrix.
    """
    found: State = {}
    for key, tensor in state.items():
        if key.endswith("relative_position_index"):
            continue
        apart = re.fullmatch(r"(.+\.attention\.self\.)(query|key|value)(\.\w+)", key)
        if apart and apart[2] != "query":
            continue
        if apart:
            names = [apart[1] + part + apart[3] for part in ("query", "key", "value")]
            tensor = torch.cat([state[name] for name in names])
            key = key.replace("attention.self.query.", "attn.qkv.")
        for theirs, ours in SWIN_WORDS:
            key = key.replace(theirs, ours)
        key = re.sub(r"^layernorm\.", "norm.", key.removeprefix("encoder."))
        found[_merging(key)] = tensor
    return found


def swin_of_transformers(state: Mapping[str, Tensor]) -> Plan:
    """A Swin as transformers 4 has it."""
    return _swin(swin_names(state), {})


def _merging(key: str) -> str:
    """The name of a layer that merges patches: timm has it at the next stage."""
    stage = re.match(r"layers\.(\d+)\.downsample\.", key)
    if stage is None:
        return key
    return f"layers.{int(stage[1]) + 1}.downsample." + key[stage.end() :]


def _swin(found: State, masks: Mapping[str, Tensor]) -> Plan:
    """Sizes of a Swin under timm's names.

    The image side is in the masks of the shifted windows alone. Without them it is 224
    for windows of 7 and 768 for windows of 12, as Ark+ was released.
    """
    table = "attn.relative_position_bias_table"
    tables = {key: t for key, t in found.items() if key.endswith(table)}
    depths = [
        len({k.split(".")[3] for k in tables if k.startswith(f"layers.{i}.")})
        for i in range(4)
    ]
    first = tables[f"layers.0.blocks.0.{table}"]
    heads = [tables[f"layers.{i}.blocks.0.{table}"].shape[1] for i in range(4)]
    window = (math.isqrt(first.shape[0]) + 1) // 2
    side = {12: 768}.get(window, 32 * window)
    for key, mask in masks.items():
        pixels = found["patch_embed.proj.weight"].shape[-1] << int(key.split(".")[1])
        side = math.isqrt(mask.shape[0]) * window * pixels
    return found, {
        "name": "swin_base_patch4_window7_224",
        "image_size": side,
        "embed_dim": len(found["patch_embed.proj.weight"]),
        "depths": depths,
        "num_heads": heads,
        "window_size": window,
    }


def eva(state: Mapping[str, Tensor]) -> Plan:
    """An EVA-02 as EVA-X writes it, whose last norm pools as timm's ``fc_norm`` does."""
    found: State = {}
    words = (
        *(("mlp.ffn_ln.", "mlp.norm."), ("mlp.w12.", "mlp.fc1.")),
        *(
            ("mlp.w1.", "mlp.fc1_g."),
            ("mlp.w2.", "mlp.fc1_x."),
            ("mlp.w3.", "mlp.fc2."),
        ),
    )
    apart = any(".q_proj." in key for key in state)
    for key, tensor in state.items():
        if "rope" in key:
            continue
        for theirs, ours in words:
            key = key.replace(theirs, ours)
        if apart:
            key = key.replace("q_bias", "q_proj.bias").replace("v_bias", "v_proj.bias")
        found[re.sub(r"^norm\.", "fc_norm.", key)] = tensor
    scaled = any(".mlp.norm." in key for key in found)
    for key in [key for key in found if ".mlp.fc1_g." in key and not scaled]:
        other = key.replace("fc1_g", "fc1_x")
        joined = torch.cat([found.pop(key), found.pop(other)])
        found[key.replace("fc1_g", "fc1")] = joined
    projection, positions = found["patch_embed.proj.weight"], found["pos_embed"]
    width, patch = int(projection.shape[0]), int(projection.shape[-1])
    side = math.isqrt(positions.shape[1] - 1)
    return found, {
        "name": "eva02_base_patch14_224" if apart else "eva02_tiny_patch14_224",
        "image_size": side * patch,
        "patch_size": patch,
        "embed_dim": width,
        "depth": len({k.split(".")[1] for k in found if k.startswith("blocks.")}),
        "num_heads": VIT_HEADS.get(width, max(width // 64, 1)),
        "mlp_ratio": found["blocks.0.mlp.fc2.weight"].shape[1] / width,
        "qkv_fused": not apart,
        "scale_mlp": scaled,
        "ref_feat_shape": [side, side],
    }


def dinov2_names(state: Mapping[str, Tensor]) -> State:
    """DINOv2's names as timm's: blocks in chunks are numbered through."""
    return {
        re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key): tensor
        for key, tensor in state.items()
    }


ROPE_BASE = 100.0
"""Base of the rotary positions of every released DINOv3."""


def dinov3(state: Mapping[str, Tensor]) -> Plan:
    """A DINOv3 of facebookresearch/dinov3 with a plain MLP, pooled by its class token.

    The key's bias is masked away there (``mask_k_bias``), so it is left out whatever
    the file has at its place; the mask itself is not read, as in RETFound's code. timm
    computes the rotary periods in float32, where released files hold them rounded to
    bfloat16.

    Raises:
        EncoderLoadError: If the periods are of another base than `ROPE_BASE`.
    """
    found: State = {}
    for key, tensor in state.items():
        if key.endswith(("rope_embed.periods", "attn.qkv.bias_mask")):
            continue
        if key.endswith("attn.qkv.bias"):
            stem = key.removesuffix("qkv.bias")
            found[f"{stem}q_bias"], _, found[f"{stem}v_bias"] = tensor.chunk(3)
            continue
        key = re.sub(r"\.ls([12])\.gamma$", r".gamma_\1", key)
        found["reg_token" if key == "storage_tokens" else key] = tensor
    periods = state["rope_embed.periods"].tolist()
    wanted = [ROPE_BASE ** (i / len(periods)) for i in range(len(periods))]
    pairs = zip(periods, wanted, strict=True)
    if not all(math.isclose(*pair, rel_tol=0.01) for pair in pairs):
        raise EncoderLoadError(
            f"rotary periods of base {ROPE_BASE:g}, as all released DINOv3 have",
            f"{periods[0]:.4g} to {periods[-1]:.4g}",
            "this network cannot be built here; evaluate it with its own code",
        )
    projection = found["patch_embed.proj.weight"]
    width = int(projection.shape[0])
    return found, {
        "name": "vit_large_patch16_dinov3_qkvb",
        "patch_size": int(projection.shape[-1]),
        "embed_dim": width,
        "depth": len({k.split(".")[1] for k in found if k.startswith("blocks.")}),
        # Each head has four coordinates (sine and cosine of two axes) per period.
        "num_heads": width // (4 * len(periods)),
        "mlp_ratio": found["blocks.0.mlp.fc1.weight"].shape[0] / width,
        "num_reg_tokens": found["reg_token"].shape[1],
        "qkv_bias": "blocks.0.attn.q_bias" in found,
        "global_pool": "token",
    }


LITE_STAGES = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of each stage of EfficientNet-Lite0, which its files number through."""

LITE_PARTS = {
    "_depthwise_conv": "conv_dw",
    "_expand_conv": "conv_pw",
    "_project_conv": "conv_pwl",
    "_bn0": "bn1",
    "_bn1": "bn2",
    "_bn2": "bn3",
}
LITE_FIRST = {"_depthwise_conv": "conv_dw", "_project_conv": "conv_pw"}
LITE_FIRST |= {"_bn1": "bn1", "_bn2": "bn2"}
"""Parts of a block in the files, and in timm; the first block has no expansion."""

LITE_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1"}
LITE_ENDS |= {"_conv_head": "conv_head", "_bn1": "bn2"}


def efficientnet_lite(state: Mapping[str, Tensor]) -> Plan:
    """An EfficientNet-Lite0 as its port from TensorFlow names it."""
    places = [
        f"blocks.{stage}.{block}"
        for stage, blocks in enumerate(LITE_STAGES)
        for block in range(blocks)
    ]
    found: State = {}
    for key, tensor in state.items():
        part, _, rest = key.partition(".")
        if part != "_blocks":
            found[f"{LITE_ENDS[part]}.{rest}"] = tensor
            continue
        number, part, rest = rest.split(".", 2)
        parts = LITE_PARTS if int(number) else LITE_FIRST
        found[f"{places[int(number)]}.{parts[part]}.{rest}"] = tensor
    return found, {"name": "tf_efficientnet_lite0"}


FAMILIES: dict[str, tuple[frozenset[str], Callable[[Mapping[str, Tensor]], Plan]]] = {
    "densenet": (
        frozenset({"features.conv0.weight", "features.norm5.weight"}),
        densenet,
    ),
    "swin": (
        frozenset(
            {
                "patch_embed.proj.weight",
                "layers.0.blocks.0.attn.relative_position_bias_table",
                "layers.3.blocks.0.attn.relative_position_bias_table",
            }
        ),
        swin,
    ),
    "swin_of_transformers": (
        frozenset(
            {
                "embeddings.patch_embeddings.projection.weight",
                "encoder.layers.0.blocks.0.attention.self.query.weight",
                "encoder.layers.3.blocks.0.attention.self.query.weight",
            }
        ),
        swin_of_transformers,
    ),
    "dinov3": (
        frozenset(
            {
                "patch_embed.proj.weight",
                "storage_tokens",
                "rope_embed.periods",
                "blocks.0.mlp.fc1.weight",
            }
        ),
        dinov3,
    ),
    "efficientnet_lite": (
        frozenset({"_conv_stem.weight", "_blocks.15._bn2.weight", "_conv_head.weight"}),
        efficientnet_lite,
    ),
    "eva": (
        frozenset({"patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.w3.weight"}),
        eva,
    ),
}
"""Family of a layout to tensors that mark it, and to its function."""


def refuse_family(family: str, error: Exception, origin: str) -> EncoderLoadError:
    """The error for weights that bear a family's marks and are none of it."""
    return EncoderLoadError(
        f"a whole {family} in {origin}", f"{error!r}"[:200], "download the file again"
    )

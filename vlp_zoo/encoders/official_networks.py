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
    """A Swin of timm before 0.8, which merges patches at the end of a stage.

    The image side is not in the weights: 224 for windows of 7, 768 for windows of 12,
    as Ark+ was released.
    """
    found: State = {}
    for key, tensor in state.items():
        if key.endswith(("relative_position_index", "attn_mask")):
            continue
        stage = re.match(r"layers\.(\d+)\.downsample\.", key)
        if stage:
            key = f"layers.{int(stage[1]) + 1}.downsample." + key[stage.end() :]
        found[key] = tensor
    table = "attn.relative_position_bias_table"
    tables = {key: t for key, t in found.items() if key.endswith(table)}
    depths = [
        len({k.split(".")[3] for k in tables if k.startswith(f"layers.{i}.")})
        for i in range(4)
    ]
    first = tables[f"layers.0.blocks.0.{table}"]
    heads = [tables[f"layers.{i}.blocks.0.{table}"].shape[1] for i in range(4)]
    window = (math.isqrt(first.shape[0]) + 1) // 2
    return found, {
        "name": "swin_base_patch4_window7_224",
        "image_size": {12: 768}.get(window, 32 * window),
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

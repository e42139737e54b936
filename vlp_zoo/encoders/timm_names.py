"""What is known of a network by its name alone: presets, families of timm, sizes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import timm
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vlp_zoo.errors import ConfigError, UnknownNameError

__all__ = ["IMAGE_PRESETS", "check_name", "check_size", "refuse_loading", "usual_size"]

IMAGE_PRESETS: dict[str, dict[str, Any]] = {
    "micro": {
        "model_name": "vit_base_patch16_224",
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
    },
    "tiny": {
        "model_name": "vit_base_patch16_224",
        "img_size": 112,
        "patch_size": 8,
        "embed_dim": 192,
        "depth": 4,
        "num_heads": 3,
    },
    "tiny_hybrid": {
        "model_name": "vit_tiny_r_s16_p8_224",
        "img_size": 112,
        "patch_size": 2,  # of the stem's map, which has a quarter of the side
        "depth": 4,
    },
    "small": {"model_name": "vit_small_patch16_224"},
    "base": {"model_name": "vit_base_patch16_224"},
    "tiny_resnet": {"model_name": "resnet10t", "img_size": 112},
}
"""Short name to timm arguments: ``micro`` for tests, ``tiny`` for a CPU, ``tiny_hybrid`` the
same behind a convolution."""


def check_name(name: str) -> None:
    """Refuse what timm does not know.

    Raises:
        UnknownNameError: With the nearest names.
    """
    # A name with a colon is a place on disk or on the hub, which timm would read.
    if ":" not in name and timm.is_model(name.partition(".")[0]):
        return
    names = [*IMAGE_PRESETS, *timm.list_models()]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    raise UnknownNameError(
        f"an image encoder called {name!r}",
        f"presets {', '.join(IMAGE_PRESETS)} and {len(names)} names of timm",
        f"did you mean {' or '.join(near)}?" if near else "see timm.list_models()",
    )


LOADING = frozenset(
    {
        *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_tag"),
        *("checkpoint_path", "cache_dir", "model_name_or_path"),
    }
)
"""Arguments of timm that read files or download."""


def refuse_loading(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that would load weights: those are named by an encoder's spec.

    Raises:
        ConfigError: With the names of such arguments.
    """
    found = sorted(LOADING & arguments.keys())
    if found:
        raise ConfigError(
            "arguments that say how a network is built",
            f"{', '.join(found)}, which say what is loaded",
            "leave them out, and name weights as in vlpzoo info encoders",
        )


def usual_size(name: str, network: nn.Module) -> int:
    """The side of the images that a network is made for by default, in pixels.

    Args:
        name: Name of the network in timm.
        network: A draft of it. A plain ViT is made for any side: 224, the usual one.
    """
    recipe = timm.get_pretrained_cfg(name.partition(".")[0])
    plain = isinstance(network, VisionTransformer)
    if plain or recipe is None or not recipe.fixed_input_size:
        return 224
    return int(recipe.input_size[-1])


STEM_STRIDE = 4
"""Pixels of a place on the map of a hybrid's stem, of which its patches are cut."""


def check_size(size: int, arguments: Mapping[str, Any]) -> None:
    """Refuse a side that a ViT cannot cut into whole patches.

    Args:
        size: Side of the images.
        arguments: Arguments of ``timm.create_model``.

    Raises:
        ConfigError: With the nearest side that fits.
    """
    name = arguments["model_name"]
    digits = name.partition("_patch")[2].partition("_")[0]
    patch = arguments.get("patch_size") or (int(digits) if digits.isdigit() else 1)
    if stem := re.search(r"_r_s\d+_p(\d+)_", name):
        patch = STEM_STRIDE * (arguments.get("patch_size") or int(stem[1]))
    if size < patch or size % patch:
        raise ConfigError(
            f"an image size that is a multiple of the {patch} px patches of {name}",
            f"image_size={size}",
            f"use {max(round(size / patch), 1) * patch}",
        )

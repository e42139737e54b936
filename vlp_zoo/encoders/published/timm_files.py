"""``timm:NAME@FILE`` and ``timm:local-dir:DIR``: weights of timm's networks on disk.

A file holds the state dict of a network alone: timm's own, torchvision's where the
names are the same (ResNets, DenseNets, ...), or what a training script saved. A folder
is what timm saves for the hub and what ``vlpzoo export`` writes. Nothing is downloaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from torch import Tensor

from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.encoders.specs import WEIGHTS
from vlp_zoo.encoders.timm_names import IMAGE_PRESETS, check_name
from vlp_zoo.encoders.weight_files import read_checkpoint
from vlp_zoo.errors import EncoderLoadError

__all__ = ["LOCAL", "load_folder", "load_named"]

LOCAL = "local-dir:"
CLASSIFIERS = ("fc", "head.fc", "head", "classifier", "head_dist", "last_linear")
"""Names of classifiers, beside the one that timm states for a network."""


def load_named(name: str, path: Path) -> ImageEncoder:
    """A network of timm with the weights of a file.

    Pixels are normalised as timm says for the name, tag included; a file says nothing
    of it.

    Args:
        name: Name of a network of timm, or a preset.
        path: The weights, without or with a classifier, which is left out.

    Raises:
        UnknownNameError: If timm does not know the name.
        EncoderLoadError: If the file cannot be read or its weights do not fit.
    """
    known = str(IMAGE_PRESETS.get(name, {}).get("model_name", name))
    check_name(known)
    recipe = timm.get_pretrained_cfg(known)
    mean = list(recipe.mean) if recipe else None
    std = list(recipe.std) if recipe else None
    encoder = ImageEncoder(name, mean=mean, std=std)
    _fill(encoder, path)
    return encoder


def load_folder(folder: Path) -> ImageEncoder:
    """A network of timm from ``config.json`` and the weights beside it.

    Args:
        folder: A folder that ``timm.create_model("local-dir:DIR", pretrained=True)``
            reads.

    Raises:
        EncoderLoadError: If one of the files is missing, damaged, or does not fit.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        name = str(config["architecture"])
        arguments = dict(config.get("model_args") or {})
        recipe = dict(config["pretrained_cfg"])
        size, mean, std = recipe["input_size"][-1], recipe["mean"], recipe["std"]
        size, mean, std = int(size), [float(m) for m in mean], [float(s) for s in std]
    except FileNotFoundError as error:
        raise EncoderLoadError(
            f"timm's config.json in {folder}",
            "no such file",
            "give a folder that timm or vlpzoo export wrote; a folder of transformers "
            "is hf:DIR",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise EncoderLoadError(
            f"architecture and pretrained_cfg in {path}",
            f"{type(error).__name__}: {error}",
            "restore the file that timm or vlpzoo export wrote",
        ) from error
    found = [folder / file for file in WEIGHTS if (folder / file).is_file()]
    if not found:
        raise EncoderLoadError(
            f"weights beside {path}",
            f"neither {' nor '.join(WEIGHTS)}",
            "copy the whole folder",
        )
    pooling = arguments.get("global_pool") or recipe.get("pool", "token")
    arguments.pop("img_size", None)
    arguments.pop("num_classes", None)
    spec = {
        "timm": {"model_name": name, **arguments},
        "image_size": size,
        "pooling": pooling if pooling in ("token", "avg", "map") else "token",
        "mean": mean,
        "std": std,
    }
    encoder = ImageEncoder.from_spec(spec)
    _fill(encoder, found[0])
    return encoder


def _fill(encoder: ImageEncoder, path: Path) -> None:
    state = read_checkpoint(path)
    expected: Mapping[str, Tensor] = encoder.timm.state_dict()
    own: Any = getattr(encoder.timm, "pretrained_cfg", {}).get("classifier") or ()
    names = {*CLASSIFIERS, *((own,) if isinstance(own, str) else own)}
    heads = tuple(f"{name}." for name in names)
    kept = {
        key: tensor
        for key, tensor in state.items()
        if key in expected or not key.startswith(heads)
    }
    encoder.load_weights(
        {k: v.float() if v.is_floating_point() else v for k, v in kept.items()},
        str(path),
    )

"""Encoder files: what pre-training leaves behind, and the door every encoder enters by.

An encoder is two files: ``NAME.safetensors`` holds the weights under timm's own
keys, and ``NAME.json`` beside it is the card: how to rebuild the network, how to
prepare pixels for it, and where it comes from. A stock timm model of the card's
``timm`` entry loads the weights with ``strict=True``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from vlp_zoo.encoders.identity import encoder_sha256, provenance, state_sha256
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.encoders.published.timm_files import LOCAL, load_folder, load_named
from vlp_zoo.encoders.specs import forms, split_spec
from vlp_zoo.encoders.wheels import wheel_path
from vlp_zoo.errors import EncoderLoadError
from vlp_zoo.files import write_whole
from vlp_zoo.reading import parse_json

if TYPE_CHECKING:
    from vlp_zoo.encoders.published.adapted import AdaptedJoint

__all__ = [
    "FORMAT",
    "card_path",
    "file_is_whole",
    "load_encoder",
    "open_encoder",
    "open_joint",
    "read_card",
    "save_encoder",
]

FORMAT = 1
"""Version of the card's layout; older files stay readable, newer ones are refused."""


def card_path(weights: Path) -> Path:
    """The card that belongs to a weights file."""
    return weights.with_suffix(".json")


def save_encoder(
    path: Path,
    encoder: ImageEncoder,
    card: dict[str, Any],
    weights: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write an encoder's weights and card.

    Args:
        path: Weights file, ending in ``.safetensors``.
        encoder: The encoder to write.
        card: What is known of it: method, config, data, steps, licence of the data.
        weights: Those of ``encoder.timm``, where it holds a part of them only.

    Returns:
        ``path``.
    """
    if weights is None:
        weights = encoder.timm.state_dict()
    state = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in weights.items()
    }
    write_whole(path, save(state, {"format": "pt"}))
    full = {
        "format": FORMAT,
        "spec": encoder.spec,
        "preprocessing": encoder.preprocessing,
        "sha256": state_sha256(state),
        **card,
        "made": provenance(),
        "intended_use": "Research. Not for clinical use.",
    }
    text = json.dumps(full, indent=2, sort_keys=True, default=str) + "\n"
    write_whole(card_path(path), text)
    return path


def file_is_whole(path: Path, sha256: str) -> bool:
    """Whether an encoder file and its card are there and both hold these weights.

    Args:
        path: Weights file.
        sha256: `encoder_sha256` of the weights.
    """
    try:
        return (
            read_card(path).get("sha256") == sha256
            and state_sha256(load_file(path)) == sha256
        )
    except (EncoderLoadError, SafetensorError, OSError):
        return False


def read_card(weights: Path) -> dict[str, Any]:
    """The card of an encoder file.

    Raises:
        EncoderLoadError: If it is missing, not JSON, or of a newer format.
    """
    path = card_path(weights)
    if not path.is_file():
        raise EncoderLoadError(
            f"the card {path}",
            "no such file",
            "keep NAME.safetensors and NAME.json together",
        )
    try:
        card = parse_json(path.read_text(encoding="utf-8"), finite=False)
    except (ValueError, OSError) as error:
        raise EncoderLoadError(
            f"a JSON card in {path}", str(error), "export the encoder again"
        ) from error
    if (
        not isinstance(card, dict)
        or not isinstance(card.get("spec"), dict)
        or not isinstance(card.get("format", 0), int)
        or not isinstance(card.get("sha256", ""), str)
    ):
        raise EncoderLoadError(
            f"an encoder card in {path}", "other JSON", "export the encoder again"
        )
    if card.get("format", 0) > FORMAT:
        raise EncoderLoadError(
            f"a card of format {FORMAT} or older in {path}",
            f"format {card['format']}",
            "update vlp-zoo",
        )
    return card


def _load_file(path: Path) -> ImageEncoder:
    if not path.is_file():
        raise EncoderLoadError(
            f"an encoder file {path}", "no such file", f"give one of: {forms()}"
        )
    card = read_card(path)
    encoder = ImageEncoder.from_spec(card["spec"])
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise EncoderLoadError(
            f"safetensors weights in {path}", str(error), "export the encoder again"
        ) from error
    encoder.load_weights(state, str(path))
    if (found := encoder_sha256(encoder)) != card.get("sha256", found):
        raise EncoderLoadError(
            f"weights {card['sha256'][:12]} (as the card says) in {path}",
            f"weights {found[:12]}",
            "the two files do not belong together: export the encoder again",
        )
    return encoder


def load_encoder(spec: str, seed: int = 0) -> ImageEncoder:
    """Load an encoder that is built around a timm network.

    Such encoders can start a training and be exported; for evaluation `open_encoder`
    takes every kind.

    Args:
        spec: One of `vlp_zoo.encoders.specs.SPECS`, not ``hf:`` and not ``open_clip:``.
        seed: Seeds the weights of ``random:``.

    Returns:
        The encoder in eval mode, on the CPU, without gradients.

    Raises:
        EncoderLoadError: With counts and keys where weights do not fit, or if the
            encoder is of another kind or cannot be downloaded.
    """
    kind, rest = split_spec(spec)
    if kind == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if rest.endswith(".safetensors"):
                encoder = ImageEncoder.from_spec(read_card(Path(rest))["spec"])
            else:
                encoder = ImageEncoder(rest)
    elif kind == "timm" and rest.startswith(LOCAL):
        encoder = load_folder(Path(rest.removeprefix(LOCAL)))
    elif kind == "timm" and "@" in rest:
        name, _, path = rest.partition("@")
        encoder = load_named(name, Path(path))
    elif kind == "timm":
        _require_timm(rest)
        encoder = ImageEncoder(rest, pretrained=True)
    elif kind in ("official", "wheel"):
        from vlp_zoo.encoders.published.official import load_official

        # A wheel bears the name of the layout of its file.
        layout, _, path = rest.partition(":") if kind == "official" else (rest, "", "")
        path = path or wheel_path(spec)
        encoder = load_official(layout, Path(path))
    elif kind:
        raise EncoderLoadError(
            "an encoder around a timm network",
            f"{spec}, which can be evaluated only",
            "give FILE.safetensors, timm:, random:, wheel: or official:",
        )
    else:
        encoder = _load_file(Path(spec))
    return encoder.eval().requires_grad_(False)


def _require_timm(name: str) -> None:
    """Refuse at once a timm model whose weights cannot be had."""
    import timm

    from vlp_zoo.encoders.hub import is_cached, require_hub
    from vlp_zoo.encoders.image import IMAGE_PRESETS

    name = str(IMAGE_PRESETS.get(name, {}).get("model_name", name))
    found = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    repo = getattr(found, "hf_hub_id", None)
    if not repo or getattr(found, "file", None):
        # Names that are not known have an error of their own; a few have other homes.
        return
    files = [getattr(found, "hf_hub_filename", None), *TIMM_FILES]
    if not is_cached(repo, [file for file in files if file]):
        require_hub(repo, f"weights for timm:{name}")


TIMM_FILES = ("model.safetensors", "pytorch_model.bin")


def open_encoder(spec: str, seed: int = 0) -> nn.Module:
    """Any encoder, ready for evaluation.

    Args:
        spec: One of `vlp_zoo.encoders.specs.SPECS`.
        seed: Seeds the weights of ``random:``.

    Returns:
        A module in eval mode, on the CPU, without gradients: ``preprocessing``, and
        `EncoderOutput` from normalised images.

    Raises:
        EncoderLoadError: With counts and keys where weights do not fit, or if they
            cannot be downloaded.
        DependencyNotFoundError: If open_clip or MONAI is asked for and not installed.
    """
    kind, rest = split_spec(spec)
    if kind == "hf":
        from vlp_zoo.encoders.published import transformers_models

        return transformers_models.load_vision(rest).eval().requires_grad_(False)
    if kind == "open_clip":
        from vlp_zoo.encoders.published import open_clip_models

        return open_clip_models.load_vision(rest).eval().requires_grad_(False)
    if kind == "monai":
        from vlp_zoo.encoders.references import ReferenceNetwork

        return ReferenceNetwork(rest)
    if kind == "official" and rest.startswith("medklip:"):
        from vlp_zoo.encoders.published.medklip import load_medklip

        path = Path(rest.partition(":")[2])
        return load_medklip(path).eval().requires_grad_(False)
    return load_encoder(spec, seed)


def open_joint(spec: str) -> AdaptedJoint | None:
    """The space that images and texts share in a published model.

    Args:
        spec: One of `vlp_zoo.encoders.specs.SPECS`.

    Returns:
        None where the model has one tower, and for all kinds but ``hf:`` and
        ``open_clip:``; runs of this package have theirs in the checkpoint.

    Raises:
        EncoderLoadError: If the encoder cannot be loaded, see `open_encoder`.
        DependencyNotFoundError: If open_clip is asked for and not installed.
    """
    kind, rest = split_spec(spec)
    if kind == "hf":
        from vlp_zoo.encoders.published import transformers_models

        return transformers_models.load_joint(rest)
    if kind == "open_clip":
        from vlp_zoo.encoders.published import open_clip_models

        return open_clip_models.load_joint(rest)
    return None

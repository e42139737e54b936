"""``open_clip:NAME[/PRETRAINED]``: image towers and joint spaces of open_clip.

open_clip is not a requirement: it is imported when such an encoder is asked for. Names
are those of ``open_clip.list_models()``, or ``hf-hub:OWNER/REPO`` as BiomedCLIP has it.
Written against mlfoundations/open_clip, which names the parts used here ``visual``,
``visual.trunk`` (a timm model) or ``visual.proj`` and ``visual.output_tokens``,
``encode_image``, ``encode_text``, ``get_tokenizer`` and ``get_model_preprocess_cfg``.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from vlp_zoo.encoders.hub import is_cached, one_line, require_hub
from vlp_zoo.encoders.published.adapted import AdaptedEncoder, AdaptedJoint, Look
from vlp_zoo.errors import DependencyNotFoundError, EncoderLoadError

__all__ = ["OpenClipEncoder", "OpenClipJoint", "load_joint", "load_vision"]

HUB = "hf-hub:"
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.safetensors",
)
RULES = {"shortest": "pad", "longest": "pad", "squash": "squash"}
"""How open_clip resizes to ours; images are not cropped here, see `hf:`."""


class OpenClipEncoder(AdaptedEncoder):
    """The image tower of an open_clip model, before its projection.

    Args:
        network: The tower, ``model.visual``.
        preprocessing: How images are prepared, see `AdaptedEncoder`.
        origin: For messages.
    """

    def __init__(
        self, network: nn.Module, preprocessing: Mapping[str, Any], origin: str
    ) -> None:
        super().__init__(_tower(network, origin), preprocessing, origin)

    def look(self, images: Tensor, deep: bool) -> Look:
        """See `AdaptedEncoder.look`; a timm tower has all depths, others the last."""
        network: Any = self.network
        if hasattr(network, "output_tokens"):
            pooled, tokens = network(images)
            return Look(pooled, tokens)
        if deep:
            tokens, depths = network.forward_intermediates(images)
        else:
            tokens, depths = network.forward_features(images), ()
        pooled = network.forward_head(tokens, pre_logits=True)
        return Look(pooled, tokens, tuple(depths))

    def fresh(self) -> nn.Module:
        """See `AdaptedEncoder.fresh`."""
        # open_clip cannot make a model of the hub without its weights.
        made = copy.deepcopy(self.network)
        for part in made.modules():
            _draw_again(part)
        return made


class OpenClipJoint(AdaptedJoint):
    """The space of an open_clip model.

    Args:
        model: Both towers.
        preprocessing: How images are prepared, see `AdaptedEncoder`.
        tokenizer: Texts to (B, T) ids.
        name: Name of the model; it decides the tokenizer.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Mapping[str, Any],
        tokenizer: Any,
        name: str,
    ) -> None:
        self._tokenizer = tokenizer
        super().__init__(model, preprocessing, name)

    def project_images(self, images: Tensor) -> Tensor:
        """See `AdaptedJoint.project_images`."""
        model: Any = self.model
        found: Tensor = model.encode_image(images)
        return found

    def project_texts(self, texts: list[str]) -> Tensor:
        """See `AdaptedJoint.project_texts`."""
        model: Any = self.model
        found: Tensor = model.encode_text(self._tokenizer(texts).to(self.device))
        return found


def load_vision(place: str) -> OpenClipEncoder:
    """The image tower of a model.

    Args:
        place: ``NAME``, ``NAME/PRETRAINED`` or ``hf-hub:OWNER/REPO``.

    Raises:
        DependencyNotFoundError: If open_clip is not installed.
        EncoderLoadError: If the model cannot be had or has no known image tower.
    """
    model, _ = _load(place)
    return OpenClipEncoder(model.visual, _preprocessing(model, place), place)


def load_joint(place: str) -> OpenClipJoint:
    """The space that images and texts share in a model; see `load_vision`."""
    model, name = _load(place)
    tokenizer = _open_clip().get_tokenizer(name)
    return OpenClipJoint(model, _preprocessing(model, place), tokenizer, name)


def _open_clip() -> Any:
    try:
        return importlib.import_module("open_clip")
    except ImportError as error:
        raise DependencyNotFoundError(
            "the package open_clip, for open_clip: encoders",
            str(error),
            "pip install open_clip_torch",
        ) from error


def _load(place: str) -> tuple[Any, str]:
    module = _open_clip()
    if place.startswith(HUB):
        name, tag = place, ""
        repo = place.removeprefix(HUB)
        if not is_cached(repo, WEIGHTS):
            require_hub(repo, f"weights for open_clip:{place}")
    else:
        name, _, tag = place.partition("/")
    if not tag and not place.startswith(HUB):
        raise EncoderLoadError(
            f"pretrained weights in open_clip:{place}",
            "an architecture alone",
            f"write open_clip:{name}/PRETRAINED; open_clip.list_pretrained() lists them",
        )
    try:
        model = module.create_model(name, pretrained=tag or None)
    except (RuntimeError, OSError, ValueError) as error:
        raise EncoderLoadError(
            f"the open_clip model {place}",
            one_line(error),
            "check the name, the tag and the connection",
        ) from error
    return model.eval(), name


def _tower(visual: Any, origin: str) -> nn.Module:
    """The part of ``visual`` that yields features, not yet projected."""
    if hasattr(visual, "trunk"):
        trunk: nn.Module = visual.trunk
        return trunk
    if not hasattr(visual, "output_tokens"):
        raise EncoderLoadError(
            f"a ViT or a timm network as the image tower of {origin}",
            f"a {type(visual).__name__}",
            "use another open_clip model",
        )
    tower: Any = copy.deepcopy(visual)
    tower.output_tokens = True
    if hasattr(tower, "proj"):
        tower.proj = None
    found: nn.Module = tower
    return found


def _draw_again(part: nn.Module) -> None:
    """New values for the weights that a part itself holds, by its own rule if it has one.

    Tables of tokens and positions have none and get deviation 0.02, scales get 1.
    """
    for name in ("reset_parameters", "_reset_parameters"):
        draw = getattr(part, name, None)
        if callable(draw):
            draw()
            return
    for parameter in part.parameters(recurse=False):
        if parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=0.02)
        else:
            nn.init.ones_(parameter)


def _preprocessing(model: Any, place: str) -> dict[str, Any]:
    found = dict(_open_clip().get_model_preprocess_cfg(model))
    size = found["size"]
    sides = list(size) if isinstance(size, list | tuple) else [size, size]
    if sides[0] != sides[-1]:
        raise EncoderLoadError(
            f"square images in the preprocessing of {place}",
            f"{sides}",
            "use a model of square images",
        )
    return {
        "image_size": int(sides[0]),
        "mean": [float(m) for m in found["mean"]],
        "std": [float(s) for s in found["std"]],
        "channels": 3,
        "resize": RULES.get(str(found.get("resize_mode", "shortest")), "pad"),
        "interpolation": str(found.get("interpolation", "bicubic")),
    }

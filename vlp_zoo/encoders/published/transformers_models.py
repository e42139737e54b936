"""``hf:REPO_OR_DIR``: vision models of the transformers library, and CLIP-like pairs.

Preprocessing comes from the model's own ``preprocessor_config.json``: size, mean,
deviation, filter, and whether the aspect is kept. Images are never cropped here: where
the model's own recipe resizes the short side and crops, the whole image is padded to a
square instead, so that nothing at its border is lost.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vlp_zoo.encoders.hub import one_line, require_hub
from vlp_zoo.encoders.image import ImageEncoder, patchify
from vlp_zoo.encoders.published.adapted import (
    AdaptedEncoder,
    AdaptedJoint,
    Look,
    square,
)
from vlp_zoo.encoders.published.timm_files import load_folder
from vlp_zoo.encoders.weight_files import misfits
from vlp_zoo.errors import EncoderLoadError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["FAMILIES", "PAIRS", "TransformersEncoder", "load_joint", "load_vision"]

logger = logging.getLogger(__name__)

FAMILIES: dict[str, str] = {
    "vit": "token",
    "deit": "token",
    "dinov2": "token",
    "dinov2_with_registers": "token",
    "dinov3_vit": "token",
    "vit_msn": "token",
    "vit_mae": "mean",
    "ijepa": "mean",
    "resnet": "pooler",
    "regnet": "pooler",
    "convnext": "pooler",
    "convnextv2": "pooler",
    "dinov3_convnext": "pooler",
    "efficientnet": "pooler",
    "mobilenet_v1": "pooler",
    "mobilenet_v2": "pooler",
    "mobilevit": "pooler",
    "swin": "pooler",
    "swinv2": "pooler",
    "focalnet": "pooler",
    "clip_vision_model": "pooler",
    "siglip_vision_model": "pooler",
    "siglip2_vision_model": "pooler",
    "beit": "own",
    "data2vec-vision": "own",
    "hiera": "own",
    "pvt_v2": "own",
    "poolformer": "own",
}
"""Model type to pooling: the class token, the mean of the patches (as for MAE's own
layout, whose class token is not trained), what the network itself pools, or that where
the file holds its weights, else the mean of the patches. The last is also the pooling of
types that are not listed, which a line says."""

PAIRS = ("clip", "siglip", "siglip2")
"""Model types with two towers."""

MAPS = (
    *("resnet", "convnext", "convnextv2", "swin", "swinv2"),
    *("regnet", "dinov3_convnext", "focalnet", "hiera", "pvt_v2", "poolformer"),
    *("efficientnet", "mobilenet_v1", "mobilenet_v2", "mobilevit"),
)
"""Model types whose depths have different scales."""

BLOCKS = ("efficientnet", "mobilenet_v1", "mobilenet_v2")
"""Those that yield a map for every block: the last of each scale is its level."""

TIMM = "timm_wrapper"
"""Model type of timm's own files."""

HEADS = re.compile(
    r"^(classifier|cls_classifier|distillation_classifier|decoder|lm_head)\."
    r"|(^|\.)mask_token$|^logit_(scale|bias)$|position_ids$"
)
"""Weights that a file may hold beyond those of the encoder: heads, MAE's decoder, and
position numbers that old releases stored."""

FILTERS = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers; others become bicubic."""


class _Portable(nn.Module):
    """Around models of transformers, so that other processes can be handed them.

    The library watches layers by hooks that cannot be pickled, and puts them there
    with the first call. They are taken off, to be put there again with the next one.
    """

    def __getstate__(self) -> dict[str, Any]:
        for module in self.modules():
            hooks = module._forward_hooks
            for key, hook in list(hooks.items()):
                if hook.__module__.startswith("transformers."):
                    del hooks[key]
            if getattr(module, "_output_capturing_hooks_installed", False):
                setattr(module, "_output_capturing_hooks_installed", False)  # noqa: B010
        return dict(self.__dict__)


class TransformersEncoder(_Portable, AdaptedEncoder):
    """A vision model of transformers.

    Args:
        network: Loaded model, or image tower.
        preprocessing: How images are prepared, see `AdaptedEncoder`.
        origin: For messages.
    """

    def __init__(
        self, network: PreTrainedModel, preprocessing: Mapping[str, Any], origin: str
    ) -> None:
        kind = str(network.config.model_type)
        self.pooling = FAMILIES.get(kind, "own")
        self.hierarchical = kind in MAPS
        if self.pooling in ("token", "mean") and hasattr(network, "pooler"):
            # Not asked, and often not in the file, so its weights would be random.
            network.pooler = None  # type: ignore[assignment]
        super().__init__(network, preprocessing, origin)

    def look(self, images: Tensor, deep: bool) -> Look:
        """See `AdaptedEncoder.look`."""
        network: Any = self.network
        kind = network.config.model_type
        extra = _inputs(images, network.config)
        if kind == "vit_mae":
            # Without noise in rising order the patches would come shuffled.
            count = network.embeddings.patch_embeddings.num_patches
            order = torch.arange(count, device=images.device, dtype=torch.float32)
            extra["noise"] = order.expand(len(images), -1)
        output = network(output_hidden_states=deep, **extra)
        tokens = output.last_hidden_state
        depths: tuple[Tensor, ...] = ()
        if deep:
            # The first of hidden_states is the embedding, before any layer.
            shaped = getattr(output, "reshaped_hidden_states", None)
            depths = tuple((shaped or output.hidden_states)[1:])
        if kind in BLOCKS:
            depths = tuple({depth.shape[-2:]: depth for depth in depths}.values())
        if self.pooling == "token":
            return Look(tokens[:, 0], tokens, depths)
        pooled = (
            None if self.pooling == "mean" else getattr(output, "pooler_output", None)
        )
        if pooled is None:
            pooled = square(tokens)[0].mean(1)
        return Look(pooled, tokens, depths)

    def fresh(self) -> nn.Module:
        """See `AdaptedEncoder.fresh`."""
        old: Any = self.network
        new: nn.Module = type(old)(old.config)
        if getattr(old, "pooler", None) is None and hasattr(new, "pooler"):
            new.pooler = None  # type: ignore[assignment]
        return new


class TransformersJoint(_Portable, AdaptedJoint):
    """The space of a CLIP or SigLIP.

    Args:
        model: Both towers.
        preprocessing: How images are prepared, see `AdaptedEncoder`.
        tokenizer: The model's own.
    """

    def __init__(
        self, model: PreTrainedModel, preprocessing: Mapping[str, Any], tokenizer: Any
    ) -> None:
        text: Any = model.config.text_config
        self._tokenizer = tokenizer
        self._settings: dict[str, Any] = {
            "truncation": True,
            "max_length": int(text.max_position_embeddings),
            # SigLIP was trained on texts padded to the full length, without a mask.
            "padding": "max_length" if "siglip" in model.config.model_type else True,
        }
        words = f"{sorted(tokenizer.get_vocab().items())} {self._settings}"
        super().__init__(model, preprocessing, words)

    def project_images(self, images: Tensor) -> Tensor:
        """See `AdaptedJoint.project_images`."""
        model: Any = self.model
        inputs = _inputs(images, model.config.vision_config)
        return _vector(model.get_image_features(**inputs))

    def project_texts(self, texts: list[str]) -> Tensor:
        """See `AdaptedJoint.project_texts`."""
        model: Any = self.model
        batch = self._tokenizer(texts, return_tensors="pt", **self._settings)
        moved = {"input_ids": batch["input_ids"].to(self.device)}
        if self._settings["padding"] is True:
            moved["attention_mask"] = batch["attention_mask"].to(self.device)
        return _vector(model.get_text_features(**moved))


def _inputs(images: Tensor, config: Any) -> dict[str, Tensor]:
    """What a vision model is called with.

    SigLIP 2 of flexible size reads patches: (B, P, patch * patch * 3), row by row, and
    how many there are along each side.
    """
    if config.model_type != "siglip2_vision_model":
        return {"pixel_values": images}
    patches = patchify(images, int(config.patch_size))
    batch, rows, columns = patches.shape[:3]
    flat = patches.permute(0, 1, 2, 4, 5, 3).reshape(batch, rows * columns, -1)
    return {
        "pixel_values": flat,
        "pixel_attention_mask": flat.new_ones(flat.shape[:2], dtype=torch.int64),
        "spatial_shapes": torch.tensor([[rows, columns]], device=images.device).expand(
            batch, -1
        ),
    }


def _vector(output: Any) -> Tensor:
    """Features of any transformers release: a tensor, or what holds it."""
    found: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return found


def load_vision(place: str) -> TransformersEncoder | ImageEncoder:
    """The vision model, or the image tower, at a place.

    Args:
        place: A folder, or the hub name of a repository. A folder of timm's gives a
            plain `ImageEncoder`.

    Raises:
        EncoderLoadError: If it is not there, of a kind that is not known, not whole, or
            without preprocessing.
    """
    if _kind(place) == TIMM:
        if not Path(place).is_dir():
            raise EncoderLoadError(
                f"a model of transformers in {place}",
                "a model of timm",
                "name it by timm:NAME; vlpzoo info encoders shows how",
            )
        return load_folder(Path(place))
    model = _load(place)
    recipe = _preprocessing(place, model)
    if model.config.model_type in PAIRS:
        tower: Any = model
        model = tower.vision_model
    return TransformersEncoder(model, recipe, place)


def load_joint(place: str) -> TransformersJoint | None:
    """The space that images and texts share at a place; None for an image model.

    Args:
        place: A folder, or the hub name of a repository.

    Raises:
        EncoderLoadError: If the model or its tokenizer is missing, of a kind that is
            not known, or not whole.
    """
    from transformers import AutoTokenizer

    if _kind(place) not in PAIRS:
        return None
    model = _load(place)
    tokenizer = _from(place, AutoTokenizer, "tokenizer files")
    return TransformersJoint(model, _preprocessing(place, model), tokenizer)


def _kind(place: str) -> str:
    from transformers import AutoConfig

    return str(_from(place, AutoConfig, "a config.json").model_type)


def _sees(kind: str) -> bool:
    """Whether models of a type take images and nothing else."""
    from transformers import MODEL_MAPPING, AutoConfig

    if kind in (*FAMILIES, *PAIRS):
        return True
    try:
        found: Any = MODEL_MAPPING[type(AutoConfig.for_model(kind))]
    except (KeyError, ValueError, TypeError):
        return False
    return getattr(found, "main_input_name", "") == "pixel_values"


def _load(place: str) -> PreTrainedModel:
    from transformers import AutoModel

    kind = _kind(place)
    if not _sees(kind):
        raise EncoderLoadError(
            f"a vision model in {place}",
            f"a model of type {kind}",
            f"types that are read: {', '.join((*FAMILIES, *PAIRS))}, and others of "
            "images alone",
        )
    if kind not in (*FAMILIES, *PAIRS):
        logger.warning(
            "%s is a model of type %s, of which nothing is known here: pooled by itself "
            "if the file has the weights for it, else by the mean of its patches",
            *(place, kind),
        )
    extra = {"mask_ratio": 0.0} if kind == "vit_mae" else {}
    loaded, seen = _from(
        place,
        AutoModel,
        "weights",
        output_loading_info=True,
        dtype=torch.float32,
        **extra,
    )
    lost = [key for key in seen["missing_keys"] if key.startswith("pooler.")]
    strict = kind in PAIRS or FAMILIES.get(kind) == "pooler"
    missing = sorted(k for k in seen["missing_keys"] if strict or k not in lost)
    if lost and not strict:
        # Its weights would be random.
        loaded.pooler = None
    odd = sorted(key for key in seen["unexpected_keys"] if not HEADS.search(key))
    wrong = sorted(str(entry) for entry in seen["mismatched_keys"])
    if parts := misfits(
        {"missing": missing, "unexpected": odd, "of another shape": wrong}
    ):
        total = len(loaded.state_dict())
        raise EncoderLoadError(
            f"all {total} weights of a {kind} in {place}",
            f"{total - len(missing) - len(wrong)} matched, {', '.join(parts)}",
            "check that the weights belong to the config.json beside them",
        )
    model: PreTrainedModel = loaded
    return model


def _from(place: str, factory: Any, what: str, **options: Any) -> Any:
    """``factory.from_pretrained``: folder, else cache, else network."""
    folder = Path(place).is_dir()
    try:
        return factory.from_pretrained(place, local_files_only=True, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        if folder or isinstance(error, ImportError):
            raise _refused(place, what, error) from error
    require_hub(place, f"{what} for hf:{place}")
    try:
        return factory.from_pretrained(place, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise _refused(place, what, error) from error


def _refused(place: str, what: str, error: Exception) -> EncoderLoadError:
    return EncoderLoadError(
        f"{what} in {place}",
        one_line(error),
        "give a folder or repository with config.json, weights, "
        "preprocessor_config.json and, for texts, tokenizer files",
    )


def _preprocessing(place: str, model: PreTrainedModel) -> dict[str, Any]:
    from transformers import AutoImageProcessor

    recipe = _from(place, AutoImageProcessor, "a preprocessor_config.json").to_dict()
    if model.config.model_type == "siglip2":
        # Flexible sizes: as many patches as it takes, in a square.
        room = math.isqrt(int(recipe["max_num_patches"])) * int(recipe["patch_size"])
        recipe |= {"size": {"height": room, "width": room}, "do_center_crop": False}
    crops = bool(recipe.get("do_center_crop")) and bool(recipe.get("crop_size"))
    size = dict(recipe["crop_size" if crops else "size"])
    kept = "shortest_edge" in dict(recipe["size"])
    side = size.get("shortest_edge") or size.get("height")
    if not side or size.get("width", side) != side:
        raise EncoderLoadError(
            f"square images in the preprocessing of {place}",
            f"{size}",
            "use a model of square images",
        )
    # Pixels run from 0 to 1 here; a model may want another range before its mean.
    scale = 255.0 * float(recipe["rescale_factor"]) if recipe["do_rescale"] else 255.0
    normal = bool(recipe.get("do_normalize", True))
    mean = list(recipe["image_mean"]) if normal else [0.0] * 3
    std = list(recipe["image_std"]) if normal else [1.0] * 3
    return {
        "image_size": int(side),
        "mean": [round(float(m) / scale, 10) for m in mean],
        "std": [round(float(s) / scale, 10) for s in std],
        "channels": 3,
        "resize": "pad" if kept or model.config.model_type == "siglip2" else "squash",
        "interpolation": FILTERS.get(int(recipe.get("resample", 3)), "bicubic"),
    }

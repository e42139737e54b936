"""Checkpoints of other code bases: which keys they hold, and what those are here.

`vlp_zoo.encoders.layouts.LAYOUTS` lists what is known of each file format. Reading is
strict: every key is either an image encoder's, or one of the parts that the layout says
to leave out, or an error with counts and names.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from torch import Tensor

from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.encoders.layouts import LAYOUTS, Layout
from vlp_zoo.encoders.published.networks import (
    FAMILIES,
    VIT_HEADS,
    dinov2_names,
    refuse_family,
)
from vlp_zoo.encoders.weight_files import (
    bare,
    read_checkpoint,
    renamed,
    renamed_state,
)
from vlp_zoo.errors import EncoderLoadError, UnknownNameError

__all__ = [
    "asg_name",
    "asg_state",
    "ecamp_state",
    "image_state",
    "layout_of",
    "load_official",
    "mgca_name",
    "mgca_state",
    "network_of",
    "read_checkpoint",
]


KINDS = {
    "vit": "ViT",
    "densenet": "DenseNet",
    "swin": "Swin",
    "swin_of_transformers": "Swin",
    "eva": "ViT of EVA-02",
    "dinov3": "ViT of DINOv3",
    "efficientnet_lite": "EfficientNet-Lite0",
}
"""Families in words."""


def layout_of(name: str) -> Layout:
    """A layout by name.

    Raises:
        UnknownNameError: If there is none of this name.
    """
    if name not in LAYOUTS:
        raise UnknownNameError(
            f"a checkpoint layout called {name!r}",
            f"the known ones are {', '.join(LAYOUTS)}",
            "write official:LAYOUT:FILE, such as official:ecamp:checkpoint-119.pth",
        )
    return LAYOUTS[name]


def image_state(layout: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image encoder's part of a checkpoint, under timm's keys.

    Args:
        layout: A name of `LAYOUTS`.
        state: All tensors of the checkpoint.

    Raises:
        UnknownNameError: If the layout is not known.
        EncoderLoadError: If there is no such encoder at the layout's place.
    """
    known = layout_of(layout)
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = bare(key)
        inner = name.removeprefix(known.prefix)
        if name.startswith(known.dropped) or inner.startswith(known.dropped):
            continue
        found[inner if name.startswith(known.prefix) else name] = tensor
    marks: AbstractSet[str] = {"patch_embed.proj.weight", "pos_embed"}
    if known.resnet:
        marks = {"conv1.weight", "layer1.0.conv2.weight", "layer4.0.conv2.weight"}
    elif known.family in FAMILIES:
        marks = FAMILIES[known.family][0]
    if not marks <= found.keys():
        kind = "ResNet" if known.resnet else KINDS.get(known.family, known.family)
        raise EncoderLoadError(
            f"a {kind} under {known.prefix or 'the root'!r} ({known.line})",
            f"{len(state)} tensors such as {', '.join(list(state)[:5])}",
            f"name another layout: {', '.join(LAYOUTS)}",
        )
    return found


def load_official(layout: str, path: Path) -> ImageEncoder:
    """The image encoder of a foreign checkpoint.

    Args:
        layout: A name of `LAYOUTS`.
        path: The checkpoint.

    Returns:
        The encoder with the checkpoint's weights, position tables included, pooling
        as the layout says.

    Raises:
        EncoderLoadError: If the file cannot be read or its weights do not fit.
        UnknownNameError: If the layout is not known.
    """
    known = layout_of(layout)
    origin = f"{path} ({known.line})"
    if not known.exportable:
        raise EncoderLoadError(
            "an encoder around a timm network",
            f"{origin}, which can be evaluated only",
            "give it to vlpzoo bench",
        )
    state = read_checkpoint(path, known.part)
    encoder, found = network_of(layout, state, origin)
    encoder.load_weights({k: v.float() for k, v in found.items()}, origin)
    return encoder


def network_of(
    layout: str, state: Mapping[str, Tensor], origin: str
) -> tuple[ImageEncoder, dict[str, Tensor]]:
    """The network of a checkpoint, not yet filled, and its tensors under timm's names.

    Args:
        layout: A name of `LAYOUTS`.
        state: All tensors of the checkpoint.
        origin: Where they come from, for messages.

    Raises:
        EncoderLoadError: If there is no such encoder at the layout's place.
        UnknownNameError: If the layout is not known.
    """
    known = layout_of(layout)
    found = image_state(layout, state)
    if known.resnet:
        return _resnet(layout, found, origin), found
    if known.family in FAMILIES:
        return _other(layout, found, origin)
    found = dinov2_names(found)
    return _vit(layout, found, origin), found


def _other(
    layout: str, state: Mapping[str, Tensor], origin: str
) -> tuple[ImageEncoder, dict[str, Tensor]]:
    """A network of `FAMILIES`, and its weights under timm's names."""
    known = layout_of(layout)
    try:
        found, arguments = FAMILIES[known.family][1](state)
    except (KeyError, IndexError, RuntimeError) as error:
        raise refuse_family(known.family, error, origin) from error
    name = arguments.pop("name")
    size = arguments.pop("image_size", known.image_size)
    made = ImageEncoder(
        name,
        size,
        pooling=known.pooling,
        mean=known.mean,
        std=known.std,
        timm_arguments=arguments,
    )
    return made, found


def _resnet(layout: str, state: Mapping[str, Tensor], origin: str) -> ImageEncoder:
    """A ResNet as deep and wide as the weights; torchvision's names are timm's."""
    known = layout_of(layout)
    blocks = {tuple(key.split(".")[:2]) for key in state if key.startswith("layer")}
    depths = [sum(stage == f"layer{i}" for stage, _ in blocks) for i in (1, 2, 3, 4)]
    deep = "layer1.0.conv3.weight" in state
    sizes: dict[str, Any] = {"layers": depths}
    if deep:
        sizes["base_width"] = len(state["layer1.0.conv1.weight"])
    return ImageEncoder(
        "resnet50" if deep else "resnet18",
        known.image_size,
        mean=known.mean,
        std=known.std,
        timm_arguments=sizes,
    )


def _vit(layout: str, state: Mapping[str, Tensor], origin: str) -> ImageEncoder:
    """A ViT of the weights' sizes."""
    known = layout_of(layout)
    projection, positions = state["patch_embed.proj.weight"], state["pos_embed"]
    width, patch = int(projection.shape[0]), int(projection.shape[-1])
    depth = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    side = round((positions.shape[1] - 1) ** 0.5)
    if side**2 != positions.shape[1] - 1 or not depth:
        raise EncoderLoadError(
            f"a ViT with a square grid in {origin}",
            f"{positions.shape[1]} positions and {depth} blocks",
            "only square ViTs with a class token are supported",
        )
    pooled = known.norm == "pooled" or "fc_norm.weight" in state
    return ImageEncoder(
        "vit_base_patch16_224",
        side * patch,
        pooling="token" if known.pooling == "token" and not pooled else "avg",
        mean=known.mean,
        std=known.std,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=VIT_HEADS.get(width, max(width // 64, 1)),
        fc_norm=pooled,
        final_norm=known.norm != "none",
        init_values=1e-5 if "blocks.0.ls1.gamma" in state else None,
    )


FUSION = (
    ("attention.self.", "self_attention."),
    ("attention.output.LayerNorm.", "self_output.norm."),
    ("attention.output.", "self_output."),
    ("cross_self_attention.", "cross_attention."),
    ("gap_mlp.", "coarse."),
    ("out_layer.LayerNorm.", "cross_output.norm."),
    ("out_layer.", "cross_output."),
    ("intermediate.dense.", "ffn."),
    ("output.LayerNorm.", "ffn_output.norm."),
    ("output.", "ffn_output."),
)
ECAMP_NAMES: tuple[tuple[str, str], ...] = (
    ("decoder_pos_embed", "decoder.positions"),
    ("decoder_embed.", "decoder.embed."),
    ("decoder_blocks.", "decoder.blocks."),
    ("decoder_norm.", "decoder.norm."),
    ("decoder_pred.", "decoder.predict."),
    ("mask_token", "decoder.mask_token"),
    ("super_res.", "super_resolution."),
    ("bert_mlp.", "image_to_text."),
    ("bert_encoder.model.cls.predictions.transform.dense.", "mlm_head.dense."),
    ("bert_encoder.model.cls.predictions.transform.LayerNorm.", "mlm_head.norm."),
    ("bert_encoder.model.cls.predictions.decoder.", "mlm_head.output."),
    ("bert_encoder.model.cls.predictions.bias", "mlm_head.output.bias"),
    ("bert_encoder.model.bert.pooler.", ""),
    ("bert_encoder.model.bert.embeddings.position_ids", ""),
    *(
        (f"bert_encoder.model.bert.{layer}.{theirs}", f"fusion.{ours}")
        # Both names that the fusion layer has had.
        for layer in ("context_fusion_layer", "cross_attn_layer")
        for theirs, ours in FUSION
    ),
    ("bert_encoder.model.bert.", "text_encoder.bert."),
    ("", "image_encoder.timm."),
)
"""Official prefix to ours, first match wins; "" on the right leaves the key out."""


def ecamp_name(key: str) -> str | None:
    """Our name for a key of the official pre-training model; None = left out.

    Example:
        >>> ecamp_name("bert_encoder.model.bert.cross_attn_layer.gap_mlp.bias")
        'fusion.coarse.bias'
    """
    return renamed(key, ECAMP_NAMES)


def ecamp_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A whole official ECAMP pre-training state under the names of our ECAMP.

    The MLM matrix stays untied, the unused pooler and the ``position_ids`` of old
    transformers releases are left out, position tables come from the file.

    Args:
        state: 350 tensors (351 from old transformers).

    Returns:
        State for ``ECAMP.load_state_dict``.
    """
    return renamed_state(state, ECAMP_NAMES)


MGCA_NAMES: tuple[tuple[str, str], ...] = (
    ("img_encoder_q.model.", "image_encoder.timm."),
    ("img_encoder_q.global_embed.", "image_head."),
    ("img_encoder_q.local_embed.", "patch_head."),
    ("text_encoder_q.model.embeddings.position_ids", ""),
    ("text_encoder_q.model.", "text_encoder.bert."),
    ("text_encoder_q.global_embed.", "report_head."),
    ("text_encoder_q.local_embed.", "word_head."),
    ("word_local_atten_layer.", "word_attention."),
    ("patch_local_atten_layer.", "patch_attention."),
    ("prototype_layer.", "prototypes."),
)
"""Start of an official name of MGCA to start of ours."""

ASG_NAMES: tuple[tuple[str, str], ...] = (
    *MGCA_NAMES[:7],
    ("irl.decoder_norm.", "tag_decoder.decoder.norm."),
    ("irl.decoder.", "tag_decoder.decoder."),
    ("irl.mlp_head.0.", "tag_decoder.score."),
    ("text_encoder.", ""),
)
"""Start of an official name to start of ours, "" for what is left out: the frozen tag
encoder, whose norm has two names, and a buffer."""


def asg_name(key: str) -> str | None:
    """Our name for a key of the official ASG model; None = left out.

    Example:
        >>> asg_name("irl.mlp_head.0.bias")
        'tag_decoder.score.bias'
    """
    return renamed(key, ASG_NAMES)


def asg_state(state: Mapping[str, Tensor], tag_features: Tensor) -> dict[str, Tensor]:
    """A whole official ASG pre-training state under the names of our ASG.

    1x1 convolutions become matrices, and the segment embedding that the official
    report encoder lacks becomes zeros.

    Args:
        state: Tensors of the checkpoint.
        tag_features: (40, F) features of the tags, which the official code computes
            anew in every step.

    Returns:
        State for ``ASG.load_state_dict``.
    """
    return {"tag_features": tag_features, **_with_rows(renamed_state(state, ASG_NAMES))}


def mgca_name(key: str) -> str | None:
    """Our name for a key of the official MGCA model; None = left out.

    Left out is the cross-attention of the report encoder, which nothing ever runs.

    Example:
        >>> mgca_name("prototype_layer.weight")
        'prototypes.weight'
    """
    return None if ".crossattention." in key else renamed(key, MGCA_NAMES)


def mgca_state(
    state: Mapping[str, Tensor], learnt_attention: bool = False
) -> dict[str, Tensor]:
    """A whole official MGCA pre-training state under the names of our MGCA.

    What happens to convolutions and to the segment embedding is said at `asg_state`.

    Args:
        state: Tensors of the checkpoint.
        learnt_attention: Keep the attention layers that the released command never
            trains.

    Returns:
        State for ``MGCA.load_state_dict``.
    """
    idle = () if learnt_attention else ("word_attention.", "patch_attention.")
    named = {mgca_name(key): tensor for key, tensor in state.items()}
    kept = {k: v for k, v in named.items() if k is not None and not k.startswith(idle)}
    return _with_rows(kept)


def _with_rows(found: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, tensor in found.items():
        if name.startswith(("patch_head.", "word_head.")) and tensor.ndim == 3:
            found[name] = tensor.squeeze(-1)
    words = "text_encoder.bert.embeddings.word_embeddings.weight"
    if words in found:
        segments = "text_encoder.bert.embeddings.token_type_embeddings.weight"
        found[segments] = found[words].new_zeros(2, found[words].shape[1])
    return found

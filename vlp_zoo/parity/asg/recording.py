"""Recorded runs of the official ASG code: files, module with their weights, batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from vlp_zoo.encoders.published.official import asg_state
from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.encoders.weight_files import check_keys
from vlp_zoo.methods.asg.asg import ASG, ASGBatch
from vlp_zoo.methods.asg.networks import Pass
from vlp_zoo.methods.paired.words import Pieces
from vlp_zoo.parity.paired import vit_sizes
from vlp_zoo.parity.replay import Recording, under
from vlp_zoo.parity.words import continuations

__all__ = [
    "empty_module",
    "official_batch",
    "official_module",
    "run_batch",
]


def official_module(recording: Recording, dtype: torch.dtype) -> tuple[ASG, Tensor]:
    """ASG with every official flag and official weights, in training mode.

    Returns:
        The module, and the features that the frozen text encoder gives the tags.

    Raises:
        EncoderLoadError: If the weights do not fit.
    """
    state = recording.tensors("state_dict")
    tags = _tag_features(recording, state, dtype)
    module = empty_module(recording.facts("meta"), tags, dtype)
    ours = asg_state(state, tags)
    check_keys(module.state_dict(), ours, "the fixture")
    module.load_state_dict(ours)
    return module, tags


def empty_module(meta: Mapping[str, Any], tags: Tensor, dtype: torch.dtype) -> ASG:
    """ASG with every official flag and weights of its own, in training mode.

    Args:
        meta: Sizes, temperature and vocabulary as the recordings have them.
        tags: Features of the tags (40, width).
        dtype: Number type of the parameters.
    """
    config = meta["config"]
    module = ASG(
        image_size=config["img"],
        encoder_sizes=vit_sizes(config),
        text_width=config["dt"],
        text_depth=config["tlayers"],
        text_heads=config["theads"],
        text_ffn=config["tinter"],
        text_positions=config["tmaxpos"],
        max_tokens=config["T"],
        joint_width=config["emb"],
        head_hidden=config["hidden"],
        temperature=meta["temperature"],
        tag_width=config["dv"],
        tag_ffn=config["irl_ff"],
        tag_dropout=0.0,
        max_regions=config["R"],
        official_roi_index=True,
        official_positions=True,
        roi_aligned=False,
        shared_positives=False,
        negatives="local",
        sync_bn=False,
        antialias=False,
        official_schedule=True,
        vocab_size=len(meta["vocab"]),
    )
    module.known_tags = tags
    module.configure_model()
    return module.to(dtype).train()


@torch.no_grad()
def _tag_features(
    recording: Recording, state: Mapping[str, Tensor], dtype: torch.dtype
) -> Tensor:
    config = recording.facts("meta")["config"]
    encoder = TextEncoder(
        len(recording.facts("meta")["vocab"]),
        config["dv"],
        config["tag_layers"],
        config["tag_heads"],
        config["tag_inter"],
        max_positions=config["tag_maxpos"],
        dropout=0.0,
    )
    weights = under(state, "text_encoder.")
    check_keys(encoder.bert.state_dict(), weights, "the fixture's tag encoder")
    encoder.bert.load_state_dict(weights)
    inputs = recording.tensors("inputs")
    mask = inputs["tags.attention_mask"].bool()
    # Padding is masked, so the longest tag is as good as all 128 places.
    longest = int(mask.sum(1).max())
    ids = inputs["tags.input_ids"].long()[:, :longest]
    pooled: Tensor = encoder.to(dtype).eval()(ids, mask[:, :longest]).pooled
    return pooled


def official_batch(
    tensors: Mapping[str, Tensor], prefix: str, module: ASG, dtype: torch.dtype
) -> ASGBatch:
    """The official batch in our fields, images aside."""
    regions = tensors[f"{prefix}regions"].to(dtype)
    labels = tensors[f"{prefix}count_labels"]
    slots = torch.arange(labels.shape[1]).expand_as(labels)
    fields = {
        "tags": tensors[f"{prefix}labels"].to(dtype),
        "region_boxes": regions[..., 1:] * module.options.image_size / module.grid[0],
        "region_groups": slots.where(labels >= 0, torch.tensor(-1)),
        "sentence_words": _counts(
            tensors[f"{prefix}sent_indexs"], module.options.max_tokens - 1
        ),
    }
    if f"{prefix}caption_ids" in tensors:
        fields["input_ids"] = tensors[f"{prefix}caption_ids"]
        fields["attention_mask"] = tensors[f"{prefix}attention_mask"].bool()
    return cast("ASGBatch", fields)


def _counts(indices: Tensor, words: int) -> Tensor:
    """Word numbers (B, R, S), -1 = none, to counts (B, R, words)."""
    counts = torch.zeros(*indices.shape[:2], words + 1, dtype=torch.uint8)
    index = indices.long().where(indices >= 0, torch.tensor(words))
    ones = torch.ones_like(index, dtype=torch.uint8)
    return counts.scatter_add(2, index, ones)[..., :words]


def run_batch(
    module: ASG, recording: Recording, batch: ASGBatch, dtype: torch.dtype
) -> Pass:
    """A forward pass of the recorded images and reports."""
    images = recording.tensors("inputs")["batch.imgs"].to(dtype)
    return module.run(images, pieces_of(recording, batch))


def pieces_of(recording: Recording, batch: ASGBatch) -> Pieces:
    """The reports of a batch."""
    ids, mask = batch["input_ids"], batch["attention_mask"]
    return Pieces(ids, mask, continuations(recording.facts("meta")["vocab"], ids))

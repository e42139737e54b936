"""Recorded runs of the official ASG code: files, module with their weights, batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vlp_zoo.encoders.image import check_keys
from vlp_zoo.encoders.published.official import asg_state
from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.methods.asg.asg import ASG, ASGBatch
from vlp_zoo.methods.asg.networks import Pass
from vlp_zoo.parity.comparison import Comparison, Read, replayed

__all__ = [
    "Recording",
    "continuations",
    "official_batch",
    "official_module",
    "read_recording",
    "replayed_inputs",
    "run_batch",
]

FILES = ("state_dict", "inputs", "intermediates", "gradients", "loss_level", "pipeline")

DESCRIPTION = {"set", "dropout", "versions"}
"""Entries of ``meta.json`` for readers."""

DRAWN = {"seed", "nregs", "empty_label", "dup_label", "empty_sentence"}
"""How the batch was drawn, which is recorded."""

NOT_REPLAYED = {
    "batch.token_type_ids": "the official report encoder has no table for them",
    "pipeline.labels": "the official pipeline passes them through",
    "meta.tags": "names; the replay takes their tokens",
}
"""Inputs that no number of the recording depends on, or that stand there twice."""


class Recording(NamedTuple):
    """A fixture folder."""

    meta: Read[Any]
    expected: dict[str, Any]
    loss_level: dict[str, Any]
    pipeline: Read[Any]
    tensors: dict[str, Read[Tensor]]


def read_recording(folder: Path) -> Recording:
    """Read a fixture.

    Raises:
        DatasetNotFoundError: If a file is missing, damaged or of another kind.
    """
    try:
        meta, expected, loss_level, pipeline = (
            json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("meta", "expected", "loss_level", "pipeline")
        )
        tensors = {
            name: Read(load_file(folder / f"{name}.safetensors")) for name in FILES
        }
    except (OSError, ValueError, SafetensorError) as error:
        raise DatasetNotFoundError(
            f"a recorded ASG run in {folder}",
            f"{type(error).__name__}: {error}",
            "give a folder with meta.json, expected.json and their tensors",
        ) from error
    meta["config"] = Read(meta["config"])
    return Recording(Read(meta), expected, loss_level, Read(pipeline), tensors)


def official_module(recording: Recording, dtype: torch.dtype) -> tuple[ASG, Tensor]:
    """ASG with every official flag and official weights, in training mode.

    Returns:
        The module, and the features that the frozen text encoder gives the tags.

    Raises:
        EncoderLoadError: If the weights do not fit.
    """
    config, state = recording.meta["config"], recording.tensors["state_dict"]
    vocabulary = len(recording.meta["vocab"])
    tags = _tag_features(config, vocabulary, state, recording, dtype)
    module = ASG(
        image_size=config["img"],
        encoder_sizes={
            "patch_size": config["patch"],
            "embed_dim": config["dv"],
            "depth": config["vdepth"],
            "num_heads": config["vheads"],
        },
        text_width=config["dt"],
        text_depth=config["tlayers"],
        text_heads=config["theads"],
        text_ffn=config["tinter"],
        text_positions=config["tmaxpos"],
        max_tokens=config["T"],
        joint_width=config["emb"],
        head_hidden=config["hidden"],
        temperature=recording.meta["temperature"],
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
        vocab_size=vocabulary,
    )
    module.known_tags = tags
    module.configure_model()
    module.to(dtype)
    ours = asg_state(state, tags)
    check_keys(module.state_dict(), ours, "the fixture")
    module.load_state_dict(ours)
    return module.train(), tags


@torch.no_grad()
def _tag_features(
    config: Mapping[str, Any],
    vocabulary: int,
    state: Mapping[str, Tensor],
    recording: Recording,
    dtype: torch.dtype,
) -> Tensor:
    encoder = TextEncoder(
        vocabulary,
        config["dv"],
        config["tag_layers"],
        config["tag_heads"],
        config["tag_inter"],
        max_positions=config["tag_maxpos"],
        dropout=0.0,
    )
    weights = {
        key.removeprefix("text_encoder."): value
        for key, value in state.items()
        if key.startswith("text_encoder.")
    }
    check_keys(encoder.bert.state_dict(), weights, "the fixture's tag encoder")
    encoder.bert.load_state_dict(weights)
    inputs = recording.tensors["inputs"]
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


def continuations(recording: Recording, ids: Tensor) -> Tensor:
    """Which tokens continue a word, by the recorded vocabulary."""
    marks = [token.startswith("##") for token in recording.meta["vocab"]]
    return torch.tensor(marks)[ids]


def run_batch(
    module: ASG, recording: Recording, batch: ASGBatch, dtype: torch.dtype
) -> Pass:
    """A forward pass of the recorded images and reports."""
    images = recording.tensors["inputs"]["batch.imgs"].to(dtype)
    ids = batch["input_ids"]
    return module.run(
        images, ids, batch["attention_mask"], continuations(recording, ids)
    )


def replayed_inputs(recording: Recording) -> Comparison:
    """How many of the recording's inputs the replay has asked for so far."""
    names: set[str] = set()
    asked: set[str] = set()
    given: dict[str, tuple[Read[Any], Callable[[str], bool]]] = {
        "": (recording.tensors["inputs"], lambda name: True),
        "loss_level.": (recording.tensors["loss_level"], lambda name: ".in." in name),
        "pipeline.": (
            recording.tensors["pipeline"],
            lambda name: (
                name.startswith(("raw", "region_px", "sent_index", "labels"))
                or name in ("big.raw", "big.region_px")
            ),
        ),
        "meta.": (recording.meta, lambda name: name not in DESCRIPTION),
        "config.": (recording.meta["config"], lambda name: name not in DRAWN),
    }
    for prefix, (entries, is_input) in given.items():
        names |= {prefix + name for name in entries if is_input(name)}
        asked |= {prefix + name for name in entries.asked}
    return replayed(names, asked, NOT_REPLAYED)

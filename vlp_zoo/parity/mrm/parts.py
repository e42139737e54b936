"""MRM's losses and its data pipeline alone: recorded inputs in, numbers out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.losses import masked_mse, weighted_token_ce
from vlp_zoo.methods.mae import patch_targets
from vlp_zoo.methods.mrm.mrm import hide_words
from vlp_zoo.parity.comparison import (
    Comparison,
    relative,
    same,
    tensor,
    within,
)
from vlp_zoo.parity.replay import Read, Recording, count_inputs

__all__ = ["replay_losses", "replay_pipeline"]

WORDS = "mimic_wordpiece.json"
"""File of the authors' vocabulary."""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[MASK]")
LENGTH = 100
"""Tokens of a report."""


def replay_losses(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Image and report loss with their gradients, from recorded predictions."""
    expected, tensors = recording.facts("loss_level"), recording.tensors("loss_level")
    for name, value in expected.items():
        found: Tensor
        if name == "report":
            given = tensors["in.logits"].to(dtype).requires_grad_()
            found = _report(given, tensors["in.labels"])
            key = "grad.report.logits"
        else:
            given = tensors["in.pred"].to(dtype).requires_grad_()
            found = _image(given, tensors, name == "image_norm_pix_True")
            key = f"grad.{name}.pred"
        yield relative(f"loss_level.{name}", found, value)
        (slope,) = torch.autograd.grad(found, given)
        yield within(f"loss_level.{key}", slope, tensors[key])
    yield count_inputs({"loss_level.": tensors})


def _report(logits: Tensor, labels: Tensor) -> Tensor:
    """The report loss, whose last matrix is the identity here."""
    kinds = logits.shape[-1]
    unit = torch.eye(kinds, dtype=logits.dtype)
    ones = torch.ones_like(labels, dtype=logits.dtype)
    return weighted_token_ce(logits, unit, unit.new_zeros(kinds), labels, ones)


def _image(predicted: Tensor, tensors: Read[Tensor], norm_pix: bool) -> Tensor:
    images = tensors["in.image"].to(predicted.dtype)
    patch = round((predicted.shape[2] // 3) ** 0.5)
    target, _, _ = patch_targets(images, patch, norm_pix)
    pixels = predicted.view(*predicted.shape[:2], -1, 3)
    return masked_mse(pixels, target, tensors["in.mask"] > 0)


def replay_pipeline(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Reports to ids and masked ids.

    Args:
        recording: Folder with ``pipeline.json`` and ``pipeline.safetensors``, and the
            authors' vocabulary, or ECAMP's, which differs in two entries; without one
            ``mimic_wordpiece.json`` beside the folder, or in ECAMP's beside it.
        dtype: Has no influence here: tokens are integers.

    Raises:
        DatasetNotFoundError: If a file or an entry is missing.
    """
    card, tensors = recording.facts("pipeline"), recording.tensors("pipeline")
    words = _vocabulary(recording, card)
    for name, ours in (
        ("mask_id", words.mask_id),
        ("pad_id", words.pad_id),
        ("cls_id", words.cls_id),
        ("max_length", LENGTH),
    ):
        yield same(f"pipeline.{name}", ours, card[name])
    literal: dict[int, str] = {}
    for index, case in enumerate(card["cases"]):
        if case["error"] is not None:
            # The official code stops at an empty cell; here it is a report without words.
            empty, _ = words.encode_padded(case["report"], LENGTH)
            yield same(
                f"pipeline.{index}.words of an empty report", int((empty > 2).sum()), 0
            )
            continue
        if any(name in case["report"] for name in SPECIAL):
            literal[index] = "a special token written out in a report is text here"
            inside = words.encode_padded(case["report"], LENGTH)[0][1:]
            found = np.isin(inside, [words.cls_id, words.mask_id]).sum()
            yield same(f"pipeline.{index}.special tokens inside", int(found), 0)
            continue
        yield from _text(index, case, words, tensors)
    read = [i for i, case in enumerate(card["cases"]) if case["error"] is None]
    yield same("pipeline.collated", len(read), card["collated"]["image"][0])
    pictures = {
        f"pipeline.{kind}.{index}": "crops are area averages here, Pillow's bicubic there"
        for index in read
        for kind in ("raw", "image")
    }
    texts = {
        f"pipeline.{kind}.{index}": why
        for index, why in literal.items()
        for kind in ("ids", "masked_ids", "attention_mask", "type_ids")
    }
    yield count_inputs(
        {
            "pipeline.": tensors,
            "card.": (card, lambda name: name != "crop_size"),
        },
        {
            **pictures,
            **texts,
            "card.collated_batch_of_one": "the official code loses the batch axis there",
            "card.vocabulary_differences_to_ecamp": "the authors' own vocabulary was given",
        },
    )


def _text(
    index: int, case: Mapping[str, Any], words: ReportTokenizer, tensors: Read[Tensor]
) -> Iterator[Comparison]:
    ids, present = words.encode_padded(case["report"], LENGTH)
    title = f"pipeline.{index}"
    yield same(f"{title}.tokens", int(present.sum()), case["n_tokens"])
    named = [words.tokens[i] for i in ids[present]]
    yield same(f"{title}.other tokens", named != case["tokens"], False)
    # Where no draw was recorded none may be read: it would hide the word.
    noise = torch.zeros(1, LENGTH)
    for place, value in case["draws"]:
        noise[0, place] = value
    here, mask = torch.from_numpy(ids)[None], torch.from_numpy(present)[None]
    continues = torch.from_numpy(words.continuation[ids])[None]
    hidden = hide_words(mask, continues, noise, 0.5, last_position_visible=True)
    masked = here.masked_fill(hidden, words.mask_id)[0]
    yield tensor(f"{title}.ids", here[0], tensors[f"ids.{index}"], 0.0)
    yield tensor(f"{title}.masked_ids", masked, tensors[f"masked_ids.{index}"], 0.0)
    recorded = tensors[f"attention_mask.{index}"] > 0
    yield tensor(f"{title}.attention_mask", mask[0], recorded, 0.0)
    types = tensors[f"type_ids.{index}"]
    yield tensor(f"{title}.type_ids", torch.zeros_like(types), types, 0.0)


def _vocabulary(recording: Recording, card: Mapping[str, Any]) -> ReportTokenizer:
    """The authors' vocabulary, from their file or from ECAMP's."""
    folder = recording.folder
    file = recording.vocabulary.find(
        folder.parent / WORDS, folder.parents[1] / "ecamp" / WORDS
    )
    spec = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = spec["model"]["vocab"]
    if "[SEP]" in vocabulary:
        names = {index: token for token, index in vocabulary.items()}
        changes = card["vocabulary_differences_to_ecamp"]
        names |= dict(changes)
        spec["model"]["vocab"] = {token: index for index, token in names.items()}
        spec["added_tokens"] = [
            token for token in spec["added_tokens"] if token["content"] != "[SEP]"
        ]
    # MRM ends no text by [SEP], and its vocabulary has none.
    spec["special_tokens"] = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", "[CLS]"]
    return ReportTokenizer(spec, origin=str(file))

"""MedCLIP's losses, sentences and zero-shot scores alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.methods.medclip.medclip import MedCLIP
from vlp_zoo.methods.medclip.sentences import released_sentences
from vlp_zoo.parity.comparison import (
    Comparison,
    magnitude,
    relative,
    same,
    tensor,
    within,
)
from vlp_zoo.parity.replay import Recording, count_inputs, under
from vlp_zoo.parity.words import recorded_words

__all__ = ["compare_heads", "compare_prompts", "replay_losses", "replay_pipeline"]

LOGITS = 1e-4
"""Error of logits, of the recordings' README."""

TABLE = "sentences are labelled by rules here; the authors' table is not released"
LOOK = "images are cropped by the rule of all methods, and never mirrored"
DRAWN = "words are exchanged by the study's generator, not by Python's"
METRICS = "the metrics of this package have tests of their own"
NOT_REPLAYED = {
    **{
        f"card.{name}": TABLE
        for name in (
            *("labels", "sentence_table_raw", "sentence_table_kept", "sentence_dict"),
            *("prompt_table_default", "items", "prompt_candidates"),
            *("prompt_candidates_with_blank_image_label", "sentence_class_prompts"),
        )
    },
    **{f"card.{name}": LOOK for name in ("images", "processor_error", "dtypes")},
    "card.eda": DRAWN,
    "card.augmenter_reseeds_python_random_to_1": DRAWN,
    "card.evaluation_prompts_of_released_script": DRAWN,
    "card.class_prompts": "GLoRIA's prompts, which are counted there",
}


def replay_losses(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Losses with their gradients, from recorded embeddings, labels and scales."""
    expected, tensors = recording.facts("loss_level"), recording.tensors("loss_level")
    for case in expected:
        wanted = expected[case]
        given = {
            name.removesuffix("_raw"): value.to(dtype).requires_grad_()
            for name in under(tensors, f"{case}.in.")
            if name.endswith("_raw")
            for value in [tensors[f"{case}.in.{name}"]]
        }
        labels = None
        if f"{case}.in.img_labels" in tensors:
            labels = (
                tensors[f"{case}.in.img_labels"].to(dtype),
                tensors[f"{case}.in.text_labels"].to(dtype),
            )
        module = MedCLIP(similarity="dot", negatives="local")
        start = torch.tensor(wanted["logit_scale_in"], dtype=dtype)
        module.log_scale = nn.Parameter(start)
        texts = [given[name] for name in ("text", "aug_text") if name in given]
        terms = module.objective(given["image"], texts, labels)
        total = torch.stack(list(terms.values())).sum()
        title = f"loss_level.{case}"
        yield relative(f"{title}.loss", total, wanted["loss"])
        after = module.log_scale
        yield relative(f"{title}.logit_scale", after, wanted["logit_scale_after"])
        if labels:
            # Image, text of the varied sentences first, where there are some.
            ways = [
                2 * way
                for text in reversed(texts)
                for way in module.objective(given["image"], [text], labels).values()
            ]
            for index, (way, value) in enumerate(
                zip(ways, wanted["parts"], strict=True)
            ):
                yield relative(f"{title}.part{index}", way, value)
        inputs = {f"{name}_raw": value for name, value in given.items()}
        inputs["logit_scale"] = after
        found = torch.autograd.grad(total, list(inputs.values()), allow_unused=True)
        for name, slope in zip(inputs, found, strict=True):
            key = f"{case}.grad.{name}"
            if key in tensors:
                yield within(f"loss_level.{key}", slope, tensors[key])
    yield count_inputs(
        {
            "loss_level.": tensors,
            "case.": expected,
        },
    )


def replay_pipeline(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Reports to sentences by the released rule, and a long one to tokens.

    Args:
        recording: Folder with ``pipeline.json``, ``pipeline.safetensors`` and
            ``meta.json``.
        dtype: Has no influence here.
    """
    card, tensors = recording.facts("pipeline"), recording.tensors("pipeline")
    meta = recording.facts("meta")
    missing: list[Any] = card["split_missing"]
    yield same("pipeline.split of nothing", len(missing), 0)
    for index, case in enumerate(card["split"]):
        found = released_sentences(case["text"])
        yield same(f"pipeline.split.{index}.other", found != case["segments"], False)
    words = recorded_words(meta["vocab"])
    if recording.has("inputs.safetensors"):
        given = recording.tensors("inputs")
        for prefix, name in (("", "texts"), ("aug_", "augmented_texts")):
            wanted = given[f"batch.{prefix}input_ids"]
            ids, _ = words.encode_batch(
                card["batch"][name], meta["model_max_length"], sep=True
            )
            yield tensor(f"pipeline.{name}", torch.from_numpy(ids), wanted, 0.0)
    pictures = {f"raw.{name}": LOOK for name in tensors if name.startswith("image.")}
    if not recording.has("inputs.safetensors"):
        pictures["card.batch"] = "its tokens are not in this recording"
    pictures["raw.tok.long.input_ids"] = "its text is not recorded"
    yield count_inputs(
        {
            "raw.": tensors,
            "card.": card,
        },
        {**NOT_REPLAYED, **pictures},
    )


@torch.no_grad()
def compare_prompts(
    module: MedCLIP, images: Tensor, recording: Recording
) -> Iterator[Comparison]:
    """Zero-shot scores: the largest, and the mean, over the prompts of a class."""
    card, tensors = recording.facts("zero_shot"), recording.tensors("zero_shot")
    tower: Any = module.text_tower
    images = functional.normalize(images, dim=1)
    best, mean = [], []
    for name in card["class_names"]:
        ids, mask = (
            tensors[f"prompt.{name}.{part}"] for part in ("input_ids", "attention_mask")
        )
        pooled = tower.read(ids, mask > 0).pooled
        texts = functional.normalize(module.text_head(pooled), dim=1)
        scores = module.scale() * images @ texts.T
        best.append(scores.amax(1))
        mean.append(scores.mean(1))
    for name, found in (("max", best), ("mean", mean)):
        wanted = tensors[f"logits.{name}"]
        allowed = LOGITS * max(magnitude(wanted), 1.0)
        yield tensor(f"zero_shot.{name}", torch.stack(found, 1), wanted, allowed)


@torch.no_grad()
def compare_heads(pooled: Tensor, recording: Recording) -> Iterator[Comparison]:
    """Linear heads on pooled features, and what of the part was read.

    Args:
        pooled: (B, F).
        recording: Where ``zero_shot`` is.
    """
    card, tensors = recording.facts("zero_shot"), recording.tensors("zero_shot")
    for kind, facts in card["supervised"].items():
        title = f"supervised.{kind}"
        if "error" in facts:
            # A ResNet's head crashes there.
            continue
        weight, bias = tensors[f"{title}.fc.weight"], tensors[f"{title}.fc.bias"]
        logits = functional.linear(pooled, weight.to(pooled), bias.to(pooled))
        wanted = tensors[f"{title}.logits"]
        yield tensor(title, logits, wanted, LOGITS * max(magnitude(wanted), 1.0))
        labels = tensors[f"{title}.labels"]
        if kind == "multiclass":
            loss = functional.cross_entropy(logits, labels.long().flatten())
        else:
            loss = functional.binary_cross_entropy_with_logits(
                logits, labels.to(logits).view_as(logits)
            )
        yield relative(f"{title}.loss", loss, facts["loss"])
    yield count_inputs(
        {
            "zero_shot.": tensors,
            "zero_shot.json.": card,
        },
        {
            "zero_shot.json.prompts": "their tokens are replayed",
            **{
                f"zero_shot.{name}": METRICS
                for name in tensors
                if name.startswith("evaluator.")
            },
            "zero_shot.json.evaluator": METRICS,
        },
    )

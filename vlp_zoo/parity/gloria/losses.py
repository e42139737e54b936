"""GLoRIA's losses alone: recorded embeddings in, scores, losses and gradients out."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional

from vlp_zoo.losses import info_nce
from vlp_zoo.methods.gloria.losses import (
    Scales,
    Words,
    local_loss,
    match,
    word_attention,
)
from vlp_zoo.parity.comparison import Comparison, close, relative
from vlp_zoo.parity.gloria.recording import PARTS
from vlp_zoo.parity.replay import Recording, count_inputs

__all__ = ["MID", "SCORE", "replay_losses"]

MID = 1e-5
"""Tolerance of embeddings and attention, of the largest value."""
SCORE = 2e-4
"""Absolute tolerance of scores, which are up to some tens."""
GRADIENT = 3e-4
"""Tolerance of gradients, of the tensor's largest value."""

LEAVES = {"local": ("img_l", "text_l"), "global": ("img_g", "text_g")}


def replay_losses(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Every recorded case, whatever its sizes."""
    tensors, cases = recording.tensors("loss_level"), recording.facts("loss_level")
    for case in sorted(cases):
        facts, title = cases[case], f"loss_level.{case}"
        leaves = {
            name: tensors[f"{case}.in.{name}"].to(dtype).requires_grad_()
            for names in LEAVES.values()
            for name in names
        }
        scales = Scales(*facts["temps"])
        images, grid = leaves["img_l"].flatten(2), leaves["img_l"].shape[2:]
        places, texts = images.transpose(1, 2), leaves["text_l"].transpose(1, 2)
        words = Words(texts, torch.tensor(facts["cap_lens"]))
        terms = {
            "local": local_loss(places, words, scales, facts["agg"]),
            "global": info_nce(
                leaves["img_g"], leaves["text_g"], 1 / scales.loss, gather=False
            ),
        }
        for number, (name, (term, way)) in enumerate(PARTS.items()):
            found = terms[term][way]
            yield relative(f"{title}.{name}", found, facts[name])
            if dtype == torch.float64:
                wide = facts["float64"][number]
                yield relative(f"{title}.float64.{name}", found, wide, 1e-9)
        scores = {
            "local": scales.loss * match(places, words, scales, facts["agg"]),
            "global": scales.loss
            * functional.normalize(leaves["img_g"])
            @ functional.normalize(leaves["text_g"]).T,
        }
        for name, both in terms.items():
            recorded = tensors[f"{case}.scores_{name}"]
            title = f"loss_level.{case}.scores_{name}"
            yield close(title, scores[name], recorded, SCORE, absolute=True)
            wanted = [leaves[leaf] for leaf in LEAVES[name]]
            gradients = torch.autograd.grad(both[0] + both[1], wanted)
            for leaf, gradient in zip(LEAVES[name], gradients, strict=True):
                key = f"{case}.grad.{name}.{leaf}"
                yield close(f"loss_level.{key}", gradient, tensors[key], GRADIENT)
        for text, count in enumerate(facts["cap_lens"]):
            products = texts[text] @ images[text]
            counted = torch.arange(len(products)) < count
            seen = word_attention(products, counted, scales.attention)[:count]
            key = f"{case}.attn.{text}"
            yield close(
                f"loss_level.{key}", torch.unflatten(seen, 1, grid), tensors[key], MID
            )
    yield count_inputs(
        {
            "loss_level.": tensors,
            "loss_level.json.": cases,
        },
    )

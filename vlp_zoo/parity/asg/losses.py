"""ASG's losses alone: recorded embeddings in, losses and gradients out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.methods.asg.asg import ASG
from vlp_zoo.methods.asg.losses import region_loss
from vlp_zoo.methods.asg.networks import Pass
from vlp_zoo.methods.asg.regions import sentence_means
from vlp_zoo.parity.asg.recording import empty_module, official_batch
from vlp_zoo.parity.comparison import FLOOR, Comparison, relative, tensor
from vlp_zoo.parity.paired import weighted_total
from vlp_zoo.parity.replay import Recording, count_inputs

__all__ = [
    "DOUBLE",
    "GRADIENT",
    "TERMS",
    "compare_losses",
    "replay_losses",
    "slot_pairs",
]

TERMS = {"loss_ira": "ira", "loss_arsa": "arsa", "loss_bce": "irl", "loss_soft": "erl"}
"""Their names of the losses to ours."""

DOUBLE = {"loss_ira": 1e-9, "loss_arsa": 1e-9, "loss_bce": 2e-7, "loss_soft": 1e-7}
"""Relative tolerances of the float64 recordings, where labels stayed float32."""

GRADIENT = 1e-4
"""Tolerance of gradients, relative to the largest value."""


def compare_losses(
    title: str, module: ASG, terms: Mapping[str, Tensor], recorded: Mapping[str, Any]
) -> Iterator[Comparison]:
    """Each loss, and the total where it was recorded."""
    for theirs, ours in TERMS.items():
        yield relative(f"{title}.{ours}", terms[ours], recorded["losses"][theirs], 1e-5)
    total = weighted_total(terms, module.options.weights)
    if "total" in recorded:
        yield relative(f"{title}.total", total, recorded["total"], 1e-5)


def slot_pairs(prefix: str, tensors: Mapping[str, Tensor]) -> Comparison:
    """Whether two slots may be contrasted: both with a region, or both without."""
    valid = tensors[f"{prefix}.count_labels"] >= 0
    # A study without any region is counted as if it had one.
    valid[:, 0] |= ~valid.any(1)
    ours = (valid[:, :, None] == valid[:, None]).float()
    allowed = tensors[f"{prefix}.count_matrixs"].isfinite().float()
    return tensor(f"{prefix}.count_matrixs", ours, allowed, 0.0)


def replay_losses(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Losses and gradients on recorded embeddings, without any network."""
    tensors, meta = recording.tensors("loss_level"), recording.facts("meta")
    tags = torch.zeros(len(meta["tags"]), meta["config"]["dv"])
    module = empty_module(meta, tags, dtype)
    for case, name in (("case0", "reference_order"), ("case1", "aligned")):
        recorded = recording.facts("loss_level")[name]
        batch = official_batch(tensors, f"{case}.in.", module, dtype)
        source = tensors[f"{case}.in.regions"][:, 0, 0].long()
        raw = {
            key: tensors[f"{case}.in.{key}"].to(dtype).requires_grad_()
            for key in (
                "img_global_raw",
                "report_global_raw",
                "img_local_raw",
                "word_local_raw",
                "tag_logits",
            )
        }
        unit = {k: functional.normalize(v, dim=-1) for k, v in raw.items()}
        run = Pass(
            unit["img_global_raw"],
            unit["img_local_raw"],
            unit["img_global_raw"],
            unit["report_global_raw"],
            unit["img_local_raw"],
            unit["word_local_raw"],
            raw["tag_logits"][..., 0],
        )
        yield slot_pairs(f"{case}.in", tensors)
        terms = module.terms(run, batch, source)
        yield from compare_losses(f"loss_level.{case}", module, terms, recorded)
        if case == "case0" and dtype == torch.float64:
            wide = recording.facts("loss_level")["reference_order_float64"]["losses"]
            for theirs, ours in TERMS.items():
                title = f"loss_level.float64.{theirs}"
                yield relative(title, terms[ours], wide[theirs], DOUBLE[theirs])
        losses = {theirs: terms[ours] for theirs, ours in TERMS.items()}
        losses["total"] = weighted_total(terms, module.options.weights)
        for key, value in tensors.items():
            if key.startswith(f"{case}.grad."):
                _, _, loss, leaf = key.split(".")
                (found,) = torch.autograd.grad(
                    losses[loss], raw[leaf], retain_graph=True
                )
                tolerance = GRADIENT * max(float(value.abs().max()), FLOOR)
                yield tensor(f"loss_level.{key}", found, value, tolerance)
        nothing = torch.full_like(batch["region_groups"], -1)
        empty = region_loss(
            module.region_features(run, batch["region_boxes"], source),
            sentence_means(batch["sentence_words"], unit["word_local_raw"]),
            nothing,
            module.options.temperature,
            False,
        )
        # The official code gives NaN here; ours is 0 by design.
        yield Comparison(
            f"loss_level.{case}.no_region",
            float(empty.detach()),
            0.0,
            abs(float(empty.detach())),
            0.0,
        )
    yield count_inputs({"loss_level.": (tensors, lambda name: ".in." in name)})

"""The recorded losses and schedules of IMITATE, replayed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vlp_zoo.methods.imitate.imitate import IMITATE, Pass
from vlp_zoo.methods.imitate.losses import (
    Rows,
    clinical_contrast,
    clinical_scores,
    correlation,
    prior,
    smooth,
)
from vlp_zoo.methods.imitate.schedules import findings_weight
from vlp_zoo.methods.optimisation import cosine_restarts
from vlp_zoo.parity.comparison import Comparison, close
from vlp_zoo.parity.replay import Read, Recording, replayed

__all__ = [
    "GROUPS",
    "Tolerances",
    "replay_losses",
    "replay_schedules",
    "tolerances",
]

GROUPS = {
    "img_text_impression": "image_text_impression",
    "img_text_findings": "image_text_findings",
    "img_img_impression": "image_image_impression",
    "img_img_findings": "image_image_findings",
}
"""Recorded name of a loss group to ours."""


class Tolerances(NamedTuple):
    """Largest errors allowed.

    Attributes:
        loss: Error of losses and of their gradients, over the largest recorded
            magnitude.
        value: Error of entries of embeddings and intermediates, over one plus the
            recorded.
        norm: Relative error of the norms of a model's gradients.
        gradient: Error of entries of a model's gradients, over the largest of a tensor.
        trajectory: Relative error of losses along optimiser steps.
    """

    loss: float
    value: float
    norm: float
    gradient: float
    trajectory: float


def tolerances(dtype: torch.dtype) -> Tolerances:
    """1e-6 in float64; in float32 a few times what rounding alone does there.

    The official code's float32 run is off its float64 run by up to 2e-4 in embeddings,
    3e-4 in gradient norms and 2e-4 in the loss after a step. How much it is depends on
    the order of sums: two threads or one change a norm by as much.
    """
    if dtype == torch.float64:
        return Tolerances(1e-6, 1e-6, 1e-6, 1e-6, 1e-6)
    return Tolerances(5e-5, 1e-3, 2e-3, 2e-2, 1e-3)


def _rows(tensor: Tensor) -> Rows:
    return Rows(tensor, tensor, 0)


def replay_losses(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Losses on given embeddings: each case, and the total of a step."""
    cases = recording.facts("losses")["cases"]
    tensors = recording.tensors("losses")
    allowed = tolerances(dtype)
    names = sorted({case["name"].split("/")[0] for case in cases})
    for name in names:
        features = tensors[f"{name}/prior_emb"].to(dtype)
        expected = tensors[f"{name}/corr_f64"]
        found = correlation(_rows(features))
        yield close(f"{name}/corr", found, expected, allowed.loss)
    for case in cases:
        yield from _case(tensors, case, dtype)
    yield from _total(tensors, recording.facts("losses")["total"], dtype)
    # What the functions take; everything else is what came out of them.
    taken = {f"{name}/{part}" for name in names for part in ("x", "y", "prior_emb")}
    taken |= {key for key in tensors if "/in/" in key}
    taken |= {k for k in tensors if k.rpartition("/")[2] in ("x", "y")}
    yield replayed(taken, tensors.asked, {})


def _case(
    tensors: Read[Tensor], case: Mapping[str, Any], dtype: torch.dtype
) -> Iterator[Comparison]:
    allowed = tolerances(dtype)
    name, tau = case["name"], case["temperature"]
    inputs = name.split("/")[0]
    x, y, features = (
        tensors[f"{inputs}/{part}"].to(dtype) for part in ("x", "y", "prior_emb")
    )
    x.requires_grad_()
    y.requires_grad_()
    ratio = case["ratio"] if case["ratio"] is not None else 0.0
    similar = prior(_rows(features), case["smooth"], ratio)
    loss = clinical_contrast(_rows(x), _rows(y), tau, similar)
    yield close(f"loss.{name}", loss, case["loss_f64"], allowed.loss)
    scores = clinical_scores(_rows(x), _rows(y), tau, similar)
    for direction, logits in (("rows", scores.forth), ("cols", scores.back)):
        way = -(scores.targets * logits.log_softmax(1)).sum(1).mean()
        recorded = case[f"loss_{direction}_f64"]
        yield close(f"{name}/{direction}", way, recorded, allowed.loss)
    mass = torch.tensor(case["label_row_mass"], dtype=torch.float64)
    yield close(f"{name}/row_mass", scores.targets.sum(1), mass, allowed.loss)
    grad_x, grad_y = torch.autograd.grad(loss, (x, y))
    found = {
        "targets": scores.targets,
        "logits": scores.forth,
        "grad_x": grad_x,
        "grad_y": grad_y,
    }
    for part, value in found.items():
        key = f"{name}/{part}"
        if key in tensors:
            yield close(key, value, tensors[key], allowed.loss)
    for part in ("grad_x", "grad_y"):
        norm = case[f"{part}_norm_f64"]
        yield close(f"{name}/{part}_norm", found[part].norm(), norm, allowed.loss)


def _total(
    tensors: Read[Tensor], totals: Mapping[str, Any], dtype: torch.dtype
) -> Iterator[Comparison]:
    """One full step from ten embeddings, by the method's own objective."""
    allowed = tolerances(dtype)
    prefix = "total/in/"
    given = {
        key.removeprefix(prefix): tensors[key].to(dtype)
        for key in tensors
        if key.startswith(prefix)
    }
    frozen = given.pop("find_emb"), given.pop("imp_emb")
    for value in given.values():
        value.requires_grad_()
    present = torch.ones(len(frozen[0]), dtype=torch.bool)
    method = IMITATE(text_model="corpus", negatives="local")
    for title, recorded in totals.items():
        weight = float(title.removeprefix("lambda"))
        terms: dict[str, Tensor] = {}
        # The recording treats the impression branch of both passes as two inputs.
        for pair, draw in (("image_text", "m1"), ("image_image", "m2")):
            run = Pass(
                [],
                [given[f"imp{view}_{draw}"] for view in (1, 2)],
                [given[f"find{view}_m1"] for view in (1, 2)],
                [given[f"find{view}_m2"] for view in (1, 2)],
                given["find_proj"],
                given["imp_proj"],
            )
            found = method.objective(run, *frozen, present, present, weight)
            terms |= {k: v for k, v in found.items() if k.startswith(pair)}
        total = torch.stack(list(terms.values())).sum()
        for theirs, ours in GROUPS.items():
            # Recorded before the weight is applied.
            factor = weight if ours.endswith("findings") else 1.0
            value = terms[ours] / factor
            wanted = recorded["f64"][theirs]
            yield close(f"loss.total/{title}/{theirs}", value, wanted, allowed.loss)
        wanted = recorded["f64"]["total"]
        yield close(f"loss.total/{title}/total", total, wanted, allowed.loss)
        gradients = torch.autograd.grad(total, list(given.values()))
        for name, gradient in zip(given, gradients, strict=True):
            norm = recorded["f64"]["grad_norm"][name]
            quantity = f"total/{title}/grad_norm/{name}"
            yield close(quantity, gradient.norm(), norm, allowed.loss)
            key = f"total/grad_{title}/{name}"
            if key in tensors:
                yield close(key, gradient, tensors[key], allowed.loss)


def replay_schedules(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Learning rate, weight of the findings, and smoothings on a grid, in float64."""
    meta = recording.facts("schedules")
    peak = meta["lr_by_step"]["0"]
    factor_error = worst_rate = 0.0
    for step, rate in meta["lr_by_step"].items():
        ours = peak * cosine_restarts(int(step), 33341, 1e-8 / peak, growth=2)
        factor_error = max(factor_error, abs(ours - rate) / rate)
        worst_rate = max(worst_rate, ours)
    count = len(meta["lr_by_step"])
    yield Comparison(f"lr_by_step ({count})", worst_rate, peak, factor_error, 1e-6)
    epochs = meta["lambda_by_epoch"]
    found = torch.tensor([findings_weight(int(epoch)) for epoch in epochs])
    yield close("lambda_by_epoch", found, torch.tensor(list(epochs.values())), 1e-6)
    grid = torch.tensor(meta["smoothing_grid"]["input"], dtype=torch.float64)
    for name, values in meta["smoothing_grid"].items():
        if name == "input":
            continue
        kind, ratio = ("exp", float(name[3:])) if name.startswith("exp") else (name, 0)
        wanted = torch.tensor(values, dtype=torch.float64)
        yield close(f"smoothing.{name}", smooth(grid, kind, ratio), wanted, 1e-6)
    recorded = set(meta) - {"torch", "transformers"}
    yield replayed(
        recorded, meta.asked, {"lars": "an optimiser that is not offered here"}
    )

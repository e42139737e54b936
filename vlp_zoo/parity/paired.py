"""What the replays of MGCA, of ASG, which grew out of it, and of GLoRIA share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vlp_zoo.methods.paired.restarts import cosine_restarts
from vlp_zoo.methods.paired.square import cut_out, fit_square
from vlp_zoo.parity.comparison import Comparison, curve, relative, tensor
from vlp_zoo.parity.names import Names
from vlp_zoo.parity.replay import Recording

__all__ = [
    "GREY_LEVEL",
    "compare_crops",
    "compare_ends",
    "recorded_rate",
    "replay_schedule",
    "top_shares",
    "vit_sizes",
    "weighted_total",
]

GREY_LEVEL = 1.0
"""Resizing may differ by it between builds of OpenCV."""


def replay_schedule(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """The rates of 120 steps, with restarts."""
    recipe = recording.facts("expected")["lr_curve"]
    recorded = recipe["lr_used_at_step"]
    rates = [recorded_rate(step, recipe) for step in range(len(recorded))]
    yield curve("lr_curve", rates, recorded, 1e-9 * max(rates))


def recorded_rate(step: int, recipe: Mapping[str, Any]) -> float:
    """The learning rate of a step by the recorded recipe."""
    cycle = recipe.get("first_cycle_steps") or recipe["training_steps"]
    warm, peak, least = (recipe[f"{n}"] for n in ("warmup_steps", "max_lr", "min_lr"))
    return cosine_restarts(step, warm, cycle, peak, least)


def vit_sizes(config: Mapping[str, Any]) -> dict[str, int]:
    """Sizes of the image encoder in the words of timm."""
    names = {
        "patch_size": "patch",
        "embed_dim": "dv",
        "depth": "vdepth",
        "num_heads": "vheads",
    }
    return {ours: config[theirs] for ours, theirs in names.items()}


def compare_crops(
    tensors: Mapping[str, Tensor],
    name: str,
    side: int,
    size: int,
    corners: Mapping[str, tuple[int, int]],
) -> Iterator[Comparison]:
    """A recorded image on its black square, and crops of it.

    Args:
        tensors: ``raw``, ``padded`` and the crops, with ``.NAME``.
        name: Name of the image.
        side: Side of the square.
        size: Side of the crops.
        corners: Left and top of the crop that is recorded as ``SPLIT.image``.
    """
    raw = tensors[f"raw.{name}"].numpy()
    square, fitted = fit_square(raw, side, antialias=True, official=True)
    found = {f"padded.{name}": square}
    for split, (x, y) in corners.items():
        found[f"{split}.image.{name}"] = cut_out(square, fitted, x, y, size)[0]
    for key, pixels in found.items():
        ours = torch.from_numpy(pixels)
        yield tensor(f"pipeline.{key}", ours, tensors[key], GREY_LEVEL)


def weighted_total(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The sum that is trained on."""
    return torch.stack([weights[name] * value for name, value in terms.items()]).sum()


def compare_ends(
    module: nn.Module,
    names: Names,
    recorded: Mapping[str, float],
    tolerance: float,
    noisy: tuple[str, ...],
) -> Iterator[Comparison]:
    """Norms of the parameters after the steps, but for those that only noise moves.

    Args:
        module: After the steps.
        names: Our names of the official parameters.
        recorded: Norms by official names.
        tolerance: Largest relative error.
        noisy: How names end of which a part has no exact gradient: an error of 1e-2.
    """
    parameters = dict(module.named_parameters())
    for key, norm in recorded.items():
        name = names.ours(key)
        if name in parameters and name not in names.vanishing:
            most = 1e-2 if name.endswith(noisy) else tolerance
            value = parameters[name].detach().norm()
            yield relative(f"final.{key}", value, norm, most)


def top_shares(scores: Tensor) -> dict[str, Tensor]:
    """Share of partners among the best 1 and 5, in per cent, the mean of both directions.

    Args:
        scores: (B, B) of images and reports, in the logarithm or not.
    """
    shares: dict[str, Tensor] = {}
    own = torch.arange(len(scores))[:, None]
    for top in (1, 5):
        hits = [
            (found.topk(top, 1).indices == own).any(1).to(scores.dtype).mean()
            for found in (scores, scores.T)
        ]
        shares[f"acc{top}"] = 100 * torch.stack(hits).mean()
    return shares

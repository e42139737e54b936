"""What the replays of MGCA and ASG, which grew out of it, share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vlp_zoo.methods.paired.restarts import cosine_restarts
from vlp_zoo.parity.comparison import Comparison, tensor
from vlp_zoo.parity.replay import Recording

__all__ = ["recorded_rate", "replay_schedule", "top_shares"]


def replay_schedule(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """The rates of 120 steps, with restarts."""
    curve = recording.facts("expected")["lr_curve"]
    official = torch.tensor(curve["lr_used_at_step"], dtype=torch.float64)
    rates = [recorded_rate(step, curve) for step in range(len(official))]
    ours = torch.tensor(rates, dtype=torch.float64)
    yield tensor("lr_curve", ours, official, 1e-9 * max(rates))


def recorded_rate(step: int, recipe: Mapping[str, Any]) -> float:
    """The learning rate of a step by the recorded recipe."""
    cycle = recipe.get("first_cycle_steps") or recipe["training_steps"]
    warm, peak, least = (recipe[f"{n}"] for n in ("warmup_steps", "max_lr", "min_lr"))
    return cosine_restarts(step, warm, cycle, peak, least)


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

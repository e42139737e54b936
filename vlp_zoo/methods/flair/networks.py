"""FLAIR's heads and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.methods.optimisation import adamw_decaying_all
from vlp_zoo.methods.options import PretrainOptions

__all__ = ["UnitLinear", "official_optimizer", "official_rate"]


class UnitLinear(nn.Module):
    """A linear map without bias of vectors scaled to unit length."""

    def __init__(self, width: int, joint: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, joint, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., width) to (..., joint)."""
        projected: Tensor = self.projection(functional.normalize(vectors, dim=-1))
        return projected


def official_rate(step: int, warmup: int, total: int) -> float:
    """The released code's factor of the learning rate.

    Args:
        step: Optimiser steps already taken.
        warmup: Steps W of the linear part, from 1/W to 1.
        total: Where the cosine reaches 0.
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))


def official_optimizer(
    parameters: Iterable[nn.Parameter], options: PretrainOptions, epoch: float
) -> dict[str, Any]:
    """AdamW that decays every parameter, under `official_rate`.

    Args:
        parameters: Those of the method.
        options: Rate, decay, averaging coefficients, epochs of the schedule.
        epoch: Steps of an epoch.
    """
    warmup = round(options.warmup_epochs * epoch)
    total = round((options.schedule_epochs or 100) * epoch)
    return adamw_decaying_all(
        parameters, options, lambda step: official_rate(step, warmup, total)
    )

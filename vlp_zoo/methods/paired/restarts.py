"""The optimiser of MGCA's released code, which ASG took over: a cosine with restarts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from vlp_zoo.methods.optimisation import adamw_decaying_all
from vlp_zoo.methods.options import PretrainOptions
from vlp_zoo.schedules import warmup_cosine

__all__ = ["cosine_restarts", "official_optimizer"]


def cosine_restarts(
    step: int, warmup: int, total: int, peak: float, least: float = 1e-8
) -> float:
    """Learning rate of the released code: linear warm-up, half cosine, start anew.

    Args:
        step: Optimiser steps already taken.
        warmup: Steps of the linear part of a cycle.
        total: Steps of a cycle.
        peak: Largest rate.
        least: Rate at the start of a cycle and at the end of its cosine.

    Example:
        >>> [round(cosine_restarts(s, 2, 6, 1.0), 3) for s in (0, 1, 2, 4, 6, 8)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 1.0]
    """
    return least + (peak - least) * warmup_cosine(step % total, warmup, total)


def official_optimizer(
    parameters: Iterable[nn.Parameter],
    options: PretrainOptions,
    warmup: float,
    cycle: float,
) -> dict[str, Any]:
    """AdamW that decays every parameter, under `cosine_restarts`.

    Args:
        parameters: Those of the method; what is frozen is left out.
        options: Rate, decay and averaging coefficients.
        warmup: Steps of the linear part.
        cycle: Steps until it starts anew.
    """
    total = max(round(cycle), 1)
    linear, peak = min(round(warmup), total - 1), options.learning_rate
    return adamw_decaying_all(
        parameters,
        options,
        lambda step: cosine_restarts(step, linear, total, peak) / peak,
    )

"""The learning rate's course, and which weights decay."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import nn

__all__ = ["parameter_groups", "warmup_cosine"]


def warmup_cosine(step: int, warmup_steps: float, total_steps: float) -> float:
    """Learning-rate factor: linear warm-up from 0, half cosine to 0, 0 afterwards.

    Args:
        step: Optimiser steps already taken.
        warmup_steps: Length of the linear part.
        total_steps: Where the cosine reaches 0; later steps stay at 0.

    Returns:
        Factor in [0, 1].

    Example:
        >>> [warmup_cosine(s, 2, 6) for s in (0, 1, 2, 4, 6, 9)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return 0.0
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], weight_decay: float
) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: 1-D tensors and biases do not decay.

    Args:
        named: ``module.named_parameters()``.
        weight_decay: Decay of the other group.

    Returns:
        Groups for an optimiser, empty ones left out.
    """
    plain: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    for name, parameter in named:
        if parameter.requires_grad:
            bare = parameter.ndim <= 1 or name.endswith(".bias")
            (plain if bare else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]

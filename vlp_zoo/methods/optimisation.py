"""The optimiser, the learning rate's course, and which weights decay."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import lightning.pytorch as pl
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from vlp_zoo.methods.options import PretrainOptions
from vlp_zoo.schedules import warmup_cosine

__all__ = [
    "adamw_cosine",
    "adamw_decaying_all",
    "cosine_restarts",
    "parameter_groups",
    "steps_per_epoch",
]


def cosine_restarts(
    step: int, period: int, floor: float = 0.0, growth: int = 1
) -> float:
    """Cosine from 1 to ``floor`` that restarts after each period (SGDR).

    Loshchilov and Hutter, arXiv 1608.03983.

    Args:
        step: Optimiser steps already taken.
        period: Steps of the first period.
        floor: What the factor falls to.
        growth: How many times longer each period is than the one before.

    Example:
        >>> [cosine_restarts(step, 2, growth=2) for step in (0, 1, 2, 4, 6)]
        [1.0, 0.5, 1.0, 0.5, 1.0]
    """
    while step >= period:
        step, period = step - period, growth * period
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / period))


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


def adamw_decaying_all(
    parameters: Iterable[nn.Parameter],
    options: PretrainOptions,
    factor: Callable[[int], float],
) -> dict[str, Any]:
    """AdamW that decays every parameter, as several released codes have it.

    Args:
        parameters: Those of the method; what is frozen is left out.
        options: Rate, decay and averaging coefficients.
        factor: Factor of the rate, by the optimiser steps already taken.

    Returns:
        What Lightning's ``configure_optimizers`` returns.
    """
    beta1, beta2 = options.betas
    optimizer = AdamW(
        [p for p in parameters if p.requires_grad],
        lr=options.learning_rate,
        betas=(beta1, beta2),
        weight_decay=options.weight_decay,
    )
    return _stepped(optimizer, factor)


def _stepped(optimizer: AdamW, factor: Callable[[int], float]) -> dict[str, Any]:
    """An optimiser whose rate is set after every step, as Lightning takes it."""
    schedule = LambdaLR(optimizer, factor)
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": schedule, "interval": "step"},
    }


def steps_per_epoch(trainer: pl.Trainer) -> float:
    """Optimiser steps of an epoch; a run given in steps is one epoch."""
    steps, epochs = trainer.estimated_stepping_batches, trainer.max_epochs
    return steps / epochs if epochs and epochs > 0 else float(steps)


def adamw_cosine(
    named: Iterable[tuple[str, nn.Parameter]],
    options: PretrainOptions,
    trainer: pl.Trainer,
) -> dict[str, Any]:
    """AdamW with warm-up and cosine, stepped after every optimiser step.

    Args:
        named: ``module.named_parameters()``.
        options: Rate, decay, averaging coefficients, and the schedule's epochs.
        trainer: Knows how many steps the run has.

    Returns:
        What Lightning's ``configure_optimizers`` returns.
    """
    groups = parameter_groups(named, options.weight_decay)
    beta1, beta2 = options.betas
    # One kernel for all parameters; Lightning's autocast cannot clip with it.
    fused = "mixed" not in str(trainer.precision) or not trainer.gradient_clip_val
    optimizer = AdamW(
        groups, lr=options.learning_rate, betas=(beta1, beta2), fused=fused
    )
    total, per_epoch = trainer.estimated_stepping_batches, steps_per_epoch(trainer)
    warmup = min(options.warmup_epochs * per_epoch, total)
    last = options.schedule_epochs * per_epoch if options.schedule_epochs else total
    return _stepped(optimizer, lambda step: warmup_cosine(step, warmup, last))

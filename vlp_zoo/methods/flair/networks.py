"""Parts of FLAIR's networks, and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.methods.optimisation import adamw_decaying_all
from vlp_zoo.methods.options import PretrainOptions
from vlp_zoo.methods.paired.towers import TextOutput, TextTower
from vlp_zoo.methods.reading import longest
from vlp_zoo.modules import bert_layers

__all__ = ["LayersTower", "UnitLinear", "official_optimizer", "official_rate"]


class UnitLinear(nn.Module):
    """A linear map without bias of vectors scaled to unit length."""

    def __init__(self, width: int, joint: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, joint, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., width) to (..., joint)."""
        projected: Tensor = self.projection(functional.normalize(vectors, dim=-1))
        return projected


class LayersTower(TextTower):
    """A BERT whose first, second and last hidden states are averaged over the tokens.

    Args:
        encoder: The BERT.
        padding: Average over padded positions of a batch too.
    """

    def __init__(self, encoder: Any, padding: bool) -> None:
        super().__init__(encoder)
        encoder.require_bert()
        self.padding = padding

    def forward(
        self,
        input_ids: Tensor,
        mask: Tensor,
        texts: Sequence[str],
        length: int | None = None,
    ) -> TextOutput:
        """Encode. See `TextTower.forward`."""
        length = longest({"attention_mask": mask}) if length is None else length
        mask = mask[:, :length]
        *states, tokens = self.states(input_ids[:, :length], mask)
        weights = torch.ones_like(mask) if self.padding else mask
        # In float32 or better under autocast too.
        shares = (weights / weights.sum(1, keepdim=True))[..., None]
        means = [(shares * state).sum(1) for state in (*states, tokens)]
        return TextOutput(torch.stack(means).mean(0), tokens, mask)

    def states(self, input_ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Hidden states (B, T, D) after layer 1, layer 2 and the last."""
        layers = list(self.encoder.bert.encoder.layer)
        first = bert_layers(layers[:1], self.encoder.embeddings(input_ids), mask)
        second = bert_layers(layers[1:2], first, mask)
        return first, second, bert_layers(layers[2:], second, mask)


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

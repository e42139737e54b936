"""A text tower that reads several layers of its BERT, as FLAIR and MedCLIP do."""

from __future__ import annotations

import torch
from torch import Tensor

from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.methods.paired.towers import TextOutput, TextTower
from vlp_zoo.modules import bert_layers

__all__ = ["LayersTower"]


class LayersTower(TextTower):
    """A BERT whose first, second and last hidden states are averaged over the tokens.

    Args:
        encoder: The BERT.
        padding: Average over padded positions of a batch too.
    """

    def __init__(self, encoder: TextEncoder, padding: bool) -> None:
        super().__init__(encoder)
        encoder.require_bert()
        self.padding = padding

    def read(self, input_ids: Tensor, mask: Tensor) -> TextOutput:
        """Encode token ids (B, T) with their mask (B, T)."""
        states = self.states(input_ids, mask)
        weights = torch.ones_like(mask) if self.padding else mask
        # In float32 or better under autocast too.
        shares = (weights / weights.sum(1, keepdim=True).clamp(min=1))[..., None]
        means = [(shares * state).sum(1) for state in states]
        return TextOutput(torch.stack(means).mean(0), states[-1], mask)

    def states(self, input_ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Hidden states (B, T, D) after layer 1, layer 2 and the last."""
        layers = list(self.encoder.bert.encoder.layer)
        first = bert_layers(layers[:1], self.encoder.embeddings(input_ids), mask)
        second = bert_layers(layers[1:2], first, mask)
        return first, second, bert_layers(layers[2:], second, mask)

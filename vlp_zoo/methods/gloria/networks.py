"""GLoRIA's report encoder: hidden states of several layers, summed."""

from __future__ import annotations

from torch import Tensor

from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.modules import bert_layers

__all__ = ["STATES", "summed_states"]

STATES = 4
"""Hidden states that are summed, the last ones."""


def summed_states(
    encoder: TextEncoder, ids: Tensor, mask: Tensor
) -> tuple[Tensor, int]:
    """The sum of the last hidden states, that of the embeddings being the first.

    Args:
        encoder: A BERT.
        ids: (B, L).
        mask: (B, L), True where a piece is.

    Returns:
        (B, L, E), and how many were summed: fewer than `STATES` of a small BERT.
    """
    layers = encoder.bert.encoder.layer
    first = max(len(layers) + 1 - STATES, 0)
    total = hidden = bert_layers(layers[:first], encoder.embeddings(ids), mask)
    for number in range(first, len(layers)):
        hidden = bert_layers(layers[number : number + 1], hidden, mask)
        total = total + hidden
    return total, len(layers) + 1 - first

"""MGCA's attention: of the first token, inside the encoders, and of parts to parts.

Attention inside the encoders stays fused; only one row of the last block's map is made
beside it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.encoders.image import EncoderOutput, ImageEncoder
from vlp_zoo.methods.mgca.losses import CLOSED
from vlp_zoo.modules import attention_map, bert_layers, split_heads

__all__ = ["attended", "attentive_bert", "attentive_vit", "official_slots"]


def attentive_vit(
    encoder: ImageEncoder, images: Tensor
) -> tuple[EncoderOutput, Tensor]:
    """What a ViT makes of images, and how its class token weighs the patches.

    Args:
        encoder: With a plain ViT.
        images: (B, 3, S, S) normalised.

    Returns:
        The output of the encoder, and (B, P) attention, the mean over heads.
    """
    vit: Any = encoder.require_maskable()
    # As timm's forward_features, with a stop before the last block.
    hidden = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images))))
    for block in vit.blocks[:-1]:
        hidden = block(hidden)
    last = vit.blocks[-1]
    attention = _first_row(last.norm1(hidden.detach()), last.attn)
    features = vit.norm(last(hidden))
    pooled = vit.forward_head(features, pre_logits=True)
    return EncoderOutput(pooled, features[:, 1:], encoder.grid, ()), attention[:, 1:]


@torch.no_grad()
def _first_row(normed: Tensor, attention: Any) -> Tensor:
    """(B, N) of one map of timm's attention over normed tokens (B, N, D)."""
    weight, bias = attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3)
    query, key = (
        split_heads(functional.linear(rows, weight[i], bias[i]), attention.num_heads)
        for i, rows in enumerate((normed[:, :1], normed))
    )
    return attention_map(attention.q_norm(query), attention.k_norm(key))[:, 0]


def attentive_bert(layers: Any, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What a BERT's layers make of word pieces, and how [CLS] weighs them.

    Args:
        layers: ``BertModel.encoder.layer``.
        hidden: (B, T, D).
        mask: (B, T) bool.

    Returns:
        (B, T, D), and (B, T) attention of the last layer before dropout, the mean over
        heads.
    """
    before = bert_layers(layers[:-1], hidden, mask)
    own = layers[-1].attention.self
    with torch.no_grad():
        held = before.detach()
        query, key = (
            split_heads(part, own.num_attention_heads)
            for part in (own.query(held[:, :1]), own.key(held))
        )
        attention = attention_map(query, key, mask)[:, 0]
    return bert_layers(layers[-1:], before, mask), attention


def official_slots(slots: Tensor, mask: Tensor) -> Tensor:
    """Which word each piece belongs to in the released code.

    Its walk ends one token early: the [SEP] of a report that fills all tokens is not
    reached, and so never closes the word before it. Both are lost.

    Args:
        slots: (B, T) from `word_slots`.
        mask: (B, T) bool, True = token.
    """
    lost = (slots >= slots[:, -2:-1]) & mask[:, -1:]
    return slots.masked_fill(lost, slots.shape[1])


def attended(
    anchors: Tensor,
    others: Tensor,
    temperature: float,
    layer: nn.MultiheadAttention | None,
    present: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Each anchor's counterpart: the others' mean, weighted by their similarity to it.

    Args:
        anchors: (B, N, E) unit length.
        others: (B, M, E) unit length.
        temperature: Divides similarities.
        layer: Finds counterparts instead, where it is trained to.
        present: (B, M) bool, which of the others there are; None = all.

    Returns:
        (B, N, E), not of unit length, and the weights (B, N, M).
    """
    if layer is not None:
        absent = None if present is None else ~present
        found = layer(anchors, others, others, key_padding_mask=absent)
        return found[0], found[1]
    scores = anchors @ others.transpose(1, 2) / temperature
    if present is not None:
        scores = scores.masked_fill(~present[:, None], CLOSED)
    weights = scores.softmax(2)
    return weights @ others, weights

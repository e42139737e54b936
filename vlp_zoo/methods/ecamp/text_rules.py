"""ECAMP's rules for text: which tokens are hidden and what each one weighs.

The functions take marks made by `vlp_zoo.methods.ecamp.text` and uniform noise, and
run on whole batches on the device, so a step's draws can be replayed exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vlp_zoo.modules import word_starts

__all__ = [
    "CORRECTED",
    "OFFICIAL",
    "TextRules",
    "select_masked",
    "token_weights",
]


@dataclass(frozen=True, slots=True)
class TextRules:
    """What differs between the authors' code and the idea they describe.

    The defaults are the authors' code. `CORRECTED` holds the other side of each
    switch; numbers are the same in both.

    Attributes:
        insert_probability: Chance that the distilled context enters the report.
        mask_ratio: Chance of an ordinary token where the report names an entity; the
            entities themselves have chances of their own.
        mask_ratio_without_entity: Chance of a token where it names none.
        entity_ratio: Chance of an entity.
        template_weight: Weight of tokens in stock phrases ("there is no").
        split_at_periods: Insert at any period, the one in "3.5 cm" too; else between
            sentences.
        single_tokens: Entities are single tokens of the authors' list and descriptors
            single tokens before them. Else whole words, plurals included, however
            many pieces they have; descriptors are whole words of the same sentence,
            without punctuation and without entities.
        pieces_left_visible: The pieces that continue a single-token entity stay
            visible. Else, and always for whole words, they share its fate.
        force_descriptors: Descriptors are always hidden, as the paper's figure shows.
        last_position_visible: The last position is never hidden, as if [SEP] stood
            there, which is not so.
        weigh_padding: Padding counts as tokens: it has weights, and they sum to T.
            Else its weight is 0 and the others sum to the number of real tokens.
    """

    insert_probability: float = 0.8
    mask_ratio: float = 0.7
    mask_ratio_without_entity: float = 0.75
    entity_ratio: float = 0.75
    template_weight: float = 0.05
    split_at_periods: bool = True
    single_tokens: bool = True
    pieces_left_visible: bool = True
    force_descriptors: bool = False
    last_position_visible: bool = True
    weigh_padding: bool = True


OFFICIAL = TextRules()
"""The authors' code, to the bit."""

CORRECTED = TextRules(
    split_at_periods=False,
    single_tokens=False,
    pieces_left_visible=False,
    force_descriptors=True,
    last_position_visible=False,
    weigh_padding=False,
)
"""The method as the paper describes it."""


def select_masked(
    attention_mask: Tensor,
    entity_mask: Tensor,
    descriptor_mask: Tensor,
    continuation_mask: Tensor,
    *,
    token_noise: Tensor,
    entity_noise: Tensor,
    rules: TextRules = OFFICIAL,
) -> Tensor:
    """Choose the tokens to hide behind [MASK]; [CLS] and padding never are.

    No random words take their place, and none is kept for show.

    One draw decides a word: a piece takes the state of the word's first token.
    Entities are decided by draws of their own.

    Args:
        attention_mask: (B, T) bool, True = token; tokens come first in each row.
        entity_mask: (B, T) bool.
        descriptor_mask: (B, T) bool; read only if ``rules.force_descriptors``.
        continuation_mask: (B, T) bool, True for ``##`` pieces.
        token_noise: (B, T) uniform in [0, 1), for ordinary tokens. Float32 or more:
            in bfloat16 the chances would be off by up to 0.002.
        entity_noise: (B, T) the same, for entities.
        rules: Chances and switches.

    Returns:
        (B, T) bool, True = hide.
    """
    positions = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    maskable = attention_mask & (positions > 0)
    if rules.last_position_visible:
        maskable = maskable & (positions < attention_mask.shape[1] - 1)
    entity = entity_mask & maskable
    threshold = torch.where(
        entity.any(dim=1, keepdim=True),
        rules.mask_ratio,
        rules.mask_ratio_without_entity,
    ).to(token_noise.dtype)
    ordinary = (token_noise < threshold) & maskable & ~entity
    if rules.force_descriptors:
        ordinary = ordinary | (descriptor_mask & maskable & ~entity)
    starts = word_starts(continuation_mask)
    selected = ordinary.gather(1, starts)
    drawn = entity_noise < rules.entity_ratio
    if not (rules.single_tokens and rules.pieces_left_visible):
        drawn = drawn.gather(1, starts)
        entity = entity.gather(1, starts)
    return torch.where(entity, drawn, selected) & maskable


def token_weights(
    attention_mask: Tensor,
    descriptor_mask: Tensor,
    template_mask: Tensor,
    *,
    rules: TextRules = OFFICIAL,
) -> Tensor:
    """Entity-aware re-balancing: stock phrases lose weight, descriptors gain it.

    Stock phrases fall to ``template_weight``; what they lose is spread over the
    descriptors, or over everything where there are none. Without a stock phrase all
    weights are 1.

    Args:
        attention_mask: (B, T) bool, True = token.
        descriptor_mask: (B, T) bool.
        template_mask: (B, T) bool, tokens of stock phrases.
        rules: ``template_weight`` and ``weigh_padding``.

    Returns:
        (B, T) float32, whatever the autocast state. A row sums to T, or to its number
        of tokens without ``weigh_padding``.
    """
    low = rules.template_weight
    weights = torch.where(template_mask, low, 1.0).to(torch.float32)
    real = attention_mask.to(torch.float32)
    if rules.weigh_padding:
        total = torch.full_like(weights[:, :1], float(weights.shape[1]))
    else:
        weights = weights * real
        total = real.sum(dim=1, keepdim=True)
    templates = template_mask.sum(dim=1, keepdim=True)
    descriptors = descriptor_mask.sum(dim=1, keepdim=True)
    both = (template_mask & descriptor_mask).sum(dim=1, keepdim=True)
    freed = 1.0 - low
    # Without a stock phrase both factors are exactly 1. Without a descriptor the
    # first is 0/0, which the clamp keeps finite and the last line drops.
    to_descriptors = (freed * (templates - both) + descriptors) / (
        descriptors - freed * both
    ).clamp(min=1e-6)
    to_all = total / (total - freed * templates).clamp(min=1e-6)
    boosted = torch.where(descriptor_mask, weights * to_descriptors, weights)
    return torch.where(descriptors > 0, boosted, weights * to_all)

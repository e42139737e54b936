"""GLoRIA's matching of words with places, and its two losses (ICCV 2021).

Everything here is float32 or better.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vlp_zoo.gather import exchanging, gather_rows, row_offset
from vlp_zoo.losses import contrast

__all__ = [
    "Scales",
    "Words",
    "local_loss",
    "match",
    "prompt_scores",
    "word_attention",
]

VALUES = 2**24
"""Products of a place and a word that are alive at once; more are made in parts."""


class Scales(NamedTuple):
    """What similarities are multiplied by."""

    attention: float  # t1, shares of words before the softmax over places
    words: float  # t2, cosines of words before they are pooled
    loss: float  # t3, scores of pairs


class Words(NamedTuple):
    """Texts by words."""

    features: Tensor  # (N, W, E), [CLS] first
    counts: Tensor  # (N,) int64, the first so many slots count; at least 1


def word_attention(products: Tensor, counted: Tensor, scale: float) -> Tensor:
    r"""Where in an image each word looks.

    .. math:: \beta = \mathrm{softmax}_{places}(t_1\,\mathrm{softmax}_{words}(w \cdot p))

    Args:
        products: (..., W, P) of words and places.
        counted: (..., W) bool, words that count.
        scale: t1.

    Returns:
        (..., W, P), rows of sum 1.
    """
    open_words = products.masked_fill(~counted[..., None], -math.inf)
    return (scale * open_words.softmax(-2)).softmax(-1)


def match(places: Tensor, words: Words, scales: Scales, pool: str = "sum") -> Tensor:
    r"""Local scores of all images with all texts.

    Each word attends to the places of the image and is compared with what it sees,
    :math:`r_k = \cos(w_k, \sum_x \beta_{kx} p_x)`; the cosines are pooled over words.
    What a word sees is never formed: its product with the word is
    :math:`\sum_x \beta_{kx} (w_k \cdot p_x)`, its length follows from the products of
    places with each other. Beyond `VALUES` texts are taken in parts, whose
    intermediate values are made again in backward.

    Args:
        places: (B, P, E).
        words: N texts.
        scales: t1 and t2.
        pool: Over words, of the scaled cosines: logarithm of the ``"sum"`` or the
            ``"mean"`` of the exponentials, or their ``"max"``.

    Returns:
        (B, N).
    """
    features, counts = words
    gram = places @ places.transpose(1, 2)
    number = max(VALUES // (places.shape[:2].numel() * features.shape[1]), 1)
    if number >= len(features):
        return _match(places, gram, features, counts, scales, pool)
    parts = zip(torch.split(features, number), torch.split(counts, number), strict=True)
    found = [
        checkpoint(
            _match,
            *(places, gram, some, those, scales, pool),
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for some, those in parts
    ]
    return torch.cat(found, dim=1)


def _match(
    places: Tensor,
    gram: Tensor,
    features: Tensor,
    counts: Tensor,
    scales: Scales,
    pool: str,
) -> Tensor:
    number = torch.arange(features.shape[1], device=counts.device)
    counted = number < counts[:, None]
    products = features.flatten(0, 1) @ places.transpose(1, 2)
    products = torch.unflatten(products, 1, features.shape[:2])
    attention = word_attention(products, counted, scales.attention)
    inner = (attention * products).sum(-1)
    flat = attention.flatten(1, 2)
    square = ((flat @ gram) * flat).sum(-1).view_as(inner)
    # Rounding may make a tiny square negative.
    lengths = features.norm(dim=-1) * square.clamp(min=1e-16).sqrt()
    scaled = scales.words * inner / lengths.clamp(min=1e-8)
    scaled = scaled.masked_fill(~counted, -math.inf)
    if pool == "max":
        return torch.amax(scaled, -1)
    pooled: Tensor = scaled.logsumexp(-1)
    return pooled - counts.to(pooled.dtype).log() if pool == "mean" else pooled


def local_loss(
    places: Tensor,
    words: Words,
    scales: Scales,
    pool: str = "sum",
    targets: Tensor | None = None,
    gather: bool = False,
) -> tuple[Tensor, Tensor]:
    """Contrast of `match`, image to text and text to image.

    Places stay where they are: each process scores its own images against the texts of
    all, and the scores themselves are exchanged for the other direction.

    Args:
        places: (B, P, E).
        words: B texts, in the order of the images.
        scales: What similarities are multiplied by.
        pool: How words are pooled, as for `match`.
        targets: (B, N) as of `multi_positive_targets`; None = the own text alone.
        gather: Against the texts of all processes (N = W*B), else against this
            process's own (N = B).
    """
    batch, first = len(places), 0
    if gather and exchanging():
        counts = gather_rows(words.counts)
        # Of one width everywhere: that of the longest text.
        beyond = int(counts.max()) - words.features.shape[1]
        features = functional.pad(words.features, (0, 0, 0, beyond))
        words, first = Words(gather_rows(features), counts), row_offset(batch)
    scores = scales.loss * match(places, words, scales, pool)
    everyone = gather_rows(scores) if gather else scores
    return contrast(scores, everyone[:, first : first + batch].T, first, targets)


def prompt_scores(
    image: Tensor, places: Tensor, text: Tensor, words: Words, scales: Scales
) -> tuple[Tensor, Tensor]:
    """Zero-shot similarities of images with prompts, whole and by the best word.

    Args:
        image: (B, E).
        places: (B, P, E).
        text: (N, E).
        words: N prompts, [CLS] included; it takes no part.
        scales: t1 and t2.

    Returns:
        Cosines (B, N), and t2 times the cosine of the best word (B, N).
    """
    whole = functional.normalize(image, dim=1) @ functional.normalize(text, dim=1).T
    said = Words(words.features[:, 1:], words.counts - 1)
    return whole, match(places, said, scales, "max")

"""Sentences of reports: how rare each is, and one state for each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

from vlp_zoo.methods.paired.fields import observations
from vlp_zoo.methods.text_keys import text_key
from vlp_zoo.reports.sections import clean

__all__ = ["inverse_frequencies", "sentence_means"]


def inverse_frequencies(corpus: Iterable[str], min_words: int = 2) -> dict[int, float]:
    r"""Weight of each sentence that occurs in more than one report, by `text_key`.

    .. math:: w_s = \log(N / n_s) / \log N

    so that a sentence of one report only, which is left out, would have weight 1.

    Args:
        corpus: N reports.
        min_words: Shorter sentences do not count.
    """
    counts: Counter[int] = Counter()
    reports = 0
    for text in corpus:
        reports += 1
        counts.update(text_key(part) for part in observations(clean(text), min_words))
    scale = math.log(max(reports, 2))
    # Never quite 0: a batch of nothing but stock phrases still has sentences.
    return {
        key: max(math.log(reports / count) / scale, 0.01)
        for key, count in counts.items()
        if count > 1
    }


def sentence_means(tokens: Tensor, span_ids: Tensor, sentences: int) -> Tensor:
    """Mean of the token states of each sentence.

    Args:
        tokens: (B, T, D).
        span_ids: (B, T) int64, sentence of each token, -1 = none.
        sentences: S.

    Returns:
        (B, S, D); zeros where a sentence has no token.

    Example:
        >>> states = torch.tensor([[[1.0], [3.0], [5.0]]])
        >>> sentence_means(states, torch.tensor([[-1, 1, 1]]), 2)
        tensor([[[0.],
                 [4.]]])
    """
    numbers = torch.arange(sentences, device=span_ids.device)
    chosen = (span_ids[:, None] == numbers[:, None]).to(tokens.dtype)
    return (chosen @ tokens) / chosen.sum(2, keepdim=True).clamp(min=1)

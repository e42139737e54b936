"""The tokenizer of recorded BERTs, from the list of their word pieces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.encoders.vocabulary import word_piece

__all__ = ["continuations", "recorded_words"]


def continuations(vocabulary: Sequence[str], ids: Tensor) -> Tensor:
    """Which tokens of ids continue a word, by the recorded word pieces."""
    return torch.tensor([piece.startswith("##") for piece in vocabulary])[ids]


def recorded_words(vocabulary: Sequence[str]) -> ReportTokenizer:
    """A BERT's lower-case tokenizer: each punctuation mark is a word, digits are letters.

    Args:
        vocabulary: Word pieces in the order of their ids.
    """
    spec = word_piece({token: index for index, token in enumerate(vocabulary)})
    spec["normalizer"] = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    }
    spec["pre_tokenizer"] = {"type": "BertPreTokenizer"}
    return ReportTokenizer(spec, origin="the recording")

"""Reports as captions: impression before findings, words only, no punctuation.

ASG, MGCA (Wang et al., arXiv 2210.06044) and GLoRIA read them so, and merge the pieces
of their words (`vlp_zoo.methods.paired.words`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.reports.sections import clean, split_sentences
from vlp_zoo.types import Report

__all__ = [
    "caption",
    "caption_pieces",
    "official_sentences",
    "report_sentences",
    "tokenize_texts",
    "words_of",
]

Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_WORD = re.compile(r"[a-z0-9]+")


def report_sentences(report: Report) -> list[str]:
    """Sentences of a report, impression first; of the whole text without sections."""
    parts = [report.impression, report.findings]
    text = "\n\n".join(part for part in parts if part.strip()) or report.body
    return [clean(sentence) for sentence in split_sentences(text)]


def caption(text: str) -> list[str]:
    """A text's sentences as the report encoder reads them.

    >>> caption("No effusion. 3.5 cm mass.")
    ['no effusion', '3 5 cm mass']
    """
    return [words_of(clean(sentence)) for sentence in split_sentences(text)]


def words_of(sentence: str) -> str:
    """A sentence without punctuation, in lower case."""
    return " ".join(_WORD.findall(sentence.lower()))


def official_sentences(text: str) -> list[str]:
    """A text's sentences as the released code of GLoRIA and MGCA cuts them.

    At numbers followed by a dot, then at every dot, so decimals are cut as well.
    Sentences of one word are dropped, letters beyond ASCII too, in this order: a
    sentence of nothing but such letters is left as ``""``, which GLoRIA keeps and MGCA
    drops.

    >>> official_sentences("Tip is 4.5 cm deep. Stable. \u03b1 \u03b2")
    ['tip is', '5 cm deep', '']
    """
    pieces = re.split(r"[0-9]+\.|\.", text.replace("\n", " "))
    found = (
        re.findall(r"\w+", piece.replace("\ufffd\ufffd", " ").lower())
        for piece in pieces
    )
    plain = (
        (word.encode("ascii", "ignore").decode() for word in words)
        for words in found
        if len(words) > 1
    )
    return [" ".join(filter(None, words)) for words in plain]


def caption_pieces(
    tokenizer: ReportTokenizer, sentences: Sequence[str], max_tokens: int
) -> tuple[Ids, Mask, Mask, list[range]]:
    """Tokens of a caption, and the words of each sentence in it.

    Args:
        tokenizer: The vocabulary.
        sentences: Sentences of the report, from `caption`.
        max_tokens: T, special tokens included.

    Returns:
        ids (T,), attention mask (T,), continuation mask (T,), and for each sentence
        the numbers of its words (the first word after [CLS] is 0), cut where the
        caption is cut.
    """
    pieces: list[int] = []
    spans: list[tuple[int, int]] = []
    for sentence in sentences:
        start = len(pieces)
        pieces += tokenizer.pieces(sentence)
        spans.append((start, len(pieces)))
    pieces = pieces[: max_tokens - 2]
    ids = np.full(max_tokens, tokenizer.pad_id, np.int64)
    row = [tokenizer.cls_id, *pieces, tokenizer.sep_id]
    ids[: len(row)] = row
    present = np.arange(max_tokens) < len(row)
    continues = tokenizer.continuation[ids] & present
    # Words opened before each piece: the number of the word that starts there.
    opened = np.concatenate([[0], np.cumsum(~continues[1 : len(pieces) + 1])])
    words = [
        range(int(opened[min(a, len(pieces))]), int(opened[min(b, len(pieces))]))
        for a, b in spans
    ]
    return ids, present, continues, words


def tokenize_texts(
    tokenizer: ReportTokenizer, texts: Sequence[str], max_tokens: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Texts as the report encoder reads them, padded.

    Returns:
        ids (N, T) int64, attention mask (N, T), continuation mask (N, T).
    """
    rows = [caption_pieces(tokenizer, caption(text), max_tokens) for text in texts]
    ids, present, continues = (
        torch.from_numpy(np.stack([row[field] for row in rows])) for field in (0, 1, 2)
    )
    return ids, present, continues

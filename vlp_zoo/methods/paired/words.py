"""Words of word pieces: one weighted sum, with no loop over tokens.

ASG, MGCA and GLoRIA read reports by words; a word's state is the sum of its pieces'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from torch import Tensor

from vlp_zoo.methods.reading import longest

__all__ = ["Pieces", "merge_words", "word_slots", "written_words"]


class Pieces(NamedTuple):
    """Texts as word pieces, padded."""

    ids: Tensor  # (B, T) int64
    present: Tensor  # (B, T) bool, True = token
    continues: Tensor  # (B, T) bool, True = ## piece
    length: int | None = None  # of the longest text; None counts it on the device

    @classmethod
    def of(cls, batch: Mapping[str, Any]) -> Self:
        """Those of a batch."""
        ids, present = batch["input_ids"], batch["attention_mask"]
        return cls(ids, present, batch["continuation_mask"], longest(batch))


def word_slots(continuation_mask: Tensor, attention_mask: Tensor) -> Tensor:
    """Which word each word piece belongs to.

    A piece that does not continue a word opens one, special tokens included, so [CLS]
    is word 0 and [SEP] the last one.

    Args:
        continuation_mask: (B, T) bool, True = ``##`` piece.
        attention_mask: (B, T) bool, True = token.

    Returns:
        (B, T) int64; padding belongs to word T, which `merge_words` drops.

    Example:
        >>> import torch
        >>> continues = torch.tensor([[False, False, True, False, False]])
        >>> word_slots(continues, torch.tensor([[True, True, True, True, False]]))
        tensor([[0, 1, 1, 2, 5]])
    """
    opens = attention_mask & ~continuation_mask
    slots = (opens.long().cumsum(1) - 1).clamp(min=0)
    return slots.masked_fill(~attention_mask, attention_mask.shape[1])


def merge_words(pieces: Tensor, slots: Tensor) -> Tensor:
    """Sum the pieces of each word.

    Args:
        pieces: (B, L, D) features, L at most T: what is cut off must be padding.
        slots: (B, T) from `word_slots`.

    Returns:
        (B, T, D); zero where there is no word.
    """
    batch, length = slots.shape
    index = slots[:, : pieces.shape[1], None].expand(-1, -1, pieces.shape[2])
    words = pieces.new_zeros(batch, length + 1, pieces.shape[2])
    return words.scatter_add(1, index, pieces)[:, :length]


def written_words(tokens: Sequence[str], ids: Tensor, mask: Tensor) -> list[str]:
    """The words of a report as its encoder reads them, without [CLS], with [SEP].

    Args:
        tokens: The vocabulary by id; where it is empty, ids stand for words.
        ids: (T,).
        mask: (T,) bool, True = token.
    """
    words: list[str] = []
    for piece in ids[mask].tolist()[1:]:
        token = tokens[piece] if tokens else str(piece)
        if token.startswith("##") and words:
            words[-1] += token.removeprefix("##")
        else:
            words.append(token)
    return words

"""What GLoRIA shows of a batch: where the words of a caption look."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vlp_zoo.methods.gloria.losses import Words, word_attention
from vlp_zoo.methods.paired.pictures import SHOWN, STUDIES, draw_attention
from vlp_zoo.methods.paired.word_fields import WordBatch
from vlp_zoo.methods.paired.words import written_words

__all__ = ["draw_looks"]


def draw_looks(
    tokens: Sequence[str],
    batch: WordBatch,
    words: Words,
    places: Tensor,
    scale: float,
    grid: tuple[int, int],
) -> Tensor:
    """A row for each of the first studies: its image, and it under its first words.

    Args:
        tokens: The vocabulary by id; where it is empty, ids stand for words.
        batch: The studies.
        words: The words of their captions, [CLS] first, (B, T, E).
        places: (B, rows * columns, E), places of their images.
        scale: By which products are multiplied before a word's softmax over places.
        grid: Rows and columns of places.

    Returns:
        (3, H, W) in 0..1; below each map its word.
    """
    maps, labels = [], []
    for row in range(min(STUDIES, len(places))):
        ids, mask = batch["input_ids"][row], batch["attention_mask"][row]
        # Without [SEP].
        labels.append(written_words(tokens, ids, mask)[:-1][:SHOWN])
        products = words.features[row].float() @ places[row].float().T
        counted = torch.arange(len(products), device=products.device)
        looks = word_attention(products, counted < words.counts[row], scale)
        maps.append(looks[1 : 1 + len(labels[-1])])
    return draw_attention(batch["image"], grid, maps, labels)

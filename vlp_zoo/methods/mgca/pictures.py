"""What MGCA shows of a batch: where the words that weigh most look."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vlp_zoo.methods.paired.pictures import SHOWN, STUDIES, draw_attention
from vlp_zoo.methods.paired.word_fields import WordBatch
from vlp_zoo.methods.paired.words import written_words

__all__ = ["draw_words"]


def draw_words(
    tokens: Sequence[str],
    batch: WordBatch,
    looks: Tensor,
    weights: Tensor,
    grid: tuple[int, int],
) -> Tensor:
    """A row for each of the first studies: its image, and it under its heaviest words.

    Args:
        tokens: The vocabulary by id; where it is empty, ids stand for words.
        batch: The studies.
        looks: (B, W, rows * columns), where each word looks.
        weights: (B, W) of words.
        grid: Rows and columns of patches.

    Returns:
        (3, H, W) in 0..1; below each map its word and the weight.
    """
    maps, labels = [], []
    for row in range(min(STUDIES, len(looks))):
        ids, mask = batch["input_ids"][row], batch["attention_mask"][row]
        said = written_words(tokens, ids, mask)[:-1]
        chosen = weights[row, : len(said)].argsort(descending=True)[:SHOWN].tolist()
        maps.append(looks[row, chosen])
        labels.append([f"{said[i]} ({float(weights[row, i]):.2f})" for i in chosen])
    return draw_attention(batch["image"], grid, maps, labels)

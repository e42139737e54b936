"""What PLACE shows of a batch: where each query looks, and for which sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vlp_zoo.methods.paired.pictures import SHOWN, STUDIES, draw_attention

if TYPE_CHECKING:
    from vlp_zoo.methods.paired.fields import SentenceBatch

__all__ = ["STUDIES", "draw_correlation", "draw_queries"]


def draw_queries(
    batch: SentenceBatch, grid: tuple[int, int], attention: Tensor, pairing: Tensor
) -> Tensor:
    """A row for each of the first studies: its image, and its busiest queries over it.

    Args:
        batch: The studies.
        grid: Rows and columns of patches.
        attention: (B, Q, rows * columns), where each query looks.
        pairing: (B, Q, S), its share in each sentence.

    Returns:
        (3, H, W) in 0..1; below each attention map the sentence that its query is
        paired with most.
    """
    maps, labels = [], []
    for row in range(min(STUDIES, len(pairing))):
        busiest = pairing[row].sum(1).argsort(descending=True)[:SHOWN]
        maps.append(attention[row, busiest])
        shares, sentences = pairing[row, busiest].max(1)
        texts = [batch["sentences"][row][best] for best in sentences.tolist()]
        labels.append(
            [
                f"query {query} ({share:.2f})\n{text}" if text else ""
                for query, share, text in zip(
                    busiest.tolist(), shares.tolist(), texts, strict=True
                )
            ]
        )
    return draw_attention(batch["image"], grid, maps, labels)


def draw_correlation(wanted: Tensor, predicted: Tensor) -> Tensor:
    """Covariance wanted (left) and predicted (right).

    Grey from -3 to 3 deviations, studies below each other: (3, H, W) in 0..1.
    """
    pairs = torch.cat([wanted.float(), predicted.float()], dim=2)
    picture = torch.cat(list((pairs / 6 + 0.5).clamp(0, 1)), dim=0)
    scale = max(256 // pairs.shape[1], 1)
    picture = picture.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    return picture.expand(3, -1, -1)

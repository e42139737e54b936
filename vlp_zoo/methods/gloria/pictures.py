"""What GLoRIA shows of a batch: where the words of a caption look in its image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.methods.gloria.losses import Words, word_attention

__all__ = ["draw_attention"]

SHOWN = 6
"""Words of a caption that are shown, the first ones."""


@torch.no_grad()
def draw_attention(
    pixels: Tensor, places: Tensor, words: Words, grid: tuple[int, int], scale: float
) -> Tensor:
    """Each image, then the same under the attention of its words, in red.

    Args:
        pixels: (B, 1 or 3, S, S) uint8.
        places: (B, h * w, E).
        words: The images' own captions; [CLS] is not shown.
        grid: h and w.
        scale: t1.

    Returns:
        (3, B * S, (1 + `SHOWN`) * S) in 0..1; black beyond the last word.
    """
    images = pixels.float().expand(-1, 3, -1, -1) / 255
    features, counts = words
    counted = torch.arange(features.shape[1], device=counts.device) < counts[:, None]
    products = features.float() @ places.float().transpose(1, 2)
    maps = word_attention(products, counted, scale)[:, 1 : 1 + SHOWN]
    seen = functional.interpolate(
        torch.unflatten(maps, 2, grid), images.shape[-2:], mode="bilinear"
    )
    low, high = (f(seen, (2, 3), keepdim=True) for f in (torch.amin, torch.amax))
    seen = ((seen - low) / (high - low).clamp(min=1e-12))[:, :, None]
    red = torch.tensor([1.0, 0.0, 0.0], device=seen.device).view(3, 1, 1)
    heat = images[:, None] * (1 - 0.5 * seen) + 0.5 * seen * red
    heat = heat * counted[:, 1 : 1 + SHOWN, None, None, None]
    rows = torch.cat([images[:, None], heat], dim=1)
    return torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)

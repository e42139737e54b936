"""What PLACE shows of a batch: where each query looks, and for which sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from vlp_zoo.methods.paired.fields import SentenceBatch

__all__ = ["STUDIES", "draw_correlation", "draw_queries"]

TILE = 160
STUDIES = 3
QUERIES = 6


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
    from PIL import Image, ImageDraw, ImageFont

    count = min(STUDIES, len(pairing))
    caption = 52
    sheet = Image.new("RGB", ((QUERIES + 1) * TILE, count * (TILE + caption)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for row in range(count):
        top = row * (TILE + caption)
        image = functional.interpolate(
            batch["image"][row : row + 1].float(), (TILE, TILE)
        )
        colour = image[0].clamp(0, 255).byte().expand(3, -1, -1)
        pixels = np.asarray(colour.permute(1, 2, 0).cpu().numpy())
        sheet.paste(Image.fromarray(pixels), (0, top))
        busiest = pairing[row].sum(1).argsort(descending=True)[:QUERIES]
        for column, query in enumerate(busiest.tolist(), 1):
            tile = _overlay(pixels, attention[row, query].view(grid))
            sheet.paste(Image.fromarray(tile), (column * TILE, top))
            sentence = batch["sentences"][row][int(pairing[row, query].argmax())]
            share = float(pairing[row, query].max())
            words = (
                f"query {query} ({share:.2f})\n{_wrap(sentence)}" if sentence else ""
            )
            pen.multiline_text(
                (column * TILE + 3, top + TILE + 2), words, "black", font
            )
    return torch.from_numpy(np.array(sheet)).permute(2, 0, 1).float() / 255


def _wrap(text: str, width: int = 27, lines: int = 2) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" ..."))


def _overlay(pixels: np.ndarray, attention: Tensor) -> np.ndarray:
    """The lightness of an image, attention in red: uint8 (TILE, TILE, 3), like it."""
    heat = functional.interpolate(
        attention[None, None].float().cpu(), (TILE, TILE), mode="bilinear"
    )[0, 0]
    heat = heat / heat.max().clamp(min=1e-12)
    # A red map could not be read on the red of a fundus.
    light = torch.from_numpy(pixels).float().mean(2, keepdim=True)
    colour = light.repeat(1, 1, 3) * 0.7
    colour[..., 0] += heat * (255 - colour[..., 0])
    return np.asarray(colour.byte().numpy(), np.uint8)


def draw_correlation(wanted: Tensor, predicted: Tensor) -> Tensor:
    """Covariance wanted (left) and predicted (right).

    Grey from -3 to 3 deviations, studies below each other: (3, H, W) in 0..1.
    """
    pairs = torch.cat([wanted.float(), predicted.float()], dim=2)
    picture = torch.cat(list((pairs / 6 + 0.5).clamp(0, 1)), dim=0)
    scale = max(256 // pairs.shape[1], 1)
    picture = picture.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    return picture.expand(3, -1, -1)

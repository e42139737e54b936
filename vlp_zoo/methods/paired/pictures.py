"""Pictures of a batch that several image-report methods show: views, matrices, attention."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.pixels.levels import reddened

__all__ = [
    "SHOWN",
    "STUDIES",
    "draw_attention",
    "draw_views",
    "heat_map",
    "pair_pictures",
]

CELL = 24
"""Pixels of one entry of a matrix."""

TILE = 160
STUDIES = 3
"""Studies to show."""
SHOWN = 6
"""Maps to show of each."""


def heat_map(matrix: Tensor) -> Tensor:
    """A matrix as a picture: black for its least entry, over red, to white.

    Args:
        matrix: (R, C).

    Returns:
        (3, R * CELL, C * CELL) in 0..1; black where all entries are equal.
    """
    values = matrix.float()
    span = (values.max() - values.min()).clamp(min=1e-12)
    level = (values - values.min()) / span
    # As "hot": red rises first, then green, then blue.
    colour = torch.stack([level * 3, level * 3 - 1, level * 3 - 2]).clamp(0, 1)
    return colour.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)


def draw_views(pixels: Sequence[Tensor]) -> Tensor:
    """Studies side by side, their V views below one another: (3, V*S, B*S) in 0..1."""
    rows = [torch.cat(list(view.float() / 255), dim=2) for view in pixels]
    return torch.cat(rows, dim=1).expand(3, -1, -1)


def pair_pictures(
    shown: Tensor, images: Tensor, texts: Tensor, reports: Sequence[str]
) -> dict[str, Tensor | str]:
    """Images in a row, their similarities to the texts (rows: images), and the texts.

    Args:
        shown: (B, 1 or 3, S, S) uint8.
        images: (B, E), of any length.
        texts: (B, E), of any length.
        reports: The texts as strings.
    """
    images, texts = (functional.normalize(x.float(), dim=1) for x in (images, texts))
    return {
        "images": draw_views([shown]),
        "similarity": heat_map(images @ texts.T),
        "reports": "\n\n".join(reports),
    }


def draw_attention(
    images: Tensor,
    grid: tuple[int, int],
    maps: Sequence[Tensor],
    labels: Sequence[Sequence[str]],
) -> Tensor:
    """A row for each study: its image, and the same under maps of attention.

    Args:
        images: (B, 1 or 3, S, S) uint8; the first ones are shown.
        grid: Rows and columns of patches.
        maps: For each study shown (n, rows * columns), n at most `SHOWN`.
        labels: For each study n texts, a first line and what is wrapped below it.

    Returns:
        (3, H, W) in 0..1.
    """
    from PIL import Image, ImageDraw, ImageFont

    caption = 52
    sheet = Image.new(
        "RGB", ((SHOWN + 1) * TILE, len(maps) * (TILE + caption)), "white"
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for row, (found, texts) in enumerate(zip(maps, labels, strict=True)):
        top = row * (TILE + caption)
        image = functional.interpolate(images[row : row + 1].float(), (TILE, TILE))
        colour = image[0].clamp(0, 255).byte().expand(3, -1, -1)
        pixels = np.asarray(colour.permute(1, 2, 0).cpu().numpy())
        sheet.paste(Image.fromarray(pixels), (0, top))
        for column, (attention, text) in enumerate(zip(found, texts, strict=True), 1):
            tile = _overlay(pixels, attention.view(grid))
            sheet.paste(Image.fromarray(tile), (column * TILE, top))
            first, _, rest = text.partition("\n")
            words = f"{first}\n{_wrap(rest)}"
            pen.multiline_text(
                (column * TILE + 3, top + TILE + 2), words, "black", font
            )
    return torch.from_numpy(np.array(sheet)).permute(2, 0, 1).float() / 255


def _wrap(text: str, width: int = 27, lines: int = 2) -> str:
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" ..."))


def _overlay(pixels: np.ndarray, attention: Tensor) -> np.ndarray:
    """The lightness of an image, attention in red: uint8 (TILE, TILE, 3), like it."""
    heat = functional.interpolate(
        attention[None, None].float().cpu(), (TILE, TILE), mode="bilinear"
    )[0, 0]
    heat = heat / heat.max().clamp(min=1e-12)
    return reddened(pixels, heat.numpy())

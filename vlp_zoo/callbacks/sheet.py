"""Pictures of a batch below each other on one sheet, each with its name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

__all__ = ["labelled_sheet"]

WIDTH, HEIGHT = 1024, 320
"""Pixels that a picture is enlarged up to."""

LINE, MARGIN = 26, 8


def labelled_sheet(pictures: Mapping[str, Tensor]) -> Tensor:
    """Enlarge pictures by whole factors and write their names above them.

    Args:
        pictures: Name to (3, H, W) in 0..1; of several sizes.

    Returns:
        (3, H, W) in 0..1.
    """
    from PIL import Image, ImageDraw, ImageFont

    large = {name: _enlarged(picture) for name, picture in pictures.items()}
    width = max(picture.shape[2] for picture in large.values()) + 2 * MARGIN
    height = sum(p.shape[1] + LINE + MARGIN for p in large.values()) + MARGIN
    sheet = Image.new("RGB", (max(width, WIDTH // 2), height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    y = MARGIN
    for name, picture in large.items():
        pen.text((MARGIN, y), name.replace("_", " "), fill="black", font=font)
        pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
        sheet.paste(Image.fromarray(pixels), (MARGIN, y + LINE))
        y += picture.shape[1] + LINE + MARGIN
    return torch.from_numpy(np.array(sheet)).permute(2, 0, 1).float() / 255


def _enlarged(picture: Tensor) -> Tensor:
    """Whole factors keep each pixel a square, so that nothing is smoothed over."""
    shown = picture.detach().float().clamp(0, 1).cpu()
    factor = max(1, min(WIDTH // shown.shape[2], HEIGHT // shown.shape[1]))
    return shown.repeat_interleave(factor, 1).repeat_interleave(factor, 2)

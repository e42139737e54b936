"""What ECAMP and MRM show of the reports that they read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vlp_zoo.methods.ecamp.text import render_masked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlp_zoo.encoders.tokenizer import ReportTokenizer


__all__ = ["draw_reports", "show_reports", "write_reports"]


def show_reports(
    tokenizer: ReportTokenizer | None,
    ids: Tensor,
    hidden: Tensor,
    entity: Tensor | None = None,
) -> dict[str, Tensor | str]:
    """The reports as a picture and as Markdown; nothing without a vocabulary.

    Args:
        tokenizer: The vocabulary.
        ids: (B, T) int64, unmasked.
        hidden: (B, T) bool.
        entity: (B, T) bool; None marks none.
    """
    if tokenizer is None:
        return {}
    rows = (tokenizer.tokens, ids, hidden, entity)
    return {"report": write_reports(*rows), "report_text": draw_reports(*rows)}


def draw_reports(
    tokens: Sequence[str], ids: Tensor, hidden: Tensor, entity: Tensor | None = None
) -> str:
    """Markdown of the reports: hidden words as code, entities in bold.

    Args:
        tokens: The vocabulary by id.
        ids: (B, T) int64, unmasked.
        hidden: (B, T) bool.
        entity: (B, T) bool; None marks none.
    """
    entity = torch.zeros_like(hidden) if entity is None else entity
    rows = zip(ids.tolist(), hidden.tolist(), entity.tolist(), strict=True)
    return "\n\n".join(
        render_masked([tokens[i] for i in row], hide, strong, form="markdown")
        for row, hide, strong in rows
    )


def write_reports(
    tokens: Sequence[str], ids: Tensor, hidden: Tensor, entity: Tensor | None = None
) -> Tensor:
    """A picture of the reports: hidden words on red, entities underlined; with a legend.

    TensorBoard shows text without colours, so the coloured form is an image.

    Args:
        tokens: The vocabulary by id.
        ids: (B, T) int64, unmasked.
        hidden: (B, T) bool.
        entity: (B, T) bool; None marks none.

    Returns:
        (3, H, 800) in 0..1.
    """
    from PIL import Image, ImageDraw, ImageFont

    width, line, margin = 800, 22, 8
    font = ImageFont.load_default(15)
    sheet = Image.new("RGB", (width, line * (24 * len(ids) + 2)), "white")
    pen = ImageDraw.Draw(sheet)

    def write(x: int, y: int, word: str, hidden: bool, entity: bool) -> int:
        length = int(pen.textlength(word, font=font))
        if hidden:
            pen.rectangle((x - 1, y, x + length + 1, y + line - 4), fill="#d62728")
        pen.text((x, y), word, fill="white" if hidden else "black", font=font)
        if entity:
            pen.line(
                (x, y + line - 3, x + length, y + line - 3), fill="#1f77b4", width=2
            )
        return x + length

    x = write(margin, margin, "hidden word, to be predicted", True, False) + 24
    if entity is None:
        entity = torch.zeros_like(hidden)
    else:
        write(x, margin, "entity", False, True)
    x, y = margin, margin + 2 * line
    rows = zip(ids.tolist(), hidden.tolist(), entity.tolist(), strict=True)
    for row, hide, marked in rows:
        for index, is_hidden, is_entity in zip(row, hide, marked, strict=True):
            token = tokens[index]
            if token in ("[PAD]", "[CLS]"):
                continue
            joined = token.startswith("##") or token in (".", ",", ":")
            word = token.removeprefix("##")
            length = int(pen.textlength(word, font=font))
            x += 0 if joined else 6
            if x + length > width - margin:
                x, y = margin, y + line
            x = write(x, y, word, is_hidden, is_entity)
        x, y = margin, y + 2 * line
    pixels = np.array(sheet.crop((0, 0, width, min(y, sheet.height))))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255

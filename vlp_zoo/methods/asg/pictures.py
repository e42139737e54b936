"""What ASG shows of a batch: regions with their sentences, and how well they match."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vlp_zoo.methods.paired.words import written_words
from vlp_zoo.reports.words.tags import TAGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlp_zoo.methods.asg.transform import ASGBatch

__all__ = ["draw_regions", "draw_scores", "group_texts", "write_tags"]

COLOURS = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#bcbd22",
    "#17becf",
)
"""One a sentence group; they repeat."""

SIDE, TEXT, LINE = 224, 420, 15
"""Pixels: side of an image, width of the text beside it, height of a line."""


def group_texts(tokens: Sequence[str], batch: ASGBatch) -> list[dict[int, str]]:
    """For each study, the words of each group of sentences as the encoder reads them.

    Args:
        tokens: The vocabulary by id; where it is empty, ids stand for words.
        batch: The studies.
    """
    found: list[dict[int, str]] = []
    for row in range(len(batch["uid"])):
        words = written_words(
            tokens, batch["input_ids"][row], batch["attention_mask"][row]
        )
        texts: dict[int, str] = {}
        groups = batch["region_groups"][row].tolist()
        for slot, group in enumerate(groups):
            if group >= 0 and group not in texts:
                chosen = batch["sentence_words"][row, slot].nonzero()[:, 0].tolist()
                texts[group] = " ".join(words[i] for i in chosen if i < len(words))
        found.append(texts)
    return found


def draw_regions(batch: ASGBatch, texts: list[dict[int, str]]) -> Tensor:
    """Images with their regions; beside each the sentences in the same colours.

    Returns:
        (3, B * 224, 644) in 0..1.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(11)
    sheet = Image.new("RGB", (SIDE + TEXT, SIDE * len(texts)), "white")
    pen = ImageDraw.Draw(sheet)
    factor = SIDE / batch["image"].shape[-1]
    pixels_of = batch["image"].expand(-1, 3, -1, -1)
    images = pixels_of.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    for row, groups in enumerate(texts):
        top = row * SIDE
        pixels = Image.fromarray(images[row]).resize((SIDE, SIDE))
        sheet.paste(pixels, (0, top))
        order = {group: place for place, group in enumerate(groups)}
        slots = batch["region_groups"][row].tolist()
        for slot, group in enumerate(slots):
            if group < 0:
                continue
            x1, y1, x2, y2 = (batch["region_boxes"][row, slot] * factor).tolist()
            colour = COLOURS[order[group] % len(COLOURS)]
            pen.rectangle((x1, top + y1, x2, top + y2), outline=colour, width=2)
        y = top + 4
        for group, text in groups.items():
            colour, line = COLOURS[order[group] % len(COLOURS)], ""
            for word in [*text.split(), None]:
                wider = f"{line} {word}".strip() if word is not None else ""
                if word is None or pen.textlength(wider, font=font) > TEXT - 16:
                    pen.text((SIDE + 8, y), line, fill=colour, font=font)
                    y, wider = y + LINE, word or ""
                line = wider
            y += 3
    return torch.from_numpy(np.array(sheet)).permute(2, 0, 1).float() / 255


def draw_scores(cosines: Tensor, groups: Tensor, cell: int = 12) -> Tensor:
    """Region (row) by sentence (column) cosines of each image, side by side.

    Args:
        cosines: (B, R, R).
        groups: (B, R), -1 = no region; those cells are white.
        cell: Pixels a score.

    Returns:
        (3, R * cell, B * R * cell) in 0..1; blue is -1, red is 1.
    """
    valid = groups >= 0
    pairs = (valid[:, :, None] & valid[:, None])[:, None]
    value = cosines.float().clamp(-1, 1)[:, None]
    red = torch.cat([torch.ones_like(value), 1 - value, 1 - value], dim=1)
    blue = torch.cat([1 + value, 1 + value, torch.ones_like(value)], dim=1)
    colour = torch.where(value > 0, red, blue).where(pairs, 1.0)
    large = colour.repeat_interleave(cell, 2).repeat_interleave(cell, 3)
    return torch.cat(list(large.cpu()), dim=2)


def write_tags(probabilities: Tensor, tags: Tensor) -> str:
    """Markdown: the tags of each study with the probabilities that were recognised."""
    lines = []
    for found, stated in zip(probabilities.tolist(), tags.tolist(), strict=True):
        ranked = sorted(range(len(TAGS)), key=lambda k: -found[k])
        shown = {*ranked[:5], *(k for k in ranked if stated[k] == 1)}
        parts = [
            f"{'**' if stated[k] == 1 else ''}{TAGS[k]}{'**' if stated[k] == 1 else ''}"
            f" {found[k]:.2f}"
            for k in ranked
            if k in shown
        ]
        lines.append(", ".join(parts))
    return "\n\n".join(lines)

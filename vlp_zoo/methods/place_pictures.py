"""What PLACE shows of a batch: where each query looks, and for which sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from vlp_zoo.methods.paired import SentenceBatch
    from vlp_zoo.methods.place import PLACE

__all__ = ["draw"]

TILE = 160
STUDIES = 3
QUERIES = 6


def draw(module: PLACE, batch: SentenceBatch) -> dict[str, Tensor | str]:
    """Pictures of the first studies; none where no query is built.

    Returns:
        ``queries``: a row for each study, its image and the attention maps of its
        busiest queries over it, each with the sentence that it is paired with most;
        ``correlation``: covariance wanted (left) and predicted (right) of each study.
    """
    shown: dict[str, Tensor | str] = {}
    encoder = module.image_encoder
    tokens = module.patches(encoder(encoder.prepare(batch["image"])))
    text, states = module.read(batch) if module.reads else (None, None)
    seen = module.extractor(tokens) if module.looks else None
    if seen is not None and states is not None and module.weights.pcma:
        text_observations = module.textual_observations(batch, states)
        cosines = module.visual_observations(seen) @ (
            text_observations.vectors.transpose(1, 2)
        )
        pairing = module.alignment.pairing(cosines, text_observations.weight)
        shown["queries"] = _queries(module, batch, seen.attention, pairing)
    if module.weights.cce:
        context, mask = None, None
        if module.exploration.condition == "report" and text is not None:
            context, mask = text.tokens, text.mask
        elif module.exploration.condition == "vpor" and seen is not None:
            context = seen.states
        predicted = module.correlation_head(tokens, context, mask)[:STUDIES]
        wanted = module.exploration.square(module.explored(batch["image"])[:STUDIES])
        shown["correlation"] = _matrices(wanted, predicted)
    return shown


def _queries(
    module: PLACE, batch: SentenceBatch, attention: Tensor, pairing: Tensor
) -> Tensor:
    from PIL import Image, ImageDraw, ImageFont

    count = min(STUDIES, len(pairing))
    caption = 52
    sheet = Image.new("RGB", ((QUERIES + 1) * TILE, count * (TILE + caption)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    grid, _ = module.patch_layout()
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


def _matrices(wanted: Tensor, predicted: Tensor) -> Tensor:
    """Grey from -3 to 3 deviations, studies below each other: (3, H, W) in 0..1."""
    pairs = torch.cat([wanted.float(), predicted.float()], dim=2)
    picture = torch.cat(list((pairs / 6 + 0.5).clamp(0, 1)), dim=0)
    scale = max(256 // pairs.shape[1], 1)
    picture = picture.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    return picture.expand(3, -1, -1)

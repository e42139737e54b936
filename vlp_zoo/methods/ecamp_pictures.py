"""What ECAMP shows of a batch: images before and after, and the report it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.methods.ecamp_text import render_masked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlp_zoo.encoders.image import ImageEncoder
    from vlp_zoo.methods.ecamp import ECAMP
    from vlp_zoo.methods.ecamp_networks import Pass

__all__ = ["draw_pass", "draw_reports"]


def draw_pass(module: ECAMP, run: Pass) -> dict[str, Tensor]:
    """Pictures of a forward pass, the studies side by side.

    Args:
        module: The method.
        run: Result of ``module.run``.

    Returns:
        ``input``, ``masked_input`` (hidden patches at the mean grey),
        ``reconstruction`` (hidden patches filled in) and ``super_resolution`` (all of
        the doubled image), each (3, H, B*W) in 0..1.
    """
    encoder = module.image_encoder
    hidden = run.mask.hidden.view(-1, 1, *encoder.grid).float()
    hidden = functional.interpolate(hidden, scale_factor=float(encoder.patch_size))
    predicted = module.decoder.image(run.pixels.float())
    places = torch.arange(2 * encoder.image_size, device=predicted.device)
    places = places.expand(len(predicted), -1)
    visible = run.low.float() * (1 - hidden)
    shown = {
        "input": run.low.float(),
        "masked_input": visible,
        "reconstruction": visible + predicted * hidden,
        "super_resolution": module.super_resolution(predicted, places, places),
    }
    return {name: _side_by_side(images, encoder) for name, images in shown.items()}


def draw_reports(
    tokens: Sequence[str], ids: Tensor, hidden: Tensor, entity: Tensor
) -> str:
    """Markdown of the reports: hidden words as code, entities in bold.

    Args:
        tokens: The vocabulary by id.
        ids: (B, T) int64, unmasked.
        hidden: (B, T) bool.
        entity: (B, T) bool.
    """
    rows = zip(ids.tolist(), hidden.tolist(), entity.tolist(), strict=True)
    return "\n\n".join(
        render_masked([tokens[i] for i in row], hide, strong, form="markdown")
        for row, hide, strong in rows
    )


def _side_by_side(images: Tensor, encoder: ImageEncoder) -> Tensor:
    """Normalised (B, C, H, W) to one picture (3, H, B*W) in 0..1."""
    colour = images.expand(-1, 3, -1, -1)
    mean = colour.new_tensor(encoder.mean).view(3, 1, 1)
    std = colour.new_tensor(encoder.std).view(3, 1, 1)
    return torch.cat(list((colour * std + mean).clamp(0, 1)), dim=2)

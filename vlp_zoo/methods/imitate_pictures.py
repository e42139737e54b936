"""What IMITATE shows of a batch: views, clinical priors, similarities, texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.methods.imitate_losses import Rows, prior

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlp_zoo.methods.imitate import IMITATE, IMITATEBatch

__all__ = ["draw", "heat_map"]

CELL = 24
"""Pixels of one entry of a matrix."""


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


@torch.no_grad()
def draw(module: IMITATE, batch: IMITATEBatch) -> dict[str, Tensor | str]:
    """All pictures of a batch by name.

    ``prior_*`` shows how much of a positive each pair of reports is; ``similarity_*``
    what the joint space makes of images (rows) and texts (columns), findings with
    findings and impression with impression.
    """
    texts = (batch["findings_text"], batch["impression_text"])
    features = [module.text_features(part) for part in texts]
    pixels = (batch["image"], batch["image_view2"])
    run = module.run(
        [module.image_encoder.prepare(view) for view in pixels],
        module.draw(batch["noise_key"]),
        None,
        *features,
    )
    pairs = {
        "findings": (run.findings[0], run.text_findings),
        "impression": (run.impression[0], run.text_impression),
    }
    shown: dict[str, Tensor | str] = {"views": _views(pixels)}
    for (name, (image, text)), frozen in zip(pairs.items(), features, strict=True):
        wide = frozen.float()
        similar = prior(Rows(wide, wide, 0), module.smoothing, module.smoothing_ratio)
        if similar is not None:
            shown[f"prior_{name}"] = heat_map(similar)
        image, text = (functional.normalize(x.float(), dim=1) for x in (image, text))
        shown[f"similarity_{name}"] = heat_map(image @ text.T)
    shown["reports"] = _list(batch["uid"], *texts)
    return shown


def _views(pixels: tuple[Tensor, Tensor]) -> Tensor:
    """Studies side by side, the second views below: (3, 2S, B*S) in 0..1."""
    rows = [torch.cat(list(view.float() / 255), dim=2) for view in pixels]
    return torch.cat(rows, dim=1).expand(3, -1, -1)


def _list(
    uids: Sequence[str], findings: Sequence[str], impressions: Sequence[str]
) -> str:
    rows = zip(uids, findings, impressions, strict=True)
    return "\n\n".join(
        f"{number}. **{uid}** findings: {seen} *impression*: {concluded}"
        for number, (uid, seen, concluded) in enumerate(rows)
    )

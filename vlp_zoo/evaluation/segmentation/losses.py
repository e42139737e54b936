"""Losses of masks: structures may lie over each other, and some were not annotated.

- ``bce+dice``: cross-entropy of the pixels + 1 - soft Dice of each case.
- ``focal+dice``: 10 x focal loss (gamma 2) - log soft Dice over the batch of a process,
  as in GLoRIA, MGCA and ECAMP; the only one that depends on the number of processes.
- ``bce``: what a softmax over background and structure amounts to.

Four more are MONAI's, as it sets them, each case and structure a picture of its own:

- ``dice_ce``: ``bce+dice`` without smoothing.
- ``dice_focal``: focal loss (gamma 2) of the pixels + 1 - soft Dice.
- ``generalized_dice``: soft Dice of structure and background together, each weighed by
  1 / its area squared (Sudre et al., 2017).
- ``tversky``: soft Dice in which a missed pixel weighs 0.7 and a false one 0.3 (Salehi
  et al., 2017); with MONAI's own 0.5 and 0.5 it would be Dice again.

Without smoothing an empty mask costs almost the same however much is marked, so that
``dice_ce``, ``dice_focal`` and ``tversky`` teach little where most masks are empty; the
loss of the pixels, where there is one, is what an empty mask teaches.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.losses import rank_mean
from vlp_zoo.monai import load_monai

__all__ = ["LOSSES", "mask_loss"]

MONAI: dict[str, tuple[str, dict[str, Any]]] = {
    "dice_ce": ("DiceCELoss", {"sigmoid": True}),
    "dice_focal": ("DiceFocalLoss", {"sigmoid": True}),
    "generalized_dice": ("GeneralizedDiceLoss", {}),
    "tversky": ("TverskyLoss", {"sigmoid": True, "alpha": 0.3, "beta": 0.7}),
}
"""Name to MONAI's class and its settings."""

LOSSES = ("bce+dice", "focal+dice", "bce", *MONAI)
"""Names of losses."""


def mask_loss(name: str, logits: Tensor, masks: Tensor, known: Tensor) -> Tensor:
    """Loss of a batch.

    Args:
        name: One of `LOSSES`.
        logits: (B, K, S, S).
        masks: (B, K, S, S) of 0 and 1.
        known: (B, K) bool; False counts for nothing.

    Returns:
        Scalar; 0 with zero gradient where nothing is known.

    Raises:
        DependencyNotFoundError: If the loss is MONAI's, which is not installed.
    """
    use = known.float()
    # Processes may hold different numbers of known masks.
    pairs = rank_mean(int(known.sum()), logits).clamp(min=1)
    if name in MONAI:
        return _monai_sum(name, logits, masks, known) / pairs
    entropy = functional.binary_cross_entropy_with_logits(
        logits, masks, reduction="none"
    )
    probabilities = logits.sigmoid()
    both, either = probabilities * masks, probabilities + masks
    if name == "focal+dice":
        wrong = probabilities + masks - 2 * both
        focal = ((wrong**2 * entropy).mean((2, 3)) * use).sum() / pairs
        shared = (both.sum((2, 3)) * use).sum(0)
        total = (either.sum((2, 3)) * use).sum(0)
        dice = torch.log((2 * shared + 1) / (total + 1))
        return 10 * focal - dice.mean()
    crossed = (entropy.mean((2, 3)) * use).sum() / pairs
    if name == "bce":
        return crossed
    dice = (2 * both.sum((2, 3)) + 1) / (either.sum((2, 3)) + 1)
    return crossed + ((1 - dice) * use).sum() / pairs


def _monai_sum(name: str, logits: Tensor, masks: Tensor, known: Tensor) -> Tensor:
    """A loss of MONAI's summed over the known pairs of case and structure."""
    if not known.any():
        return 0 * logits.sum()
    given, truth = logits[known][:, None], masks[known][:, None]
    if name == "generalized_dice":
        # The weights of the classes cancel out where there is only one.
        inside = given.sigmoid()
        given = torch.cat([1 - inside, inside], 1)
        truth = torch.cat([1 - truth, truth], 1)
    loss: Tensor = _monai_loss(name)(given, truth) * len(given)
    return loss


@cache
def _monai_loss(name: str) -> Any:
    kind, settings = MONAI[name]
    return getattr(load_monai(f"the loss {name}").losses, kind)(**settings)

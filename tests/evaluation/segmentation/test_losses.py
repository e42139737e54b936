"""Losses of masks: values worked out by hand, and what was not annotated."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from vlp_zoo.errors import ConfigError, DependencyNotFoundError
from vlp_zoo.evaluation.segmentation import losses
from vlp_zoo.evaluation.segmentation.losses import LOSSES, MONAI, mask_loss
from vlp_zoo.evaluation.segmentation.segmentation import Segment

KNOWN = torch.ones(1, 1, dtype=torch.bool)


def logits_of(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities).logit().reshape(1, 1, 2, 2)


@pytest.mark.parametrize("name", LOSSES)
def test_what_was_not_annotated_costs_nothing(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 8, 8, generator=generator)
    masks = (torch.rand(3, 2, 8, 8, generator=generator) > 0.5).float()
    known = torch.tensor([[1, 1], [0, 1], [1, 0]], dtype=torch.bool)
    changed = masks.clone()
    changed[1, 0], changed[2, 1] = 1 - masks[1, 0], 0
    moving = logits.clone().requires_grad_()
    loss = mask_loss(name, moving, masks, known)
    assert loss.item() == pytest.approx(mask_loss(name, logits, changed, known).item())
    loss.backward()  # type: ignore[no-untyped-call]
    assert moving.grad is not None
    assert (moving.grad[~known] == 0).all()
    assert (moving.grad[known] != 0).any()
    perfect = mask_loss(name, 40 * (masks - 0.5), masks, known)
    assert perfect.item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_where_nothing_is_known_nothing_is_learnt(name: str) -> None:
    logits = torch.randn(2, 2, 4, 4, requires_grad=True)
    loss = mask_loss(name, logits, torch.ones(2, 2, 4, 4), torch.zeros(2, 2).bool())
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_values_worked_out_by_hand() -> None:
    # One pixel of four is true; the model gives it 0.8, and 0.4 to one of the others.
    logits = logits_of(0.8, 0.4, 1e-7, 1e-7)
    masks = torch.tensor([1.0, 0, 0, 0]).reshape(1, 1, 2, 2)
    entropy = -(torch.tensor(0.8).log() + torch.tensor(0.6).log()) / 4
    focal = -(0.04 * torch.tensor(0.8).log() + 0.16 * torch.tensor(0.6).log()) / 4
    dice = 1 - 2 * 0.8 / (1.2 + 1)
    # Weights 1 and 1 / 9 of the structure and of the background, which has 3 pixels.
    shared = 2 * (0.8 + 2.6 / 9)
    expected = {
        "dice_ce": float(entropy) + dice,
        "dice_focal": float(focal) + dice,
        "generalized_dice": 1 - shared / (2.2 + (2.8 + 3) / 9),
        "tversky": 1 - 0.8 / (0.8 + 0.3 * 0.4 + 0.7 * 0.2),
    }
    assert set(expected) == set(MONAI)
    for name, value in expected.items():
        found = mask_loss(name, logits, masks, KNOWN).item()
        assert found == pytest.approx(value, abs=1e-4), name


@pytest.mark.parametrize("name", MONAI)
def test_each_known_pair_counts_the_same_whatever_is_beside_it(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 2, 6, 6, generator=generator)
    masks = (torch.rand(2, 2, 6, 6, generator=generator) > 0.7).float()
    known = torch.tensor([[1, 1], [0, 1]], dtype=torch.bool)
    alone = [
        mask_loss(
            name, logits[b : b + 1, k : k + 1], masks[b : b + 1, k : k + 1], KNOWN
        )
        for b, k in known.nonzero().tolist()
    ]
    together = mask_loss(name, logits, masks, known)
    assert together.item() == pytest.approx(torch.stack(alone).mean().item(), abs=1e-6)


def test_a_preset_names_the_loss_and_a_missing_package_is_one_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Segment(loss="tversky").loss == "tversky"
    with pytest.raises(ConfigError, match="generalized_dice"):
        Segment(loss="hinge")
    losses._monai_loss.cache_clear()
    gone: Any = None
    monkeypatch.setitem(sys.modules, "monai", gone)
    with pytest.raises(DependencyNotFoundError, match=r"vlp-zoo\[segmentation\]"):
        mask_loss("dice_ce", torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), KNOWN)

"""Activation checkpointing: less is kept, and nothing else changes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.methods.cases import case
from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.clip import CLIP
from vlp_zoo.recomputing import recompute_blocks

DEEP: dict[str, Any] = {"image_encoder": "micro", "image_size": 32}


def step(module: Any, batch: Any) -> tuple[dict[str, Tensor], int]:
    """Gradients of a training step, and the bytes that backward had to find kept."""
    kept: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return value

    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        total = torch.stack(list(module.losses(batch).values())).sum()
    total.backward()  # type: ignore[no-untyped-call]
    gradients = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
    return gradients, sum(kept.values())


@pytest.mark.parametrize("name", ["asg", "ecamp"])
def test_gradients_are_the_same_and_less_is_kept(name: str) -> None:
    plain, batch = case(name)
    again = copy.deepcopy(plain)
    keys = list(again.state_dict())
    assert recompute_blocks(again) >= 3
    wanted, before = step(plain, batch)
    gradients, after = step(again, batch)
    assert gradients.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.equal(gradients[key], value), key
    assert after < 0.8 * before
    assert list(again.state_dict()) == keys
    # A copy, as for averaged weights, computes with its own weights.
    twin = copy.deepcopy(again)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
        one, two = again.losses(batch), twin.losses(batch)
    assert any(not torch.equal(one[term], two[term]) for term in one)


def test_the_option_is_refused_where_it_would_do_nothing_or_harm() -> None:
    module = CLIP(image_encoder="tiny_resnet", image_size=48, text_model="corpus")
    with pytest.raises(ConfigError, match="checkpoint_activations"):
        recompute_blocks(module)
    counting = torch.nn.Module()
    counting.blocks = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    with pytest.raises(ConfigError, match="batch norm"):
        recompute_blocks(counting)

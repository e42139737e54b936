"""Losses under bfloat16 autocast: close to those of float32, for every method."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from tests.methods.cases import BUILDERS, case

BOUND = 0.1
"""Largest deviation of a term, as a share of it.

The encoders of these cases round in bfloat16, and ASG and IMITATE normalise 4 rows by
one another, which enlarges it: by how much hangs on the kernels of the processor.
"""


def half(enabled: bool = True) -> torch.autocast:
    """Autocast to bfloat16."""
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled)


@pytest.mark.parametrize("name", BUILDERS)
def test_losses_in_half_precision_are_those_in_full(name: str) -> None:
    module, batch = case(name)
    found = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with half(enabled):
            found.append(module.losses(batch))
    exact, rough = found
    for term, value in rough.items():
        assert value.dtype == torch.float32
        error = abs(value.item() / exact[term].item() - 1)
        assert error < BOUND, (term, error)
    torch.stack(list(rough.values())).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize(
    ("name", "heads"), [("asg", 4), ("imitate", 6), ("mflag", 4), ("mgca", 4)]
)
def test_heads_that_normalise_few_rows_stay_in_full_precision(
    name: str, heads: int
) -> None:
    module, batch = case(name)
    seen: dict[Any, tuple[torch.dtype, torch.dtype]] = {}

    def look(norm: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if inputs[0].shape[0] == len(batch["image"]) and inputs[0].ndim == 2:
            seen[norm] = inputs[0].dtype, output.dtype

    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.register_forward_hook(look)
    with torch.no_grad(), half():
        module.losses(batch)
    assert len(seen) == heads
    assert set(seen.values()) == {(torch.float32, torch.float32)}

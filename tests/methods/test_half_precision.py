"""Losses under bfloat16 autocast: close to those of float32, for every method."""

from __future__ import annotations

import pytest
import torch

from tests.methods.test_host_stalls import case

BOUNDS = {
    "asg": 0.025,
    "clip": 0.005,
    "ecamp": 0.005,
    "imitate": 0.02,
    "mae": 0.005,
    "place": 0.01,
}
"""Largest deviation of a term, as a share of it. ASG and IMITATE normalise the 4 rows of
these batches by one another, which enlarges what their encoders round."""


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_losses_in_half_precision_are_those_in_full(name: str) -> None:
    module, batch = case(name)
    found = []
    for half in (False, True):
        torch.manual_seed(0)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            found.append(module.losses(batch))
    for term, wanted in found[0].items():
        error = abs(float(found[1][term]) / float(wanted) - 1)
        assert error < BOUNDS[name], (term, error)

"""A training step asks the host for nothing: on a GPU each such question is a wait."""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.methods.cases import BUILDERS, case
from vlp_zoo.methods.place import matching
from vlp_zoo.methods.place.assignment import assign_together

WAITS = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::unique_consecutive",
    "aten::repeat_interleave.Tensor",
    "aten::equal",
}
"""Operators whose result the host needs before it can go on."""

ALLOWED = {
    # Valid tokens are picked out before the large projection, which pays for the wait.
    "weighted_token_ce",
    # Words are picked out, so that padding does not count in batch norm.
    "embed_words",
    # Features of texts are looked up on the host and copied without waiting.
    "cached",
}
"""Functions of the package that may ask, each with its reason."""


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the questions by the function of the package that asks them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Look at one operator, then run it."""
        name = func._schema.name
        full = f"{name}.{func._overloadname}".removesuffix(".default")
        masks = name in ("aten::index", "aten::index_put", "aten::index_put_") and any(
            i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        # A tensor made of a list lies on the host, and its copy is waited for.
        if masks or {name, full} & WAITS or name == "aten::lift_fresh":
            frames = traceback.extract_stack()
            ours = [frame.name for frame in frames if "/vlp_zoo/" in frame.filename]
            if not set(ours) & ALLOWED:
                self.found[f"{full} in {ours[-1] if ours else 'torch'}"] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", BUILDERS)
def test_a_step_waits_for_nothing_but_what_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, batch = case(name)
    # As on a GPU; on a CPU there is no queue that would wait.
    monkeypatch.setattr(matching, "assign", assign_together)
    # Older releases of torch look at their values before they take quantiles.
    with Waits() as torchs_own:
        torch.rand(2, 3).nanquantile(0.1, 1, keepdim=True)
    if torchs_own.found:
        monkeypatch.setattr(
            sys.modules[__name__], "ALLOWED", ALLOWED | {"clipped_weights"}
        )
    with Waits() as waits:
        terms = module.losses(batch)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert not waits.found


def test_waits_are_seen() -> None:
    with Waits() as waits:
        values = torch.arange(3.0)
        bool(values.sum() > 1)
        values[values > 1]
        torch.tensor([1.0])
    assert sum(waits.found.values()) == 3

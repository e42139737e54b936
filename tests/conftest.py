"""Fixtures and guards shared by the whole suite."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch

# Until all tests are collected, see below: imports make much, and nothing of it goes.
gc.disable()
os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)
# Fake tensors, in plans and in what is compiled, put a GPU that is none before torch. A first
# backward pass behind them would start threads for it, and no fork of a later test could
# compute gradients any more; behind this one none are started.
torch.zeros(1, requires_grad=True).sum().backward()  # type: ignore[no-untyped-call]

SHARED = Path(__file__).resolve().parents[2] / "shared"


def require_shared(*parts: str) -> Path:
    """A path in the shared folder; skips without it, fails if it was promised."""
    path = SHARED.joinpath(*parts)
    if path.exists():
        return path
    reason = f"needs {path}, which is not there"
    if os.environ.get("VLPZOO_REQUIRE_SHARED") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recordings and small real data beside the checkout."""
    return require_shared()


def pytest_collection_finish() -> None:
    """Leave what the imports made out of the garbage collections: nothing of it goes."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    """Let the end of the interpreter free them."""
    gc.unfreeze()

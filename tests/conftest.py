"""Fixtures and guards shared by the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

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

"""Where what is made from real images lies while the tests of one file run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where tables, presets, runs, results and the cache go."""
    made = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLPZOO_CACHE", str(made / "cache"))
        yield made

from __future__ import annotations

from pathlib import Path

import pytest

from tests.leaderboard.board_results import stub_results


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the stubs, made once; nobody writes to them."""
    root = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLPZOO_CACHE", str(root / "cache"))
        stub_results(root / "bench")
    return root / "bench"

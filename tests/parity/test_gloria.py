from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.recordings import copied, recorded, rewrite
from vlp_zoo.cli import main as vlpzoo


def test_a_setting_that_is_not_known_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(recorded("gloria", "public_a"), tmp_path / "other")
    rewrite(
        folder / "expected.json", lambda facts: facts.update(variant_first_layer={})
    )
    assert vlpzoo(["parity", "gloria", "--json", "--fixture", str(folder)]) == 1
    assert "variant_first_layer" in capsys.readouterr().err

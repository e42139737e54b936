"""Recordings of the official code of every method: met, and able to fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.parity.recordings import (
    EXCUSED,
    QUANTITIES,
    WRONG,
    copied,
    met,
    quantities,
    recorded,
    rewrite,
)
from vlp_zoo.cli import main as vlpzoo
from vlp_zoo.parity import REPLAYS
from vlp_zoo.parity.replay import INPUTS

SINGLE, DOUBLE = torch.float32, torch.float64
PLAIN = torch.backends.cpu.get_cpu_capability() == "DEFAULT"
"""Kernels that add the places of a map one by one round GLoRIA's batch norm too coarsely."""


@pytest.mark.parametrize(
    ("method", "name", "dtype"),
    [
        *(
            (method, "a", SINGLE)
            for method in ("flair", "imitate", "medclip", "mflag", "mgca", "mrm")
        ),
        *(
            pytest.param(method, name, dtype, marks=pytest.mark.slow)
            for method, name, dtype in (
                ("gloria", "a", SINGLE),
                ("gloria", "b", DOUBLE if PLAIN else SINGLE),
                ("gloria", "b", DOUBLE),
                ("imitate", "a", DOUBLE),
                ("medclip", "b", SINGLE),
                *(
                    (method, "a", DOUBLE)
                    for method in ("flair", "mflag", "mgca", "mrm")
                ),
                *(
                    (method, "b", SINGLE)
                    for method in ("flair", "mflag", "mgca", "mrm")
                ),
            )
        ),
    ],
)
def test_recordings_of_the_official_code_are_met(
    method: str, name: str, dtype: torch.dtype
) -> None:
    rows = met(method, f"public_{name}", dtype)
    assert QUANTITIES[method] <= quantities(rows)
    said = "; ".join(row.quantity for row in rows if row.quantity.startswith(INPUTS))
    assert said
    assert ("not replayed" in said) == (method in EXCUSED)
    assert EXCUSED.get(method, "") in said


@pytest.mark.parametrize("method", sorted(REPLAYS))
def test_a_wrong_number_fails(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = WRONG[method]
    folder = copied(recorded(method, wrong.name), tmp_path / "bent", *wrong.stems)
    for file, change in wrong.changes.items():
        rewrite(folder / file, change)
    assert vlpzoo(["parity", method, "--json", "--fixture", str(folder)]) == 1
    failed = json.loads(capsys.readouterr().out.splitlines()[-1])["failed"]
    assert [name for name in failed if not name.startswith(tuple(wrong.failed))] == []
    for name in wrong.failed:
        assert any(found.startswith(name) for found in failed), name

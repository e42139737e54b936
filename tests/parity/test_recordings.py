"""Recordings of the official code of every method: met, and able to fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


RECORDED = {
    ("flair", "a"): (SINGLE, DOUBLE),
    ("flair", "b"): (SINGLE,),
    ("gloria", "a"): (SINGLE,),
    ("gloria", "b"): (DOUBLE,) if PLAIN else (SINGLE, DOUBLE),
    ("imitate", "a"): (SINGLE, DOUBLE),
    ("medclip", "a"): (SINGLE,),
    ("medclip", "b"): (SINGLE,),
    ("mflag", "a"): (SINGLE, DOUBLE),
    ("mflag", "b"): (SINGLE,),
    ("mgca", "a"): (SINGLE, DOUBLE),
    ("mgca", "b"): (SINGLE,),
    ("mrm", "a"): (SINGLE, DOUBLE),
    ("mrm", "b"): (SINGLE,),
}
"""Precisions in which each recording is met; most take minutes, and are slow tests."""


def _replays() -> Iterator[Any]:
    for (method, name), dtypes in RECORDED.items():
        for dtype in dtypes:
            quick = name == "a" and dtype == SINGLE and method != "gloria"
            marks = () if quick else pytest.mark.slow
            yield pytest.param(method, name, dtype, marks=marks)


@pytest.mark.parametrize(("method", "name", "dtype"), list(_replays()))
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

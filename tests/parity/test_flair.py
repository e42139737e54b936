from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import require_shared
from vlp_zoo.cli import main as vlpzoo
from vlp_zoo.parity.flair.replay import replay_fixture


def fixture(name: str) -> Path:
    return require_shared("golden", "flair", name)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("public_a", torch.float32),
        ("public_a", torch.float64),
        ("public_b", torch.float32),
    ],
)
def test_recordings_of_the_official_code_are_met(name: str, dtype: torch.dtype) -> None:
    rows = replay_fixture(fixture(name), dtype=dtype)
    assert [row for row in rows if not row.ok] == []
    quantities = {row.quantity.partition(" ")[0] for row in rows}
    assert {
        *("loss.total", "grad_norm.total", "step3.total", "steady2.total"),
        *("lr_curve2", "prototypes.domain_knowledge", "adapt.tip_f_weight_final"),
        *("loss_level.clamp_low.loss", "pipeline.turns", "pipeline.aug2"),
    } <= quantities


def test_a_wrong_number_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bent"
    folder.mkdir()
    for kind in ("json", "safetensors"):
        shutil.copyfile(
            fixture("public_a") / f"loss_level.{kind}", folder / f"loss_level.{kind}"
        )
        shutil.copyfile(
            fixture("public_a") / f"pipeline.{kind}", folder / f"pipeline.{kind}"
        )
    cases = json.loads((folder / "loss_level.json").read_text())
    # Another capital is another class: what folds case is not the released code.
    assert cases["cases"]["clamp_low"]["categories"][-1] == "A"
    cases["cases"]["clamp_low"]["categories"][-1] = "a"
    (folder / "loss_level.json").write_text(json.dumps(cases))
    card = json.loads((folder / "pipeline.json").read_text())
    card["kept_after_ban"].pop()
    (folder / "pipeline.json").write_text(json.dumps(card))
    assert vlpzoo(["parity", "flair", "--json", "--fixture", str(folder)]) == 1
    failed = json.loads(capsys.readouterr().out.splitlines()[-1])["failed"]
    assert "loss_level.clamp_low.caption_loss" in failed
    assert "pipeline.kept_after_ban" in failed
    assert not [name for name in failed if ".mixed." in name]

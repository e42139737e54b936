from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import require_shared
from vlp_zoo.cli import main as vlpzoo
from vlp_zoo.parity.mgca.replay import replay_fixture


def fixture(name: str) -> Path:
    return require_shared("golden", "mgca", name)


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
        *("train_reference.total", "train_use_local_atten.cta", "eval.cpa"),
        *("grad_norm.total", "step9.total", "mid.agg.attn_out", "words", "lr_curve"),
        *("loss_level.cnn_local_atten.cta", "sinkhorn.codes_two_processes"),
        *("pipeline.0.input_ids", "pipeline.big.out_u8"),
    } <= quantities


def test_a_wrong_number_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bent"
    shutil.copytree(fixture("public_a"), folder)
    facts = json.loads((folder / "expected.json").read_text())
    facts["trajectory"]["steps"][9]["proto"] *= 1.01
    facts["train_attention_aligned"]["losses"]["local"] *= 1.001
    (folder / "expected.json").unlink()
    (folder / "expected.json").write_text(json.dumps(facts))
    assert vlpzoo(["parity", "mgca", "--json", "--fixture", str(folder)]) == 1
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["failed"] == ["train_attention_aligned.cta", "step9.proto"]

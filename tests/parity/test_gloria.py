from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import require_shared
from vlp_zoo.cli import main as vlpzoo
from vlp_zoo.parity.gloria.replay import replay_fixture
from vlp_zoo.parity.replay import INPUTS


def fixture(name: str) -> Path:
    return require_shared("golden", "gloria", name)


PLAIN = torch.backends.cpu.get_cpu_capability() == "DEFAULT"
"""Kernels that add the places of a map one by one round its batch norm too coarsely."""


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("public_a", torch.float32),
        ("public_b", torch.float64 if PLAIN else torch.float32),
        pytest.param("public_b", torch.float64, marks=pytest.mark.slow),
    ],
)
def test_recordings_of_the_official_code_are_met(name: str, dtype: torch.dtype) -> None:
    rows = replay_fixture(fixture(name), dtype=dtype)
    assert [row for row in rows if not row.ok] == []
    quantities = {row.quantity.partition(" ")[0] for row in rows}
    assert {
        *(
            "loss.total",
            "mid.attn_map.0",
            "eval.total",
            "variant_text_normalised.total",
        ),
        *("variant_no_token_merging.grad_norm_total", "clipped.step4.total"),
        *("unclipped.step4.total", "trainer.step9", "pipeline.batch.ids"),
        *("pipeline.word_count", "zero_shot.released.class_scores"),
        *("zero_shot.Edema.drawn", "agg_words"),
    } <= quantities
    inputs = [row.quantity for row in rows if row.quantity.startswith(INPUTS)]
    assert len(inputs) == 4
    assert not any("not replayed" in said for said in inputs)


def test_a_wrong_number_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bent"
    folder.mkdir()
    for file in ("loss_level.json", "loss_level.safetensors"):
        shutil.copyfile(fixture("public_b") / file, folder / file)
    facts = json.loads((folder / "loss_level.json").read_text())
    facts["zero_words"]["local_text_rows"] *= 1.001
    facts["small_scale"]["temps"][0] *= 1.01
    (folder / "loss_level.json").write_text(json.dumps(facts))
    assert vlpzoo(["parity", "gloria", "--json", "--fixture", str(folder)]) == 1
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    failed = [name for name in summary["failed"] if "small_scale" not in name]
    assert failed == ["loss_level.zero_words.local_text_rows"]
    assert any("small_scale.attn" in name for name in summary["failed"])


def test_a_setting_that_is_not_known_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(fixture("public_a"), folder, copy_function=shutil.copyfile)
    facts = json.loads((folder / "expected.json").read_text())
    facts["variant_first_layer"] = {}
    (folder / "expected.json").write_text(json.dumps(facts))
    assert vlpzoo(["parity", "gloria", "--json", "--fixture", str(folder)]) == 1
    assert "variant_first_layer" in capsys.readouterr().err

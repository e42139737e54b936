from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import require_shared
from vlp_zoo.cli import main as vlpzoo
from vlp_zoo.errors import ConfigError
from vlp_zoo.parity.mflag.replay import replay_fixture


def fixture(name: str) -> Path:
    return require_shared("golden", "mflag", name)


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
        *("loss.total", "grad_norm.total", "eval.orthogonal", "step5.total"),
        *("mid.train.text_hidden", "loss_level.case0.align", "final.parameters"),
        *("pipeline.0.other", "views.RandomRotation.other", "trajectory.T_0"),
    } <= quantities


def test_a_wrong_number_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bent"
    shutil.copytree(fixture("public_a"), folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    changes: dict[str, Callable[[Any], Any]] = {
        "expected.json": lambda facts: facts["trajectory"]["steps"][3].update(
            total=1.001 * facts["trajectory"]["steps"][3]["total"]
        ),
        "loss_level.json": lambda facts: facts["wide"].update(align=2.41),
        "pipeline.json": lambda facts: facts["texts"].__setitem__(0, "Other."),
    }
    for file, change in changes.items():
        facts = json.loads((folder / file).read_text())
        change(facts)
        (folder / file).write_text(json.dumps(facts))
    assert vlpzoo(["parity", "mflag", "--json", "--fixture", str(folder)]) == 1
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["failed"] == [
        *("step3.total", "loss_level.wide.align", "pipeline.0.other text")
    ]


def test_an_unknown_step_of_the_pipeline_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for name in ("meta.json", "pipeline.json", "pipeline.safetensors"):
        shutil.copyfile(fixture("public_a") / name, folder / name)
    facts = json.loads((folder / "pipeline.json").read_text())
    facts["transform_steps"].append({"op": "RandomErasing", "p": 0.5})
    (folder / "pipeline.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match="RandomErasing"):
        replay_fixture(folder)

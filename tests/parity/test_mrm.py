from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import require_shared
from vlp_zoo.cli import main as vlpzoo
from vlp_zoo.encoders.published.official import ecamp_state, load_official
from vlp_zoo.parity.mrm.replay import replay_fixture


def fixture(name: str) -> Path:
    return require_shared("golden", "mrm", name)


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
        *("loss.total", "grad_norm.total", "step5.total", "epoch.4.report"),
        *("report_loss.masked_only", "mask_ratio_0.9.hidden", "rate.epoch199.9"),
        "pipeline.0.masked_ids",
    } <= quantities


def test_a_wrong_number_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mrm" / "bent"
    shutil.copytree(fixture("public_a"), folder)
    facts = json.loads((folder / "expected.json").read_text())
    facts["epoch_loop"]["logged"][7]["loss2"] *= 1.01
    facts["report_loss_other_reductions"]["masked_only"] *= 1.001
    (folder / "expected.json").unlink()
    (folder / "expected.json").write_text(json.dumps(facts))
    shutil.copyfile(
        require_shared("golden", "ecamp", "mimic_wordpiece.json"),
        tmp_path / "mrm" / "mimic_wordpiece.json",
    )
    assert vlpzoo(["parity", "mrm", "--json", "--fixture", str(folder)]) == 1
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["failed"] == ["report_loss.masked_only", "epoch.2.report"]


def test_an_official_checkpoint_starts_the_encoder(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    state = load_file(fixture("public_a") / "state_dict.safetensors")
    path = tmp_path / "MRM.pth"
    torch.save({"model": state, "epoch": 199}, path)
    encoder = load_official("mrm", path)
    ours = {
        name.removeprefix("image_encoder.timm."): value
        for name, value in ecamp_state(state).items()
        if name.startswith("image_encoder.timm.")
    }
    held = encoder.timm.state_dict()
    assert ours.keys() <= held.keys() | {"norm.weight", "norm.bias"}
    assert torch.equal(held["pos_embed"], ours["pos_embed"])
    assert torch.equal(held["blocks.1.mlp.fc1.weight"], ours["blocks.1.mlp.fc1.weight"])

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import require_shared
from vlp_zoo.cli import main as vlpzoo
from vlp_zoo.parity.medclip.replay import replay_fixture


def fixture(name: str) -> Path:
    return require_shared("golden", "medclip", name)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("public_a", torch.float32),
        ("public_b", torch.float32),
    ],
)
def test_recordings_of_the_official_code_are_met(name: str, dtype: torch.dtype) -> None:
    rows = replay_fixture(fixture(name), dtype=dtype)
    assert [row for row in rows if not row.ok] == []
    quantities = {row.quantity.partition(" ")[0] for row in rows}
    assert {
        *("train_reference.total", "hard_clip.total", "without_augmented_text.text"),
        *("grad_norm.float64", "step7.loss", "final.parameters", "zero_shot.mean"),
        *("loss_level.soft_aug.loss", "pipeline.split.0.other", "pipeline.texts"),
        *("mid.bert.hidden_2", "mean_includes_padding.cosine", "lr_curve"),
    } <= quantities
    # What is not replayed stands there with its reason.
    left = next(row.quantity for row in rows if "card.eda" in row.quantity)
    assert "card.sentence_dict (sentences are labelled by rules here" in left


def test_a_wrong_number_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bent"
    folder.mkdir()
    for name in ("loss_level", "pipeline", "meta"):
        for end in ("json", "safetensors"):
            if (file := fixture("public_b") / f"{name}.{end}").is_file():
                shutil.copyfile(file, folder / file.name)
    facts = json.loads((folder / "loss_level.json").read_text())
    facts["rectangular"]["loss"] *= 1.001
    (folder / "loss_level.json").write_text(json.dumps(facts))
    facts = json.loads((folder / "pipeline.json").read_text())
    facts["split"][3]["segments"] = ["nothing"]
    (folder / "pipeline.json").write_text(json.dumps(facts))
    assert vlpzoo(["parity", "medclip", "--json", "--fixture", str(folder)]) == 1
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["failed"] == [
        *("loss_level.rectangular.loss", "pipeline.split.3.other")
    ]

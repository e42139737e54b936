from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.parity.recordings import copied, met, quantities, recorded, rewrite
from vlp_zoo.cli import main as vlpzoo
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.parity.ecamp.replay import replay_fixture


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["public_a", "public_b", "text_public"])
def test_recordings_of_the_official_code_are_met(name: str, dtype: torch.dtype) -> None:
    found = quantities(met("ecamp", name, dtype))
    if name == "text_public":
        assert {"text.ids", "text.masked_ids", "text.weights"} <= found
        return
    meta = json.loads((recorded("ecamp", name) / "meta.json").read_text())
    kept = {key for key in meta["tensor_index"] if key.startswith(("mid", "grad"))}
    assert kept <= found
    assert {"loss.total", "grad_norm.mlm", "step3.grad_norm"} <= found


def test_the_command_reports_agreement(capsys: pytest.CaptureFixture[str]) -> None:
    folder = recorded("ecamp", "public_a")
    assert vlpzoo(["parity", "ecamp", "--fixture", str(folder)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].split() == [
        "quantity",
        "ours",
        "official",
        "error",
        "tolerance",
        "ok",
    ]
    summary = json.loads(out[-1])
    assert summary["ok"]
    assert summary["losses"]["mlm"]["relative_error"] < 1e-5


def bent(name: str, to: Path, **changes: Any) -> Path:
    """A copy of a fixture with other tensors."""
    file = copied(recorded("ecamp", name), to) / "tensors.safetensors"
    tensors = load_file(file)
    save_file({**tensors, **changes}, file)
    return to


def test_recorded_token_types_and_the_recorded_window_decide(tmp_path: Path) -> None:
    source = recorded("ecamp", "public_a")
    types = load_file(source / "tensors.safetensors")["in.type_ids"]
    other = bent("public_a", tmp_path / "types", **{"in.type_ids": types + 1})
    assert "loss.mlm" in quantities(row for row in replay_fixture(other) if not row.ok)
    narrow = copied(source, tmp_path / "window")
    cells = json.loads((source / "meta.json").read_text())["super_window_patches"]
    changes = {"super_window_patches": cells - 2}
    rewrite(narrow / "meta.json", lambda meta: meta.update(changes))
    failed = quantities(row for row in replay_fixture(narrow) if not row.ok)
    assert {"loss.res", "mid.super_pixel_mask"} <= failed
    assert "loss.mim" not in failed


def test_an_input_that_is_not_replayed_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = bent("public_a", tmp_path / "more", **{"in.age": torch.ones(3)})
    assert vlpzoo(["parity", "ecamp", "--fixture", str(folder)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[-2] == "inputs replayed: 21 of 22; not replayed: in.age"
    assert not json.loads(out[-1])["ok"]


def test_weights_of_a_text_are_compared_relatively(tmp_path: Path) -> None:
    shutil.copy(recorded("ecamp", "mimic_wordpiece.json"), tmp_path)
    source = recorded("ecamp", "text_public")
    weights = load_file(source / "tensors.safetensors")["weights"]
    least = weights[weights > 0].min()
    # Less than 1e-6 in all, and more than that of the value.
    shifted = torch.where(weights == least, weights * (1 + 5e-6), weights)
    assert 0 < float((shifted - weights).abs().max()) < 1e-6
    folder = bent("text_public", tmp_path / "text", weights=shifted)
    rows = [row for row in replay_fixture(folder) if not row.ok]
    assert [row.quantity.partition(" ")[0] for row in rows] == ["text.weights"]


def test_missing_and_broken_fixtures_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DatasetNotFoundError, match="no such folder"):
        replay_fixture(tmp_path / "absent")
    with pytest.raises(DatasetNotFoundError, match=r"meta\.json"):
        replay_fixture(tmp_path)
    (tmp_path / "meta.json").write_text("{}")
    (tmp_path / "tensors.safetensors").write_bytes(b"\x00" * 20)
    assert vlpzoo(["parity", "ecamp", "--fixture", str(tmp_path)]) == 1
    assert "Traceback" not in capsys.readouterr().err
    shutil.copy(recorded("ecamp", "public_a") / "tensors.safetensors", tmp_path / "t")
    (tmp_path / "tensors.safetensors").write_bytes((tmp_path / "t").read_bytes())
    (tmp_path / "meta.json").write_text('{"losses": {}}')
    with pytest.raises(DatasetNotFoundError, match=r"meta\.json"):
        replay_fixture(tmp_path)
    (tmp_path / "cases.json").write_text('{"cases": 3}')
    with pytest.raises(DatasetNotFoundError, match="tokenizer"):
        replay_fixture(tmp_path)

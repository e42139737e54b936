"""``vlpzoo prepare`` as it is typed: make, go on, verify, train."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.nih14 import write_nih14
from tests.fakes.pairs import write_pairs
from vlp_zoo.cli import main
from vlp_zoo.data.store import prepare


def test_prepare_verifies_and_does_nothing_the_second_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nih14(tmp_path / "raw")
    out = tmp_path / "store"
    arguments = ["prepare", "nih14", "--out", str(out), "--size", "24"]
    # Without the raw data there is nothing to do yet.
    assert main(arguments) == 1
    assert "add --root to the command" in capsys.readouterr().err
    first = [*arguments, "--root", str(tmp_path / "raw"), "--workers", "1", "--verify"]
    assert main(first) == 0
    printed = capsys.readouterr().out
    assert f"{out}: 11 images of NIH ChestX-ray14" in printed
    assert "left out: 1 (truncated 1)" in printed
    assert "verified: 13 files" in printed
    command = json.loads((out / "store.json").read_text())["command"]
    assert command == "vlpzoo prepare nih14 --size 24 --side short --format jpeg"

    def refuse(*_: object) -> None:
        raise AssertionError("a whole store was written again")

    monkeypatch.setattr(prepare, "_write_parts", refuse)
    assert main([*arguments, "--verify", "--workers", "0"]) == 0
    assert "verified: 13 files" in capsys.readouterr().out
    assert main(["prepare", "nih14", "--out", str(out), "--size", "25"]) == 1
    assert "'size': 24" in capsys.readouterr().err
    victim = next((out / "images").rglob("*.jpg"))
    victim.write_bytes(b"\xff" + victim.read_bytes()[1:-1] + b"\x00")
    assert main([*arguments, "--verify", "--workers", "0"]) == 1
    error = capsys.readouterr().err
    assert f"{victim.relative_to(out)} (changed)" in error
    assert "Traceback" not in error


def test_a_table_of_pairs_is_prepared_and_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))
    write_pairs(tmp_path / "raw")
    made = ["prepare", "pairs", "--out", "store", "--size", "16", "--workers", "0"]
    assert main(made) == 1
    assert "add --path to the command" in capsys.readouterr().err
    assert main([*made, "--path", "raw/pairs.csv"]) == 0
    options = [
        *("--data", "prepared", "--data.root", "store", "--data.batch_size", "2"),
        *("--data.num_workers", "0", "--trainer.max_steps", "2", "--evaluate", "[]"),
    ]
    assert main(["fit", "--config", "demo/mae", *options]) == 0
    assert list(tmp_path.glob("runs/mae/version_*/encoder.safetensors"))


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nih14(tmp_path / "raw")
    arguments = ["prepare", "nih14", "--root", str(tmp_path / "raw")]
    arguments += ["--out", str(tmp_path / "store"), "--workers", "0"]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "write_part", interrupt)
        assert main(arguments) == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    assert main(arguments) == 0


def test_an_unknown_data_set_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", "nih41", "--out", str(tmp_path)]) == 1
    assert "did you mean 'nih14'" in capsys.readouterr().err

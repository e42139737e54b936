"""Data sets in their official layout, by name, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.nih14 import write_nih14
from vlp_zoo.cli import main
from vlp_zoo.data import official
from vlp_zoo.errors import ConfigError


def test_a_name_gives_one_class() -> None:
    assert official.nih14 is official.nih14
    assert official.nih14.dataset == "nih14"
    with pytest.raises(AttributeError):
        _ = official.nih15  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="card, nan, one, zero, half"):
        official.nih14(root="x", uncertain="maybe")


def test_mae_trains_on_images_without_reports_and_clip_says_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))
    write_nih14(tmp_path / "nih")
    options = [
        *("--data", "nih14", "--data.root", "nih", "--data.batch_size", "2"),
        *("--data.num_workers", "0", "--trainer.max_steps", "2", "--evaluate", "[]"),
    ]
    assert main(["fit", "--config", "demo/mae", *options]) == 1
    assert "1 of 12 rows unusable (truncated 1)" in capsys.readouterr().err
    options += ["--data.on_error", "skip"]
    assert main(["fit", "--config", "demo/mae", *options]) == 0
    assert list(tmp_path.glob("runs/mae/version_*/encoder.safetensors"))
    assert main(["fit", "--config", "demo/clip", *options]) == 1
    assert "images and labels only" in capsys.readouterr().err


def test_the_list_says_what_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_nih14(tmp_path / "my_nih")
    assert main(["info", "datasets", "--root", str(tmp_path)]) == 0
    assert "my_nih" in capsys.readouterr().out

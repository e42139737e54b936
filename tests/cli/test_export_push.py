"""An export that goes to the hub: private, marked as ours, and never lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch

from tests.fakes.hub import Hub, Repo, serve_hub
from vlp_zoo.cli import main
from vlp_zoo.encoders.checkpoint import load_encoder, save_encoder
from vlp_zoo.encoders.image import ImageEncoder

PUSHED = {"README.md", "config.json", "model.json", "model.safetensors"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    with serve_hub(monkeypatch) as served:
        yield served


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "run" / "encoder.safetensors"
    return save_encoder(path, ImageEncoder("micro"), {"method": "toy"})


def test_a_push_makes_a_private_repository_that_timm_loads(
    hub: Hub, encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "run", "--push", "ours/chest-model", "--licence", "CC-BY-4.0"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"pushed to {hub.endpoint}/ours/chest-model (private)" in said
    repo = hub.repos["ours/chest-model"]
    assert repo.private
    assert set(repo.files) == {".gitattributes", *PUSHED}
    # Where no OUTDIR is given, the folder bears the model's name.
    folder = Path("chest-model")
    assert repo.files["README.md"] == (folder / "MODEL_CARD.md").read_bytes()
    card = repo.files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: timm\n")
    assert "license: cc-by-4.0" in card
    assert 'timm.create_model("hf-hub:ours/chest-model", pretrained=True)' in card
    loaded = timm.create_model("hf-hub:ours/chest-model", pretrained=True).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        wanted = load_encoder(str(encoder))(images).pooled
        torch.testing.assert_close(loaded(images), wanted)


def test_a_second_push_is_a_new_version_and_takes_nothing_else_along(
    hub: Hub, encoder: Path
) -> None:
    Path("out").mkdir()
    Path("out", "patients.csv").write_text("secret")
    words = ["export", str(encoder), "out", "--push", "ours/model"]
    assert main(words) == 0
    repo = hub.repos["ours/model"]
    # Of an older export that embedded texts too: it does not fit the new weights.
    repo.files |= {"joint.json": b"old", "model.onnx": b"old", "figure.png": b"mine"}
    assert main([*words, "--licence", "only for members"]) == 0
    assert repo.commits == 2
    assert set(repo.files) == {".gitattributes", "figure.png", *PUSHED}
    assert b"license_name: only-for-members" in repo.files["README.md"]


def test_everyone_sees_it_only_if_that_is_asked_for(
    hub: Hub, encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(encoder), "out", "--push", "ours/model"]
    assert main([*words, "--public"]) == 0
    assert "ours/model (public)" in capsys.readouterr().out
    assert not hub.repos["ours/model"].private
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "everyone can see" in said
    assert "add --public" in said
    assert hub.repos["ours/model"].commits == 1


def test_a_repository_of_other_files_is_left_alone(
    hub: Hub, encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repos["ours/corpus"] = Repo(files={"text.bin": b"1", "README.md": b"2"})
    assert main(["export", str(encoder), "out", "--push", "ours/corpus"]) == 1
    said = capsys.readouterr().err
    assert "no vlpzoo export filled: text.bin" in said
    assert hub.repos["ours/corpus"].commits == 0
    assert Path("out", "model.safetensors").is_file()


@pytest.mark.parametrize("trouble", ["403", "401", "a commit", "no network"])
def test_a_push_that_fails_is_one_message_and_keeps_the_folder(
    trouble: str,
    hub: Hub,
    encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = {
        "403": "403 You don't have the rights to write there",
        "401": "401 Invalid credentials",
        "a commit": "400 the disks of the hub are full",
    }
    if trouble == "403":
        hub.foreign.add("ours")
    elif trouble == "401":
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    elif trouble == "a commit":
        hub.broken = True
    else:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert main(["export", str(encoder), "out", "--push", "ours/model"]) == 1
    said = capsys.readouterr().err
    assert "looked for: to push a model to ours/model" in said
    assert words.get(trouble, "no way to the hub") in said
    assert "out is whole: run the same command again" in said
    assert "Traceback" not in said
    assert Path("out", "model.safetensors").is_file()
    assert json.loads(Path("out", "model.json").read_text())["method"] == "toy"
    if trouble != "a commit":
        return
    hub.broken = False
    assert main(["export", str(encoder), "out", "--push", "ours/model"]) == 0


def test_what_could_not_be_pushed_is_refused_before_anything_is_written(
    hub: Hub,
    encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["export", str(encoder), "out", "--push"]
    for name in ("model", "a/b/c"):
        assert main([*words, name]) == 1
        assert f"found:      {name!r}" in capsys.readouterr().err
    monkeypatch.delenv("HF_TOKEN")
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert main([*words, "ours/model"]) == 1
    said = capsys.readouterr().err
    assert "a token of the hub" in said
    assert "hf auth login" in said
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert main([*words, "ours/model"]) == 1
    assert "unset HF_HUB_OFFLINE" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words[:-1], "--public"])
    with pytest.raises(SystemExit):
        main(words[:2])
    assert not Path("out").exists()


@pytest.mark.slow
def test_the_command_reads_the_hubs_own_settings(hub: Hub, encoder: Path) -> None:
    command = [sys.executable, "-m", "vlp_zoo", "export", "run", "--push", "ours/model"]
    place = str(Path(__file__).parents[2])
    subprocess.run(command, env={**os.environ, "PYTHONPATH": place}, check=True)
    assert set(hub.repos["ours/model"].files) == {".gitattributes", *PUSHED}

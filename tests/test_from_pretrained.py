"""What was exported comes back: from its folder, the hub, or the hub's cache."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

import vlp_zoo as vz
from tests.fakes.hub import Hub, Repo, serve_hub
from vlp_zoo.cli import main
from vlp_zoo.encoders.checkpoint import save_encoder
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import EncoderLoadError


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    with serve_hub(monkeypatch) as served:
        yield served


def export(seed: int, *words: str) -> Any:
    """Export an encoder of its own weights."""
    torch.manual_seed(seed)
    encoder = ImageEncoder("micro", mean=[0.1, 0.2, 0.3])
    save_encoder(Path("run", "encoder.safetensors"), encoder, {})
    assert main(["export", "run", *words]) == 0
    return encoder.eval()


def same(loaded: Any, encoder: Any) -> bool:
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        return torch.equal(loaded(images).pooled, encoder(images).pooled)


def test_an_export_comes_back_from_its_folder_and_from_the_hub(hub: Hub) -> None:
    encoder = export(0, "out", "--push", "ours/model")
    for place in ("out", Path("out"), "ours/model"):
        loaded: Any = vz.from_pretrained(place)
        assert same(loaded, encoder)
        assert loaded.preprocessing["mean"] == [0.1, 0.2, 0.3]
        assert not loaded.training


def test_the_newest_version_comes_and_the_cache_without_a_network(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = export(0, "out", "--push", "ours/model")
    assert same(vz.from_pretrained("ours/model"), old)
    first = hub.repos["ours/model"].sha
    new = export(1, "out", "--push", "ours/model")
    assert same(vz.from_pretrained("ours/model"), new)
    constants = huggingface_hub.constants
    with monkeypatch.context() as away:
        away.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        assert same(vz.from_pretrained("ours/model"), new)
        assert same(vz.from_pretrained(f"ours/model@{first}"), old)
        with pytest.raises(EncoderLoadError, match="no network"):
            vz.from_pretrained("ours/other")
    with monkeypatch.context() as away:
        away.setattr(constants, "HF_HUB_OFFLINE", True)
        assert same(vz.from_pretrained("ours/model"), new)
        with pytest.raises(EncoderLoadError, match="HF_HUB_OFFLINE=1"):
            vz.from_pretrained("ours/other")
    # What the hub no longer shows us is not taken from the cache.
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    with pytest.raises(EncoderLoadError, match="the hub's answer"):
        vz.from_pretrained("ours/model")


def test_pickles_are_neither_fetched_nor_read(hub: Hub) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path("exploded").touch, ()  # type: ignore[return-value]

    export(0, "out", "--push", "ours/model")
    raw = pickle.dumps(Bomb())
    repo = hub.repos["ours/model"]
    repo.files |= {"pytorch_model.bin": raw, "evil.py": b"open('exploded', 'w')"}
    vz.from_pretrained("ours/model")
    fetched = {path.name for path in Path("hf").rglob("*")}
    assert "model.safetensors" in fetched
    assert not {"pytorch_model.bin", "evil.py"} & fetched
    repo.files["model.safetensors"] = raw
    repo.commits += 1
    with pytest.raises(EncoderLoadError, match="safetensors weights"):
        vz.from_pretrained("ours/model")
    assert not Path("exploded").exists()


def test_what_is_no_export_is_refused_by_name(hub: Hub) -> None:
    Path("empty").mkdir()
    hub.repos["ours/text"] = Repo(files={"config.json": b"{}", "vocab.txt": b"a"})
    for place, message in (
        ("empty", "an export of vlpzoo"),
        ("ours/text", "config.json"),
        ("nowhere", "neither a folder that is there nor OWNER/NAME"),
        ("a/b/c", "neither a folder that is there nor OWNER/NAME"),
        ("ours/absent", "the hub's answer"),
    ):
        with pytest.raises(EncoderLoadError, match=message):
            vz.from_pretrained(place)


def test_files_that_do_not_belong_together_are_refused(hub: Hub) -> None:
    export(0, "out")
    weights = Path("out", "model.safetensors").read_bytes()
    export(1, "out")
    Path("out", "model.safetensors").write_bytes(weights)
    with pytest.raises(EncoderLoadError, match="do not belong together"):
        vz.from_pretrained("out")

"""Models that cannot be downloaded: one message, within seconds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from vlp_zoo.encoders.checkpoint import open_encoder
from vlp_zoo.encoders.hub import is_cached, require_hub
from vlp_zoo.errors import EncoderLoadError


@pytest.mark.parametrize("spec", ["timm:resnet18.a1_in1k", "hf:nobody/no-such-model"])
def test_offline_says_where_the_cache_is_and_fails_fast(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(EncoderLoadError) as caught:
        open_encoder(spec)
    assert time.monotonic() - started < 5
    assert str(tmp_path) in caught.value.looked_for
    assert spec in caught.value.looked_for
    assert "HF_HUB_OFFLINE=1" in caught.value.found


def test_without_network_it_is_one_question_and_one_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def model_info(self: Any, repo: str, **options: Any) -> None:
        asked.append((repo, options["revision"], options["timeout"]))
        raise TimeoutError("no answer")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(EncoderLoadError, match="no network"):
        require_hub("timm/resnet18.a1_in1k@main", "weights")
    assert asked == [("timm/resnet18.a1_in1k", "main", 4.0)]


def test_a_refusal_of_the_hub_is_not_called_a_lack_of_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from huggingface_hub.errors import RepositoryNotFoundError

    def model_info(self: Any, repo: str, **options: Any) -> None:
        refusal = RepositoryNotFoundError.__new__(RepositoryNotFoundError)
        Exception.__init__(refusal, "404 not found")
        raise refusal

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(EncoderLoadError, match="accept its terms") as caught:
        require_hub("a/b", "weights")
    assert "404" in caught.value.found


def test_a_cached_file_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    names = ["model.safetensors", "pytorch_model.bin"]
    assert not is_cached("a/b", names)
    folder = tmp_path / "models--a--b"
    (folder / "snapshots" / "123").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("123")
    (folder / "snapshots" / "123" / "pytorch_model.bin").write_bytes(b"x")
    assert is_cached("a/b", names)
    assert not is_cached("a/b@other", names)

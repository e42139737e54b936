"""The cache of frozen text vectors: what the disk damaged is encoded again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vlp_zoo.encoders.text_cache import FrozenText
from vlp_zoo.errors import EncoderLoadError


class Lengths(FrozenText):
    """A text's vector is its length, eight times; it counts what it encodes."""

    width = 8
    fingerprint = "a" * 64
    value = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        return torch.tensor([[len(text) * self.value] * self.width for text in texts])

    def state(self) -> dict[str, Any]:
        return {}


TEXTS = ["a", "bb", "ccc"]


def with_nan(whole: bytes) -> bytes:
    return whole[:-4] + np.float32(np.nan).tobytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"foreign",
        lambda whole: bytes(len(whole)),
        with_nan,
    ],
    ids=["empty", "cut", "foreign", "zeros", "nan"],
)
def test_a_damaged_shard_is_replaced(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path))
    first = Lengths()
    right = first.cached(TEXTS)
    first.flush()
    (shard,) = tmp_path.rglob("*.npy")
    shard.write_bytes(damage(shard.read_bytes()))
    second = Lengths()
    assert torch.equal(second.cached(TEXTS), right)
    assert second.asked
    assert "damaged" in caplog.text
    second.flush()
    assert torch.equal(Lengths().cached(TEXTS), right)


def test_vectors_that_are_not_finite_are_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path))
    encoder = Lengths()
    encoder.value = float("nan")
    with pytest.raises(EncoderLoadError, match="finite"):
        encoder.cached(TEXTS)
    encoder.flush()
    assert not list(tmp_path.rglob("*.npy"))

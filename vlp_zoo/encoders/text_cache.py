"""FrozenText: texts to fixed vectors, each computed once and kept on disk.

A frozen encoder gives the same vector for the same text in every epoch.
`FrozenText.cached` looks texts up by (weights, text) hash in the folder of caches,
which processes and later runs share.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vlp_zoo.errors import EncoderLoadError
from vlp_zoo.files import cache_folder, write_whole

__all__ = ["CACHE_FORMAT", "FrozenText"]

CACHE_FORMAT = 2
"""Raised when the same texts would give other vectors."""

SHARD = 2048
"""Texts encoded between two writes; what an interruption costs at most."""

logger = logging.getLogger(__name__)


class FrozenText(ABC):
    """Texts to fixed vectors.

    Attributes:
        width: D of the vectors.
        fingerprint: SHA-256 of everything that decides them.
    """

    width: int
    fingerprint: str

    def __init__(self) -> None:
        self._shards: list[Any] = []
        self._read: set[str] = set()
        self._places: dict[bytes, tuple[int, int]] = {}
        self._fresh: dict[bytes, npt.NDArray[np.float32]] = {}

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embed texts, without cache and gradient.

        Returns:
            (N, D) float32 on the CPU; an empty text has a vector too.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; `frozen_text_from_state` reads it."""

    def to(self, device: torch.device | str) -> Self:
        """Where `encode` computes; the result stays on the CPU."""
        return self

    # Cache ----------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Where the vectors of this encoder lie."""
        name = f"{CACHE_FORMAT}-{self.fingerprint[:32]}"
        return cache_folder() / "frozen_text" / name

    def cached(self, texts: Sequence[str]) -> Tensor:
        """What `encode` gives, each text encoded only once.

        What is new is encoded and kept in memory; it is written to disk as soon as
        there is a shard of it, or by `flush`.
        """
        keys = [_key(text) for text in texts]
        self._encode_missing(dict(zip(keys, texts, strict=True)))
        rows = self._rows(keys)
        damaged = [not np.isfinite(row).all() for row in rows]
        if any(damaged):
            # Only the disk can have done this: what is not finite is never kept.
            logger.warning(
                "%d cached embeddings in %s are damaged: encoding them again",
                sum(damaged),
                self.folder,
            )
            again = {k: t for k, t, d in zip(keys, texts, damaged, strict=True) if d}
            self._encode(again)
            rows = self._rows(keys)
        return torch.from_numpy(rows)

    def _rows(self, keys: Sequence[bytes]) -> npt.NDArray[np.float32]:
        rows = np.empty((len(keys), self.width), np.float32)
        for index, key in enumerate(keys):
            if key in self._fresh:
                rows[index] = self._fresh[key]
            else:
                shard, row = self._places[key]
                rows[index] = self._shards[shard][row]["vector"]
        return rows

    def fill(self, texts: Iterable[str], rank: int = 0, world_size: int = 1) -> int:
        """Encode and store every text that is not in the cache yet.

        Args:
            texts: All of them, the same in every process.
            rank: This process, which takes its share of the missing ones.
            world_size: Number of processes.

        Returns:
            How many texts this process encoded.
        """
        self._open()
        wanted = {_key(text): text for text in texts}
        # Shares by key, so that what others have written by now does not move them.
        mine = (k for k in wanted if int.from_bytes(k, "big") % world_size == rank)
        missing = sorted(key for key in mine if not self._known(key))
        for start in range(0, len(missing), SHARD):
            part = missing[start : start + SHARD]
            self._encode_missing({key: wanted[key] for key in part})
            self.flush()
            logger.info("embedded %d of %d new texts", start + len(part), len(missing))
        return len(missing)

    def flush(self) -> None:
        """Write what is new in memory to disk; costs a warning where that fails."""
        if not self._fresh:
            return
        keys = sorted(self._fresh)
        table = np.empty(len(keys), self._layout)
        table["key"] = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)
        table["vector"] = np.stack([self._fresh[key] for key in keys])
        name = hashlib.sha256(b"".join(keys)).hexdigest()[:32]

        def save(path: Path) -> None:
            with path.open("wb") as file:
                np.save(file, table)

        try:
            write_whole(self.folder / f"{name}.npy", save)
        except OSError as error:
            logger.warning("text embeddings not cached: %s", error)
            return
        self._open()
        # A shard that could not be read back stays in memory.
        self._fresh = {k: v for k, v in self._fresh.items() if k not in self._places}

    def _encode_missing(self, texts: Mapping[bytes, str]) -> None:
        missing = [key for key in texts if not self._known(key)]
        if missing:
            # Another process may have written them meanwhile.
            self._open()
            missing = [key for key in missing if not self._known(key)]
        if missing:
            self._encode({key: texts[key] for key in missing})

    def _encode(self, texts: Mapping[bytes, str]) -> None:
        vectors = self.encode(list(texts.values())).numpy()
        if not np.isfinite(vectors).all():
            bad = int((~np.isfinite(vectors).all(1)).sum())
            raise EncoderLoadError(
                "finite vectors of a frozen text encoder",
                f"{bad} of {len(vectors)} that are NaN or infinite",
                "its weights are damaged or of another model: load them anew",
            )
        self._fresh.update(zip(texts, vectors, strict=True))
        if len(self._fresh) >= SHARD:
            self.flush()

    def _known(self, key: bytes) -> bool:
        return key in self._places or key in self._fresh

    @property
    def _layout(self) -> np.dtype[Any]:
        return np.dtype([("key", np.uint8, 16), ("vector", np.float32, self.width)])

    def _open(self) -> None:
        """Map the shards that are on disk by now."""
        for path in sorted(self.folder.glob("*.npy")):
            if path.name in self._read:
                continue
            self._read.add(path.name)
            try:
                shard = np.load(path, mmap_mode="r", allow_pickle=False)
                if shard.dtype != self._layout or shard.ndim != 1:
                    raise ValueError(f"rows of {shard.dtype}, shape {shard.shape}")
            except (ValueError, TypeError, OSError, EOFError, SyntaxError) as error:
                logger.warning(
                    "cached embeddings %s are damaged (%s): encoding them again",
                    path,
                    error,
                )
                self._read.discard(path.name)
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
                continue
            # Reading its keys alone from a mapped file keeps the vectors on disk.
            for row, key in enumerate(np.ascontiguousarray(shard["key"])):
                self._places.setdefault(key.tobytes(), (len(self._shards), row))
            self._shards.append(shard)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()

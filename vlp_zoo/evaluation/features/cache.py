"""Features on disk: one file per encoder, preprocessing, pooling and list of studies."""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import FileWriteError
from vlp_zoo.files import write_whole

__all__ = ["FeatureCache"]

VERSION = 3
"""Raised when the same inputs would give other features.

3: ``--pooling mean`` of networks that end in a convolution of their own (EfficientNet and
its like), and the decoding of colour images of 16 bits.
"""


class FeatureCache:
    """Features by key, kept in memory and, where it can be written, in a folder.

    Args:
        folder: Where the files lie; None keeps features in memory only.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._memory: dict[str, npt.NDArray[np.float32]] = {}

    @staticmethod
    def key(**parts: Any) -> str:
        """SHA-256 of everything that decides the features."""
        text = json.dumps({"version": VERSION, **parts}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def path(self, key: str) -> Path | None:
        """The file of a key."""
        return None if self.folder is None else self.folder / "features" / f"{key}.npz"

    def get(self, key: str, studies: int) -> npt.NDArray[np.float32] | None:
        """The features (N, D) of a key; None if there are none that can be used.

        Args:
            key: The key of the features, from the method `key`.
            studies: N; a file with another number counts as damaged.
        """
        if key in self._memory:
            return self._memory[key]
        path = self.path(key)
        if path is None or not path.is_file():
            return None
        try:
            # The archive's CRC tells a damaged file from a whole one.
            with np.load(path, allow_pickle=False) as archive:
                features: npt.NDArray[np.float32] = archive["features"]
            if features.ndim != 2 or len(features) != studies:
                raise ValueError(f"shape {features.shape} for {studies} studies")
            if features.dtype != np.float32 or not np.isfinite(features).all():
                raise ValueError(f"{features.dtype} that is not all finite float32")
        except (
            ValueError,
            TypeError,
            OSError,
            KeyError,
            EOFError,
            # Of archives of another kind: how they are packed, and locks.
            NotImplementedError,
            RuntimeError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            warnings.warn(
                f"cached features {path} are damaged ({error}); encoding again",
                stacklevel=2,
            )
            return None
        self._memory[key] = features
        return features

    def remember(self, key: str, features: npt.NDArray[np.float32]) -> None:
        """Keep features in memory only."""
        self._memory[key] = features

    def put(self, key: str, features: npt.NDArray[np.float32]) -> None:
        """Keep features; a folder that cannot be written costs a warning only."""
        self.remember(key, features)
        path = self.path(key)
        if path is None or not np.isfinite(features).all():
            # Whoever reads features that are not finite refuses them; a later run
            # must not find them.
            return

        def write(aside: Path) -> None:
            with aside.open("wb") as file:
                np.savez(file, features=features)

        try:
            write_whole(path, write)
        except FileWriteError as error:
            warnings.warn(f"features are not cached: {error}", stacklevel=2)

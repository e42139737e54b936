"""Encoders whose images and texts meet in one space, as evaluation sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

__all__ = ["JointEncoder", "unit_rows"]


class JointEncoder(Protocol):
    """Images and texts to unit vectors of one space.

    The order, size and resizing of images is said by ``preprocessing``, as for any
    encoder; normalisation happens inside.
    """

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """``image_size``, ``resize``, ``interpolation``: for `fit_image`."""
        ...

    @property
    def sha256(self) -> str:
        """SHA-256 of all weights, text side included, and of the vocabulary."""
        ...

    def embed_images(self, images: Tensor) -> Tensor:
        """uint8 (B, 1 or 3, S, S) to (B, E) of unit length."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """B texts to (B, E) of unit length."""
        ...

    def embed_patches(self, images: Tensor) -> Tensor | None:
        """uint8 (B, 1 or 3, S, S) to (B, E, h, w) of unit length along E.

        None where the method has no places in its joint space.
        """
        ...

    def embed_phrases(self, texts: Sequence[str]) -> Tensor:
        """B phrases to (B, E) of unit length, in the space of `embed_patches`.

        The same as `embed_texts` where places and whole images share a space.
        """
        ...


def unit_rows(rows: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Rows divided by their length; a row of zeros stays."""
    wide = rows.astype(np.float64)
    length = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.asarray(wide / np.maximum(length, 1e-12))

"""How encoders are fed while something is trained on them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["EachOnce", "encoder_input"]


def encoder_input(images: Tensor, preprocessing: Mapping[str, Any]) -> Tensor:
    """Images as they travel in batches to what an encoder takes.

    Args:
        images: uint8 (B, 1 or 3, S, S).
        preprocessing: Preprocessing on the encoder's card: ``mean``, ``std`` and
            ``channels`` C.

    Returns:
        (B, C, S, S) float, normalised.
    """
    pixels = images.float()
    channels = int(preprocessing.get("channels", 3))
    if pixels.shape[1] != channels:
        pixels = pixels.mean(1, keepdim=True).expand(-1, channels, -1, -1)
    pixels = pixels / 255
    mean = pixels.new_tensor(list(preprocessing["mean"])).view(-1, 1, 1)
    std = pixels.new_tensor(list(preprocessing["std"])).view(-1, 1, 1)
    return (pixels - mean) / std


class EachOnce:
    """A frozen encoder's outputs, kept, so that each image is encoded once.

    For training without augmentation, where the same pixels come again in every epoch.
    Images are known by their bytes, so that a changed one is another. What does not fit
    is encoded again. Copies, those in other processes too, begin empty.

    Args:
        limit: Bytes that are kept, on the device where they were made.
    """

    def __init__(self, limit: int = 2 << 30) -> None:
        self.limit = limit
        self._kept: dict[bytes, list[Tensor]] = {}
        self._bytes = 0

    def __call__(
        self, images: Tensor, encode: Callable[[Tensor], Sequence[Tensor]]
    ) -> list[Tensor]:
        """Outputs for images, without gradient.

        Args:
            images: uint8 (B, C, H, W).
            encode: Gives outputs of B rows each; always the same function.

        Returns:
            As ``encode``.
        """
        place = str(images.device).encode()
        keys = [
            hashlib.blake2b(row.tobytes(), digest_size=16).digest() + place
            for row in images.cpu().numpy()
        ]
        new = [i for i, key in enumerate(keys) if key not in self._kept]
        rows = {i: self._kept[key] for i, key in enumerate(keys) if key in self._kept}
        if new:
            # Made while predicting, read while training, which inference mode forbids.
            with torch.inference_mode(False), torch.no_grad():
                made = encode(images[new])
            for k, i in enumerate(new):
                rows[i] = [each[k] for each in made]
                self._keep(keys[i], rows[i])
        return [
            torch.stack([rows[i][level] for i in range(len(keys))])
            for level in range(len(rows[0]))
        ]

    def _keep(self, key: bytes, row: Sequence[Tensor]) -> None:
        size = sum(each.numel() * each.element_size() for each in row)
        if key in self._kept or self._bytes + size > self.limit:
            return
        # A row alone, or it would hold on to its whole batch.
        self._kept[key] = [each.clone() for each in row]
        self._bytes += size

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit, "_kept": {}, "_bytes": 0}

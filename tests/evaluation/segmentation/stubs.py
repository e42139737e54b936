"""A source of drawn shapes whose masks are known to the pixel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlp_zoo.evaluation.segmentation.segmenter import Masked
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.types import Report, Study

__all__ = ["Bright", "ShapeSource", "shape_task"]


class ShapeSource:
    """Oblong pictures with a bright disc, in two of three, and a dark corner.

    ``disc`` is explicitly empty in every third study. ``corner`` was looked for in the
    studies of even number only: the others have no mask of it, though it is there.
    """

    def __init__(
        self, split: str, n: int, *, colour: bool = False, unknown: bool = True
    ) -> None:
        rng = np.random.default_rng((5, *split.encode()))
        self.name = f"shapes {split}"
        self.label_names: tuple[str, ...] = ()
        self.uids = [f"{split}-{i:03d}" for i in range(n)]
        self.patient_ids = [f"{split}-p{i // 2}" for i in range(n)]
        self.labels = np.empty((n, 0), np.float32)
        self.fingerprint = f"shapes {split} {n} {colour} {unknown}"
        self.colour = colour
        self.unknown = unknown
        self.centres = rng.integers((9, 12), (23, 36), (n, 2))
        self.noise = rng.integers(0, 40, (n, 32, 48)).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.uids)

    def __getitem__(self, index: int) -> Study:
        y, x = np.mgrid[:32, :48]
        row, column = self.centres[index]
        disc = (y - row) ** 2 + (x - column) ** 2 < 64
        if index % 3 == 0:
            disc = np.zeros_like(disc)
        corner = (y < 8) & (x < 12)
        image = self.noise[index] + np.uint8(60)
        image[disc] += np.uint8(140)
        image[corner] = 0
        masks = {"disc": disc}
        if index % 2 == 0 or not self.unknown:
            masks["corner"] = corner
        return Study(
            uid=self.uids[index],
            patient_id=self.patient_ids[index],
            study_id=self.uids[index],
            image=np.stack([image] * 3, -1) if self.colour else image,
            report=Report(text=""),
            labels=self.labels[index],
            masks=masks,
        )

    def reports(self) -> Iterator[Report]:
        return (Report(text="") for _ in self.uids)


def shape_task(n: int = 24, **options: Any) -> Task:
    return Task(
        "shapes",
        {s: ShapeSource(s, n, **options) for s in ("train", "val", "test")},
        gives=frozenset({"masks"}),
        min_positives=1,
    )


class Bright(Masked):
    """Marks what is bright, whatever the structure."""

    def loss(self, batch: Any) -> Tensor:
        return torch.zeros(())

    def forward(self, images: Tensor) -> Tensor:
        bright = images.float().mean(1, keepdim=True) - 150
        return bright.expand(-1, 2, -1, -1)

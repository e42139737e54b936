"""Small sources and encoders with known answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from vlp_zoo.encoders.image import EncoderOutput
from vlp_zoo.errors import DataRejectedError
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.types import Report, Study

__all__ = ["BlockSource", "StubEncoder", "block_task", "logged"]


class BlockSource:
    """8 x 8 images whose columns of brightness carry the labels, and noise.

    Label k is 1 exactly where columns 2k and 2k + 1 are bright, so a linear readout of
    the pixels knows every label.
    """

    def __init__(
        self,
        split: str,
        n: int,
        *,
        seed: int = 0,
        labels: int = 3,
        patients: Sequence[str] | None = None,
        broken: int | None = None,
    ) -> None:
        # A CRC-like spread of the name keeps splits different for one seed.
        rng = np.random.default_rng((seed, *split.encode()))
        self.name = f"blocks {split}"
        self.label_names: tuple[str, ...] = tuple(f"finding {k}" for k in range(labels))
        self.uids = [f"{split}-{i:04d}" for i in range(n)]
        self.patient_ids = list(patients or (f"{split}-p{i // 2}" for i in range(n)))
        truth = rng.random((n, labels)) < 0.4
        noise = rng.integers(0, 100, (n, 8, 8))
        bright = np.zeros((n, 8, 8), np.int64)
        for k in range(labels):
            bright[:, :, 2 * k : 2 * k + 2] = 120 * truth[:, k, None, None]
        self.images = (noise + bright).astype(np.uint8)
        self.labels: npt.NDArray[np.float32] = truth.astype(np.float32)
        self.fingerprint = f"blocks {split} {n} {seed} {labels}"
        self.broken = broken
        self.read = 0

    def __len__(self) -> int:
        return len(self.uids)

    def __getitem__(self, index: int) -> Study:
        self.read += 1
        if index == self.broken:
            raise DataRejectedError("an image", "truncated", "restore it")
        return Study(
            uid=self.uids[index],
            patient_id=self.patient_ids[index],
            study_id=self.uids[index],
            image=self.images[index],
            report=Report(text=""),
            labels=self.labels[index],
        )

    def reports(self) -> Iterator[Report]:
        return (Report(text="") for _ in self.uids)


class StubEncoder(nn.Module):
    """Flattens the image through a fixed random map, and counts what it was given."""

    def __init__(self, width: int = 16, seed: int = 0) -> None:
        super().__init__()
        self.preprocessing: dict[str, Any] = {
            "image_size": 8,
            "mean": [0.5] * 3,
            "std": [0.25] * 3,
            "channels": 3,
            "interpolation": "bilinear",
        }
        self.map = nn.Linear(192, width, bias=False)
        generator = torch.Generator().manual_seed(seed)
        self.map.weight.data = torch.randn(width, 192, generator=generator) / 14
        self.drop = nn.Dropout(0.5)
        self.images = 0

    def forward(self, images: Tensor) -> EncoderOutput:
        self.images += len(images)
        pooled = self.drop(self.map(images.flatten(1)))
        return EncoderOutput(pooled, pooled[:, None], (1, 1), (images,))


def block_task(n: int = 120, **settings: Any) -> Task:
    sizes = {"train": n, "val": n // 2, "test": n}
    options = {"min_positives": settings.pop("min_positives", 1)}
    return Task(
        "blocks",
        {s: BlockSource(s, m, **settings) for s, m in sizes.items()},
        **options,
    )


def logged(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Names to steps and values of a TensorBoard log."""
    events: Any = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }

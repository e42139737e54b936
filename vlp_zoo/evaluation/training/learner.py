"""What is trained for one evaluation: a head, and where asked the encoder under it.

A `Learner` says what is learnt and a `Plan` how long; `vlp_zoo.evaluation.training.fit`
trains it and `predict` runs it over a split, case by case in the order of the source.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.features.devices import share_batches, spread
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.loading import (
    SampleKey,
    StudyDataset,
    collate_examples,
    start_worker,
)
from vlp_zoo.schedules import warmup_cosine, warmup_poly
from vlp_zoo.types import StudySource, Transform

__all__ = ["Batch", "Fitted", "Learner", "Plan", "Predictions", "predict"]

Batch = dict[str, Any]
Predictions = list[dict[str, Any]]
"""One dict per case, in the order of the source."""


class Learner(nn.Module):
    """What is learnt: networks, loss and transforms. Subclasses are picklable.

    A frozen part must stay in evaluation mode: override ``train`` where there is one,
    or its batch normalisation goes on learning.
    """

    @abstractmethod
    def make_transform(self, train: bool) -> Transform:
        """Study to example; draws from the generator it is given, and only there."""

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """Scalar loss of a training batch."""

    @abstractmethod
    def predict(self, batch: Batch) -> Mapping[str, Any]:
        """What is predicted: names to tensors or lists, a row for each case."""

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Groups for AdamW or SGD; by default all trainable weights at one rate."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def collate(self, examples: Sequence[Any]) -> Batch:
        """Examples to a batch."""
        return collate_examples(examples)


@dataclass(frozen=True)
class Plan:
    """How long and how fast.

    Attributes:
        steps: Optimiser steps.
        batch_size: Cases per step, over all devices.
        learning_rate: At the peak.
        weight_decay: Weight decay of matrices and kernels alike.
        optimiser: ``"adamw"``, ``"adam"`` (decay inside the gradient) or ``"sgd"``
            (momentum 0.9).
        schedule: ``"cosine"``, ``"cosine-wrapping"`` (not clamped at its end, as in
            MRM, ECAMP and BenchX), ``"poly"`` or ``"constant"``.
        warmup: Share of the steps with a rising rate.
        evaluations: How often the validation split is looked at, evenly spaced; the
            last one is after the last step.
        clip: Largest norm of the gradient; 0 does not clip.
        patience: Stop after so many looks without a better score; 0 goes on.
        schedule_steps: Steps that the schedule is made for, where training is longer
            or shorter; 0 = ``steps``.
    """

    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    optimiser: str = "adamw"
    schedule: str = "cosine"
    warmup: float = 0.05
    evaluations: int = 20
    clip: float = 1.0
    patience: int = 0
    schedule_steps: int = 0

    def __post_init__(self) -> None:
        if (
            self.steps < 1
            or min(self.patience, self.schedule_steps) < 0
            or self.batch_size < 1
            or self.evaluations < 1
            or self.optimiser not in ("adamw", "adam", "sgd")
            or self.schedule not in ("cosine", "cosine-wrapping", "poly", "constant")
        ):
            raise ConfigError(
                "steps, batch size and evaluations of 1 or more; adamw, adam or sgd; a "
                "cosine, cosine-wrapping, poly or constant schedule",
                str(self),
                "correct the preset",
            )

    def factor(self, step: int) -> float:
        """Learning rate at a step, relative to its peak."""
        length = self.schedule_steps or self.steps
        warmup = round(self.warmup * length)
        if self.schedule == "constant":
            return 1.0
        total = max(length, warmup + 1)
        if self.schedule == "poly":
            return warmup_poly(step, warmup, total)
        return warmup_cosine(step, warmup, total, clamp=self.schedule == "cosine")

    def judged_after(self) -> list[int]:
        """Steps after which the validation split is looked at."""
        times = min(self.evaluations, self.steps)
        return sorted({round(self.steps * (i + 1) / times) for i in range(times)})


@dataclass(frozen=True)
class Fitted:
    """How a training went.

    Attributes:
        best_step: Step whose weights were kept.
        best_score: Validation score there.
        scores: Step to validation score.
        losses: Mean training loss between the looks.
        trainable: Number of trained parameters.
    """

    best_step: int
    best_score: float
    scores: Mapping[int, float]
    losses: Mapping[int, float] = field(default_factory=dict)
    trainable: int = 0

    def details(self) -> dict[str, Any]:
        """For the record."""
        return {
            "best_step": self.best_step,
            "validation_score": self.best_score,
            "validation_scores": {str(k): v for k, v in self.scores.items()},
            "training_losses": {str(k): v for k, v in self.losses.items()},
            "trainable_parameters": self.trainable,
        }


def predict(
    learner: Learner,
    source: StudySource,
    extraction: Extraction,
    *,
    indices: Sequence[int] | None = None,
    device: torch.device | None = None,
    batch_size: int | None = None,
) -> Predictions:
    """Run a learner over cases, none dropped and none twice.

    Args:
        learner: In any mode; it is in evaluation mode afterwards.
        source: Cases.
        extraction: Devices, precision, batch size, loader processes.
        indices: Indices of the cases to predict, by default all in order.
        device: Instead of the extraction's devices, for a process that is one of many.
        batch_size: Instead of the extraction's.

    Returns:
        What `Learner.predict` says of each case, as numpy arrays without the batch.
    """
    chosen = list(range(len(source)) if indices is None else indices)
    size = batch_size or extraction.batch_size
    parts = share_batches(chosen, size, 1 if device else extraction.devices)
    if len(parts) > 1:
        # Other processes are handed weights; from a device they could not be.
        learner.to("cpu")
    learner.eval()
    work = partial(
        _predict_cases,
        learner,
        source,
        size,
        extraction.num_workers if len(chosen) > size else 0,
        extraction.precision,
    )
    found = spread(work, parts, device or extraction.torch_device)
    return [row for rows in found for row in rows]


def _predict_cases(
    learner: Learner,
    source: StudySource,
    batch_size: int,
    workers: int,
    precision: str,
    cases: Sequence[int],
    device: torch.device,
) -> Predictions:
    if workers:
        start_worker()  # before the fork, see there
    loader = torch.utils.data.DataLoader(
        StudyDataset(source, learner.make_transform(train=False), 0),
        batch_size=batch_size,
        # Epoch 0 always: what is random about a case is the same every time.
        sampler=[SampleKey(0, i) for i in cases],
        num_workers=workers,
        collate_fn=learner.collate,
        worker_init_fn=start_worker,
        pin_memory=device.type == "cuda",
    )
    found: Predictions = []
    learner.eval().to(device)
    with torch.inference_mode(), _half(device, precision):
        for batch in loader:
            moved = {
                name: value.to(device, non_blocking=True)
                if isinstance(value, Tensor)
                else value
                for name, value in batch.items()
            }
            found += _rows(learner.predict(moved))
    return found


def _rows(predicted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A batch of predictions case by case, tensors as arrays."""
    plain = {
        name: value.float().cpu().numpy()
        if isinstance(value, Tensor) and value.is_floating_point()
        else value.cpu().numpy()
        if isinstance(value, Tensor)
        else value
        for name, value in predicted.items()
    }
    for i in range(len(next(iter(plain.values())))):
        yield {name: value[i] for name, value in plain.items()}


def _half(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")

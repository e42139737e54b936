"""Training a head, and where asked the encoder under it, for one evaluation.

A `Learner` says what is learnt; `fit` trains it with Lightning on one or many devices,
judges it on the validation split at evenly spaced steps, and leaves it with the weights
that were best there; `predict` runs it over a split. Batches come from the loaders that
pre-training uses: what a case looks like hangs on the seed, the epoch and the case, not
on the number of processes. The test split is not an argument of anything that learns.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessRaisedException

from vlp_zoo.errors import ConfigError, NonFiniteLossError, VLPZooError
from vlp_zoo.evaluation.features import Extraction
from vlp_zoo.evaluation.schedules import warmup_cosine, warmup_poly
from vlp_zoo.loading import (
    EpochSampler,
    ResumableLoader,
    SampleKey,
    StudyDataset,
    collate_examples,
    start_worker,
)
from vlp_zoo.types import StudySource, Transform

__all__ = ["Fitted", "Learner", "Plan", "fit", "predict"]

NOISY = ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed")
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
        weight_decay: Of matrices and kernels alike.
        optimiser: ``"adamw"`` or ``"sgd"`` (momentum 0.9).
        schedule: ``"cosine"``, ``"cosine-wrapping"`` (not clamped at its end, as in
            MRM, ECAMP and BenchX), ``"poly"`` or ``"constant"``.
        warmup: Share of the steps with a rising rate.
        evaluations: How often the validation split is looked at, evenly spaced; the
            last one is after the last step.
        clip: Largest norm of the gradient; 0 does not clip.
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

    def __post_init__(self) -> None:
        if (
            self.steps < 1
            or self.batch_size < 1
            or self.evaluations < 1
            or self.optimiser not in ("adamw", "sgd")
            or self.schedule not in ("cosine", "cosine-wrapping", "poly", "constant")
        ):
            raise ConfigError(
                "steps, batch size and evaluations of 1 or more; adamw or sgd; a cosine, "
                "cosine-wrapping, poly or constant schedule",
                str(self),
                "correct the preset",
            )

    def factor(self, step: int) -> float:
        """Learning rate at a step, relative to its peak."""
        warmup = round(self.warmup * self.steps)
        if self.schedule == "constant":
            return 1.0
        total = max(self.steps, warmup + 1)
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


def fit(
    learner: Learner,
    train: StudySource,
    val: StudySource,
    plan: Plan,
    score: Callable[[Predictions], float],
    seed: int,
    extraction: Extraction,
) -> Fitted:
    """Train a learner; it ends with the weights that were best on ``val``.

    Args:
        learner: Changed in place.
        train: Cases to learn from.
        val: Cases to choose the step on.
        plan: How long and how fast.
        score: Validation predictions (in the order of ``val``) to a number, larger is
            better; NaN counts as worst. Called in every process.
        seed: Of order, augmentation and drop-out.
        extraction: Device, number of devices, precision, loader processes.

    Raises:
        ConfigError: If there are fewer cases than processes.
        NonFiniteLossError: If a loss is NaN or infinite.
    """
    device = extraction.torch_device
    processes = extraction.devices
    strategy = "auto"
    if processes > 1:
        # Processes of their own, so that a suite goes on in this one afterwards.
        strategy = "ddp_spawn" if device.type == "cuda" else "ddp_fork"
    devices: Any = processes
    if processes == 1 and device.type == "cuda":
        devices = [device.index or 0]
    per_process = max(1, min(plan.batch_size, len(train)) // processes)
    with (
        tempfile.TemporaryDirectory() as folder,
        torch.random.fork_rng(devices=range(torch.cuda.device_count())),
    ):
        torch.manual_seed(seed)
        loop = _Loop(
            learner,
            plan,
            (train, val),
            score,
            seed,
            Path(folder),
            per_process,
            extraction.num_workers,
            extraction.precision,
        )
        trainer = L.Trainer(
            accelerator=device.type if device.type in ("cpu", "cuda") else "auto",
            devices=devices,
            strategy=strategy,
            precision="bf16-mixed" if extraction.precision == "bf16" else "32-true",
            max_steps=plan.steps,
            max_epochs=-1,
            gradient_clip_val=plan.clip or None,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=extraction.progress and sys.stderr.isatty(),
            num_sanity_val_steps=0,
        )
        try:
            trainer.fit(loop)
        except ProcessRaisedException as error:
            if "looked for:" not in str(error):
                raise
            # Another process hands its error over as a text with a traceback in it.
            raise VLPZooError(str(error)) from error
        best = torch.load(Path(folder) / "best.pt", weights_only=True)
        learner.load_state_dict(best.pop("weights"))
    learner.to("cpu").eval()
    return Fitted(
        best_step=int(best["step"]),
        best_score=float(best["score"]),
        scores={int(k): float(v) for k, v in best["scores"].items()},
        losses={int(k): float(v) for k, v in best["losses"].items()},
        trainable=sum(p.numel() for p in learner.parameters() if p.requires_grad),
    )


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
        extraction: Device, precision, batch size, loader processes.
        indices: Of the cases, by default all in order.
        device: Instead of the extraction's.
        batch_size: Instead of the extraction's.

    Returns:
        What `Learner.predict` says of each case, as numpy arrays without the batch.
    """
    chosen = list(range(len(source)) if indices is None else indices)
    place = device or extraction.torch_device
    size = batch_size or extraction.batch_size
    workers = extraction.num_workers if len(chosen) > size else 0
    loader = torch.utils.data.DataLoader(
        StudyDataset(source, learner.make_transform(train=False), 0),
        batch_size=size,
        # Epoch 0 always: what is random about a case is the same every time.
        sampler=[SampleKey(0, i) for i in chosen],
        num_workers=workers,
        collate_fn=learner.collate,
        worker_init_fn=start_worker,
        pin_memory=place.type == "cuda",
    )
    found: Predictions = []
    learner.eval().to(place)
    with torch.inference_mode(), _half(place, extraction.precision):
        for batch in loader:
            moved = {
                name: value.to(place, non_blocking=True)
                if isinstance(value, Tensor)
                else value
                for name, value in batch.items()
            }
            found += _rows(learner.predict(moved))
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """No word from the trainer about devices and tips, once for every run of a suite."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


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


class _Loop(L.LightningModule):
    """Steps of the optimiser, with looks at the validation split in between."""

    def __init__(
        self,
        learner: Learner,
        plan: Plan,
        sources: tuple[StudySource, StudySource],
        score: Callable[[Predictions], float],
        seed: int,
        folder: Path,
        per_process: int,
        num_workers: int,
        precision: str,
    ) -> None:
        super().__init__()
        self.precision = precision
        self.learner = learner
        self.plan = plan
        self.sources = sources
        self.score = score
        self.seed = seed
        self.folder = folder
        self.per_process = per_process
        self.workers = num_workers
        self.judged = plan.judged_after()
        self.scores: dict[int, float] = {}
        self.losses: dict[int, float] = {}
        self._seen: list[Tensor] = []
        self._best: dict[str, Any] = {"step": 0, "score": float("-inf")}

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled batches; a short last one is left out."""
        train = self.sources[0]
        trainer = self.trainer
        return ResumableLoader(
            StudyDataset(train, self.learner.make_transform(train=True), self.seed),
            batch_size=self.per_process,
            sampler=EpochSampler(
                len(train),
                batch_size=self.per_process,
                seed=self.seed,
                rank=trainer.global_rank,
                world_size=trainer.world_size,
                drop_last=True,
            ),
            num_workers=self.workers,
            collate_fn=self.learner.collate,
            worker_init_fn=start_worker,
            persistent_workers=self.workers > 0,
            pin_memory=self.device.type == "cuda",
        )

    def configure_optimizers(self) -> Any:
        """As the plan says."""
        plan = self.plan
        groups = self.learner.parameter_groups(plan.learning_rate)
        optimiser: torch.optim.Optimizer
        if plan.optimiser == "sgd":
            optimiser = torch.optim.SGD(
                groups,
                lr=plan.learning_rate,
                momentum=0.9,
                weight_decay=plan.weight_decay,
            )
        else:
            optimiser = torch.optim.AdamW(
                groups, lr=plan.learning_rate, weight_decay=plan.weight_decay
            )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, plan.factor)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of a batch."""
        loss = self.learner.loss(batch)
        if not torch.isfinite(loss):
            raise NonFiniteLossError(
                f"a finite loss of {type(self.learner).__name__}",
                f"{loss.item()} at step {self.global_step}",
                "lower the learning rate, or use --precision 32",
            )
        self._seen.append(loss.detach())
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Look at the validation split when it is time."""
        step = self.global_step
        if step not in self.judged or step in self.scores:
            return
        found = self._judge()
        self.scores[step] = found
        self.losses[step] = float(torch.stack(self._seen).mean())
        self._seen.clear()
        value = found if np.isfinite(found) else float("-inf")
        if value > self._best["score"] or self._best["step"] == 0:
            self._best = {"step": step, "score": value}
            if self.trainer.is_global_zero:
                self._weights = {
                    name: tensor.detach().cpu().clone()
                    for name, tensor in self.learner.state_dict().items()
                }

    def on_train_end(self) -> None:
        """Hand the best weights to the process that started the training."""
        if self.trainer.is_global_zero:
            torch.save(
                {
                    **self._best,
                    "weights": self._weights,
                    "scores": self.scores,
                    "losses": self.losses,
                },
                self.folder / "best.pt",
            )

    def _judge(self) -> float:
        """Validation score of the weights as they are; every process gets the same."""
        val = self.sources[1]
        world, rank = self.trainer.world_size, self.trainer.global_rank
        mine = list(range(rank, len(val), world))
        quiet = Extraction(precision=self.precision, progress=False)
        found = predict(
            self.learner,
            val,
            quiet,
            indices=mine,
            device=self.device,
            batch_size=self.per_process,
        )
        self.learner.train()
        if world > 1:
            parts: list[Any] = [None] * world
            torch.distributed.all_gather_object(parts, found)
            merged: Predictions = [{} for _ in range(len(val))]
            for first, part in enumerate(parts):
                merged[first::world] = part
            found = merged
        return float(self.score(found))

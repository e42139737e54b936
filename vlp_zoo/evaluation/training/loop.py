"""Trains a `Learner` with Lightning, on one or many devices, for one evaluation.

The validation split is looked at after evenly spaced steps, and the learner is left with
the weights that were best there. Batches come from the loaders that pre-training uses:
what a case looks like hangs on the seed, the epoch and the case, not on the number of
processes. Nor do the batches: they are cut into equal parts, and batch normalisation
counts over all of them. Only what a network draws by itself (drop-out) differs. The test
split is not an argument of anything that learns.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import lightning
import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.multiprocessing.spawn import ProcessRaisedException

from vlp_zoo.errors import NonFiniteLossError, VLPZooError
from vlp_zoo.evaluation.features.devices import one_thread, start_method
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.guard import learning
from vlp_zoo.evaluation.training.learner import (
    Batch,
    Fitted,
    Learner,
    Plan,
    Predictions,
    predict,
)
from vlp_zoo.evaluation.training.online import Online
from vlp_zoo.gather import sync_batchnorm
from vlp_zoo.loading import EpochSampler, ResumableLoader, StudyDataset, start_worker
from vlp_zoo.types import StudySource

__all__ = ["fit", "fit_best"]

L = TypeVar("L", bound=Learner)

NOISY = ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed")


def fit(
    learner: Learner,
    train: StudySource,
    val: StudySource,
    plan: Plan,
    score: Callable[[Predictions], float],
    seed: int,
    extraction: Extraction,
    online: Online | None = None,
) -> Fitted:
    """Train a learner; it ends with the weights that were best on ``val``.

    Args:
        learner: Changed in place.
        train: Cases to learn from.
        val: Cases to choose the step on.
        plan: How long and how fast.
        score: Validation predictions (in the order of ``val``) to a number, larger is
            better; NaN counts as worst. Called in every process.
        seed: Seed of the order of cases, augmentation and dropout.
        extraction: Device, number of devices, precision, loader processes. Of the
            devices as many are used as cut the batch into equal parts. Where it names
            a folder of logs, loss and scores are logged there.
        online: Further scores of ``val`` to log, put together from all processes.

    Raises:
        ConfigError: If there are no cases.
        NonFiniteLossError: If a loss is NaN or infinite.
    """
    device = extraction.torch_device
    batch = min(plan.batch_size, len(train))
    # The mean of gradients of unequal parts would not be the gradient of the batch.
    processes = max(n for n in range(1, extraction.devices + 1) if batch % n == 0)
    strategy = "auto"
    if processes > 1:
        # Processes of their own, so that a suite goes on in this one afterwards.
        strategy = f"ddp_{start_method(device)}"
        sync_batchnorm(learner)
        start_worker()  # before the fork, see there
    devices: Any = processes
    if processes == 1 and device.type == "cuda":
        devices = [device.index or 0]
    per_process = max(1, batch // processes)
    learner.train()
    with (
        _quiet(),
        learning(type(learner).__name__),
        tempfile.TemporaryDirectory() as folder,
        torch.random.fork_rng(devices=range(torch.cuda.device_count())),
        one_thread(device) if processes > 1 else nullcontext(),
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
            online if extraction.logs else None,
        )
        trainer = lightning.Trainer(
            accelerator=device.type if device.type in ("cpu", "cuda") else "auto",
            devices=devices,
            strategy=strategy,
            # Tasks of SLURM and torchrun are not ours to join.
            plugins=LightningEnvironment(),
            precision="bf16-mixed" if extraction.precision == "bf16" else "32-true",
            max_steps=plan.steps,
            max_epochs=-1,
            gradient_clip_val=plan.clip or None,
            use_distributed_sampler=False,
            logger=TensorBoardLogger(extraction.logs, "", "")
            if extraction.logs
            else False,
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
            raise VLPZooError(str(error).strip()) from error
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


def fit_best(
    make: Callable[[], L],
    train: StudySource,
    val: StudySource,
    plans: Sequence[Plan],
    score: Callable[[Predictions], float],
    seed: int,
    extraction: Extraction,
    online: Online | None = None,
) -> tuple[L, Fitted, dict[str, Any]]:
    """`fit` new learners by several plans, and keep the one that is best on ``val``.

    Args:
        make: Makes a learner; all begin with the same weights.
        train: Cases to learn from.
        val: Cases to choose step and plan on.
        plans: How long and how fast, one for each learning rate.
        score: Validation predictions to a number, larger is better; see `fit`.
        seed: Seed of the first weights and of all that `fit` draws.
        extraction: Device, number of devices, precision, loader processes, logs.
        online: Further scores of ``val`` to log.

    Returns:
        The learner, how its training went, and which learning rates were tried.
    """
    tried: dict[str, float] = {}
    found: list[tuple[L, Fitted, Plan]] = []
    for plan in plans:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            learner = make()
        logs = extraction.logs
        if logs and len(plans) > 1:
            logs = logs / f"rate-{plan.learning_rate:g}"
        place = replace(extraction, logs=logs)
        fitted = fit(learner, train, val, plan, score, seed, place, online)
        tried[f"{plan.learning_rate:g}"] = fitted.best_score
        if not found or fitted.best_score > found[0][1].best_score:
            found = [(learner, fitted, plan)]
    learner, fitted, plan = found[0]
    rates = {
        "learning_rate": plan.learning_rate,
        "validation_by_learning_rate": tried,
    }
    return learner, fitted, rates


@contextmanager
def _quiet() -> Iterator[None]:
    """No word from the trainer about devices and tips, once for every run of a suite."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            # A frozen encoder is in evaluation mode on purpose; the other is torch's.
            warnings.filterwarnings("ignore", "Found .* in eval mode at the start")
            warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Loop(lightning.LightningModule):
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
        online: Online | None,
    ) -> None:
        super().__init__()
        self.precision = precision
        self.online = online
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
        """Optimiser and schedule of the plan."""
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
            made = torch.optim.Adam if plan.optimiser == "adam" else torch.optim.AdamW
            optimiser = made(
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
        self._log(step)
        value = found if np.isfinite(found) else float("-inf")
        if value > self._best["score"] or self._best["step"] == 0:
            self._best = {"step": step, "score": value}
            if self.trainer.is_global_zero:
                self._weights = {
                    name: tensor.detach().cpu().clone()
                    for name, tensor in self.learner.state_dict().items()
                }

        since = sum(1 for judged in self.scores if judged > self._best["step"])
        if self.plan.patience and since >= self.plan.patience:
            # Every process has the same scores, so all stop here.
            self.trainer.should_stop = True

    def _log(self, step: int) -> None:
        """Log the look, for a person to see; every process takes part."""
        values = {"val/score": self.scores[step], "train/loss": self.losses[step]}
        if self.online is not None:
            found = self.online.compute()
            values |= {f"val/{name}": value for name, value in found.items()}
        if self.logger is not None:
            self.logger.log_metrics(values, step)

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
        if self.online is not None:
            self.online.update(found, mine)
        if world > 1:
            parts: list[Any] = [None] * world
            torch.distributed.all_gather_object(parts, found)
            merged: Predictions = [{} for _ in range(len(val))]
            for first, part in enumerate(parts):
                merged[first::world] = part
            found = merged
        # Scores are made of all predictions in every process: nothing to exchange.
        with torch.no_grad():
            return float(self.score(found))

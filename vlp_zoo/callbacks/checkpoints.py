"""Which checkpoints a run keeps, how they are written, and averaged weights."""

from __future__ import annotations

import io
from pathlib import Path
from time import monotonic
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import (
    Checkpoint,
    EMAWeightAveraging,
    ModelCheckpoint,
)
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from vlp_zoo.callbacks.running import SignalWatch, Stopped, run_folder
from vlp_zoo.files import write_whole

__all__ = ["BestCheckpoint", "EMAWeights", "LastCheckpoint", "WholeCheckpointIO"]


ASK_EVERY = 10
"""Optimiser steps between the questions whether a process on a GPU got a signal."""


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes every checkpoint of a run, of any callback, whole or not at all.

    Lightning's own goes through the folder of temporary files, from which a file is
    copied, not moved, when that is on another disk: a kill leaves a stump.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint beside its target first.

        Args:
            checkpoint: What to write.
            path: The file.
            storage_options: Taken by no file of a disk.

        Raises:
            FileWriteError: If it cannot be written; an older file is kept.
        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_whole(Path(path), buffer.getvalue())


class BestCheckpoint(ModelCheckpoint):
    """Keep the checkpoint with the lowest validation loss, over all resumes of a run.

    Args:
        monitor: Logged value to minimise.
        save_top_k: How many to keep; 0 keeps none.
    """

    def __init__(self, monitor: str = "val/loss", save_top_k: int = 1) -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            save_top_k=save_top_k,
            auto_insert_metric_name=False,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )
        self._present: list[str] = []

    def setup(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str
    ) -> None:
        """Find the folder, and which checkpoints of earlier days are in it."""
        if stage == "fit":
            folder = run_folder(trainer) / "checkpoints"
            self.dirpath = str(folder)
            there = [path.name for path in folder.glob("*.ckpt")]
            self._present = trainer.strategy.broadcast(there)
        super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best scores of the run, wherever its folder lies today.

        Lightning compares folders as text and forgets the scores if the one was
        relative or has been moved. A score without its file does not count.
        """
        here = Path(self.dirpath or "")
        kept = {
            str(here / Path(path).name): score
            for path, score in state_dict["best_k_models"].items()
            if Path(path).name in self._present
        }
        if not kept:
            return
        best = min(kept, key=lambda path: float(kept[path]))
        worst = max(kept, key=lambda path: float(kept[path]))
        full = len(kept) == self.save_top_k
        moved = {
            "dirpath": self.dirpath,
            "best_k_models": kept,
            "best_model_path": best,
            "best_model_score": kept[best],
            "kth_best_model_path": worst if full else "",
            "kth_value": kept[worst] if full else state_dict["kth_value"],
            "last_model_path": "",
        }
        super().load_state_dict({**state_dict, **moved})

    def is_now(self, trainer: pl.Trainer) -> bool:
        """Whether the epoch that ends has the lowest loss, by its validation at the end."""
        loss = trainer.callback_metrics.get(str(self.monitor))
        return loss is not None and loss == self.best_model_score

    def check_monitor_top_k(
        self, trainer: pl.Trainer, current: Tensor | None = None
    ) -> bool:
        """Whether a loss is among the best; one that is no number never is."""
        if current is not None and not bool(torch.isfinite(current)):
            return False
        return bool(super().check_monitor_top_k(trainer, current))


class LastCheckpoint(Checkpoint):
    """Keep ``checkpoints/last.ckpt`` fresh, so that a killed run loses little.

    SIGINT and SIGTERM save it too, and end the run with `Stopped`. What comes at the
    end of an epoch (validation, best.ckpt, the export) belongs to the epoch: from its
    last batch on nothing is saved until all of that is done, and a run that is killed
    in between does it again.

    Args:
        every_n_steps: Optimiser steps between saves; the end of each epoch is saved
            as well. 0 saves at the ends of epochs only.
        every_n_minutes: Minutes between saves, by the main process's clock; 0 looks at
            no clock.
    """

    def __init__(self, every_n_steps: int = 200, every_n_minutes: float = 0.0) -> None:
        super().__init__()
        self.every_n_steps = every_n_steps
        self.every_n_minutes = every_n_minutes
        self.watch = SignalWatch()
        self.path: Path | None = None
        self._saved_step = 0
        self._saved_at = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take over the signals; count steps from where this process began."""
        self._saved_step, self._saved_at = trainer.global_step, monotonic()
        self.watch.install(trainer)

    def on_train_epoch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        """Stop between two epochs, everything of the first being written."""
        number = self.watch.agreed(trainer)
        if number is not None:
            raise Stopped(number, self.path)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save when it is time, not in the middle of accumulation."""
        loop: Any = trainer.fit_loop
        validates = loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
        if trainer.is_last_batch or validates:
            return
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        # Processes that ask one another wait for their devices: on GPUs not every step.
        step = (batch_idx + 1) // trainer.accumulate_grad_batches
        alone = trainer.world_size == 1 or trainer.strategy.root_device.type == "cpu"
        asks = alone or step % ASK_EVERY == 0
        number, every = self.watch.agreed(trainer) if asks else None, self.every_n_steps
        due = every and trainer.global_step // every > self._saved_step // every
        if number is not None or due or (asks and self._late(trainer)):
            self._save(trainer)
        if number is not None:
            raise Stopped(number, self.path)

    def on_train_epoch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        """Save the finished epoch."""
        self._save(trainer)

    def teardown(
        self, trainer: pl.Trainer, module: pl.LightningModule, stage: str
    ) -> None:
        """Give the signals back."""
        self.watch.restore()

    def on_exception(
        self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back."""
        self.watch.restore()

    def _late(self, trainer: pl.Trainer) -> bool:
        """Whether the last save is long ago, agreed on by all processes."""
        if not self.every_n_minutes:
            return False
        late = monotonic() - self._saved_at >= 60 * self.every_n_minutes
        if trainer.world_size == 1:
            return late
        # Clocks differ, and all have to take part in a save.
        late = late and trainer.is_global_zero
        return bool(trainer.strategy.reduce_boolean_decision(late, all=False))

    def _save(self, trainer: pl.Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._saved_step, self._saved_at = trainer.global_step, monotonic()
        self.path = run_folder(trainer) / "checkpoints" / "last.ckpt"
        trainer.save_checkpoint(self.path, False)


class EMAWeights(EMAWeightAveraging):
    """Exponential moving average of the weights; validation and export use it.

    Args:
        decay: Share of the old average kept at each optimiser step.
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__(decay=decay)

    def setup(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str
    ) -> None:
        """Drop the copy of an earlier fit; the networks are not there yet.

        Lightning would build and copy them here, before the method's own `setup` knows
        its vocabulary or the features of its reports.
        """
        if stage == "fit":
            self._average_model = None

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Make the copy, then load its weights."""
        self._copy(trainer, pl_module)
        super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make the copy, where no checkpoint asked for it."""
        if self._average_model is None:
            self._copy(trainer, pl_module)

    def _copy(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        super().setup(trainer, module, "fit")

    def averaged(self, module: pl.LightningModule) -> Any:
        """The module that carries the averaged weights."""
        if self._average_model is None:
            return module
        return self._average_model.module

"""Which checkpoints a run keeps, and the average of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import (
    Checkpoint,
    EMAWeightAveraging,
    ModelCheckpoint,
)

__all__ = ["BestCheckpoint", "EMAWeights", "LastCheckpoint"]


class BestCheckpoint(ModelCheckpoint):
    """Keep the checkpoint with the lowest validation loss.

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


class LastCheckpoint(Checkpoint):
    """Keep ``checkpoints/last.ckpt`` fresh, so that a killed run loses little.

    Args:
        every_n_steps: Optimiser steps between saves; the end of each epoch is saved
            as well. 0 saves at the ends of epochs only.
    """

    def __init__(self, every_n_steps: int = 200) -> None:
        super().__init__()
        self.every_n_steps = every_n_steps
        self._saved_step = 0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save after every n-th optimiser step, not in the middle of accumulation."""
        step = trainer.global_step
        due = self.every_n_steps and step % self.every_n_steps == 0
        if due and step != self._saved_step:
            self._save(trainer)

    def on_train_epoch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        """Save the finished epoch."""
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._saved_step = trainer.global_step
        folder = Path(trainer.log_dir or trainer.default_root_dir)
        # Lightning writes to a temporary name first: a kill leaves the older file.
        trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt", False)


class EMAWeights(EMAWeightAveraging):
    """Exponential moving average of the weights; validation and export use it.

    Args:
        decay: Share of the old average kept at each optimiser step.
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__(decay=decay)

    def averaged(self, module: pl.LightningModule) -> Any:
        """The module that carries the averaged weights."""
        if self._average_model is None:
            return module
        return self._average_model.module

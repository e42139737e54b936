"""What a person sees of a run: speed, pictures, epoch lines, embeddings."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import (
    BasePredictionWriter,
    Callback,
    RichProgressBar,
)
from lightning.pytorch.loggers.logger import DummyLogger, Logger
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from vlp_zoo.callbacks.loggers import show, takes_pictures
from vlp_zoo.callbacks.sheet import labelled_sheet

__all__ = [
    "EmbeddingWriter",
    "EpochLines",
    "Progress",
    "Throughput",
    "TrainingPictures",
]


class Throughput(Callback):
    """Log images per second, peak memory of the main process, and learning rate.

    Args:
        every_n_steps: Batches between two measurements; the end of an epoch is one
            as well.
    """

    def __init__(self, every_n_steps: int = 20) -> None:
        self.every_n_steps = every_n_steps
        self._since = 0.0
        self._images = 0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clock; a run resumed inside an epoch does not start that epoch."""
        self.on_train_epoch_start(trainer, module)

    def on_train_epoch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        """Start the clock after validation and other pauses."""
        self._since, self._images = time.perf_counter(), 0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count images of all processes; log every few batches."""
        self._images += len(batch["uid"]) * trainer.world_size
        if (batch_idx + 1) % self.every_n_steps and not trainer.is_last_batch:
            return
        seconds = time.perf_counter() - self._since
        rate = self._images / max(seconds, 1e-9)
        self._since, self._images = time.perf_counter(), 0
        # Lightning takes one entry per logged name, so these stay rank-local.
        module.log("img/s", rate, prog_bar=True, logger=False, rank_zero_only=True)
        values = {
            "speed/images_per_second": rate,
            "memory/peak_gib": _peak_bytes(module.device) / 2**30,
            # All groups follow one schedule; this is the rate of the step to come.
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
        }
        if trainer.logger is not None and trainer.is_global_zero:
            trainer.logger.log_metrics(values, step=trainer.global_step)


def _peak_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


class TrainingPictures(Callback):
    """Show in the log, every few epochs, what the method does to a batch.

    The batch is the first one of the validation split, so that the same studies are
    seen again and again. A logger that takes no pictures is named once.

    Args:
        every_n_epochs: Epochs between two sets of pictures; 0 draws none.
        studies: How many studies to show.
    """

    def __init__(self, every_n_epochs: int = 1, studies: int = 4) -> None:
        self.every_n_epochs = every_n_epochs
        self.studies = studies
        self._said = False

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw from the first validation batch."""
        due = self.every_n_epochs and trainer.current_epoch % self.every_n_epochs == 0
        # Every process takes part in networks that are shared out.
        draws = trainer.is_global_zero or isinstance(module, FSDPModule)
        if batch_idx or not due or not draws or trainer.sanity_checking:
            return
        loggers = self._that_show(trainer)
        if not loggers:
            return
        few = {
            name: value[: self.studies] if isinstance(value, (Tensor, list)) else value
            for name, value in batch.items()
        }
        with torch.no_grad():
            method: Any = module
            shown: dict[str, Tensor | str] = method.pictures(few)
        if not trainer.is_global_zero:
            return
        # A written report is large as it is; all else goes on one sheet.
        small = {
            k: v for k, v in shown.items() if isinstance(v, Tensor) and k != "report"
        }
        shown = {k: v for k, v in shown.items() if k not in small}
        if small:
            shown["pictures"] = labelled_sheet(small)
        for logger in loggers:
            show(logger, shown, trainer.global_step)

    def _that_show(self, trainer: pl.Trainer) -> list[Logger]:
        """Loggers that take pictures; the others are named once."""
        loggers = [x for x in trainer.loggers if not isinstance(x, DummyLogger)]
        without = [type(x).__name__ for x in loggers if not takes_pictures(x)]
        if without and not self._said and trainer.is_global_zero:
            self._said = True
            names = " and ".join(name.lstrip("_") for name in without)
            _say(f"pictures: {names} takes none; see --logger for those that do")
        return [x for x in loggers if takes_pictures(x)]


class Progress(RichProgressBar):
    """The bar of the running epoch; what stays of an epoch is said by `EpochLines`."""

    def get_metrics(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Metrics shown beside the bar."""
        items = super().get_metrics(trainer, module)
        items.pop("v_num", None)
        return items


class EpochLines(Callback):
    """One line an epoch that stays: in a log, or above the progress bar."""

    def on_train_epoch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        """Losses of both splits and the throughput."""
        if not trainer.is_global_zero:
            return
        seen = trainer.callback_metrics
        shown = {
            name: float(seen[key])
            for name, key in {
                "loss": "train/loss",
                "val loss": "val/loss",
                "images/s": "img/s",
            }.items()
            if key in seen
        }
        text = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
        _say(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: {text}")


class EmbeddingWriter(BasePredictionWriter):
    """Write the embeddings of ``vlpzoo predict`` as one Parquet file per process.

    Args:
        folder: Where ``embeddings.parquet`` goes.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(write_interval="epoch")
        self.folder = folder

    def write_on_epoch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        predictions: Any,
        batch_indices: Any,
    ) -> None:
        """Columns: uid, embedding (list of float32)."""
        import pandas as pd

        uids = [uid for part in predictions for uid in part["uid"]]
        rows = torch.cat([part["embedding"].float().cpu() for part in predictions])
        suffix = "" if trainer.world_size == 1 else f".rank{trainer.global_rank}"
        path = self.folder / f"embeddings{suffix}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = pd.DataFrame({"uid": uids, "embedding": list(rows.numpy())})
        frame.to_parquet(path, index=False)
        _say(f"{len(uids)} embeddings of width {rows.shape[1]}: {path}")


def _say(line: str) -> None:
    """One line on standard error, beside the progress bar's output."""
    sys.stderr.write(line + "\n")

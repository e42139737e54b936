"""What happens around a training run: files written, pictures drawn, speed shown."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import (
    BasePredictionWriter,
    Callback,
    Checkpoint,
    EMAWeightAveraging,
    ModelCheckpoint,
    RichProgressBar,
)
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from vlp_zoo.encoders.checkpoint import save_encoder

__all__ = [
    "BestCheckpoint",
    "EMAWeights",
    "EmbeddingWriter",
    "EpochLines",
    "ExportEncoder",
    "LastCheckpoint",
    "Progress",
    "Throughput",
    "TrainingPictures",
]


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


class ExportEncoder(Callback):
    """Write ``encoder.safetensors`` and its card at the end of every epoch.

    Args:
        data_licence: Terms of the training data, copied into the card.
    """

    def __init__(self, data_licence: str = "unknown") -> None:
        self.data_licence = data_licence
        self.path: Path | None = None
        self._start = (time.monotonic(), 0)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Remember when, and at which step, this process began."""
        self._start = (time.monotonic(), trainer.global_step)

    def on_train_epoch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        """Export on the main process; the averaged weights where EMA is on."""
        run: Any = trainer  # Lightning sets some attributes without declaring them
        # Asking for the folder is a broadcast: every process has to take part.
        folder = Path(run.log_dir or run.default_root_dir)
        if not run.is_global_zero or run.fast_dev_run:
            return
        average = next((c for c in run.callbacks if isinstance(c, EMAWeights)), None)
        source: Any = module if average is None else average.averaged(module)
        data = run.datamodule
        card = {
            "method": type(module).__name__.lower(),
            "hyper_parameters": _plain(dict(module.hparams)),
            "data": getattr(data, "name", type(data).__name__),
            "pretraining_sources": list(getattr(data, "pretraining_sources", [])),
            "data_fingerprint": getattr(data, "corpus_fingerprint", None),
            "data_licence": self.data_licence,
            "epochs": trainer.current_epoch + 1,
            "steps": trainer.global_step,
            "seed": module.seed,
            "averaged": average is not None,
            "compute": {
                "device": _device_name(module.device),
                "processes": trainer.world_size,
                "hours": round((time.monotonic() - self._start[0]) / 3600, 3),
                # A run that was continued spent more, before this step.
                "from_step": self._start[1],
            },
        }
        self.path = save_encoder(
            folder / "encoder.safetensors", source.image_encoder, card
        )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Hyper-parameters without Lightning's own bookkeeping keys."""
    plain = {k: v for k, v in values.items() if not k.startswith("_")}
    return dict(json.loads(json.dumps(plain, default=str)))


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
    """Show in TensorBoard, every few epochs, what the method does to a batch.

    The batch is the first one of the validation split, so that the same studies are
    seen again and again.

    Args:
        every_n_epochs: Epochs between two sets of pictures; 0 draws none.
        studies: How many studies to show.
    """

    def __init__(self, every_n_epochs: int = 1, studies: int = 4) -> None:
        self.every_n_epochs = every_n_epochs
        self.studies = studies

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
        logger = trainer.logger
        if batch_idx or not due or not trainer.is_global_zero:
            return
        if trainer.sanity_checking or not isinstance(logger, TensorBoardLogger):
            return
        few = {
            name: value[: self.studies] if isinstance(value, (Tensor, list)) else value
            for name, value in batch.items()
        }
        writer = logger.experiment
        with torch.no_grad():
            method: Any = module
            shown = method.pictures(few)
        for name, value in shown.items():
            if isinstance(value, str):
                writer.add_text(name, value, trainer.global_step)
            else:
                picture = value.float().clamp(0, 1).cpu()
                writer.add_image(name, picture, trainer.global_step)


class Progress(RichProgressBar):
    """One line per epoch with losses and throughput; nothing of the version number."""

    def get_metrics(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Metrics shown beside the bar."""
        items = super().get_metrics(trainer, module)
        items.pop("v_num", None)
        return items


class EpochLines(Callback):
    """One line an epoch, for logs that no progress bar can be drawn in."""

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

"""Loggers by short name: where numbers of a run go, and which of them take pictures.

Every logger writes for the same run folder, ``OUT/METHOD/version_N``, and a run that is
resumed goes on in the log that it began.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import lightning.pytorch as pl
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from torch import Tensor

from vlp_zoo.callbacks.running import run_folder
from vlp_zoo.errors import DependencyNotFoundError
from vlp_zoo.files import write_whole

__all__ = [
    "LoggerName",
    "SameLog",
    "log_place",
    "make_logger",
    "show",
    "takes_pictures",
]

LoggerName: TypeAlias = Literal["tensorboard", "csv", "wandb", "mlflow"]
PROJECT = "vlp_zoo"
"""Project of Weights & Biases and experiment of MLflow, unless the environment names
one (``WANDB_PROJECT``, ``MLFLOW_EXPERIMENT_NAME``)."""

IDENTITY = "logger.json"
"""File of a run's folder: what a tracking server calls the run."""


class _GoingOn(ExperimentWriter):
    """Rows of a CSV file; Lightning's own deletes those of a run that is resumed."""

    def _check_log_dir_exists(self) -> None:
        before = Path(self.metrics_file_path)
        if before.is_file():
            with before.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])


class _CSV(CSVLogger):
    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """What writes; its file is kept when the run goes on."""
        if self._experiment is None:
            self._experiment = _GoingOn(log_dir=self.log_dir)
        return self._experiment


class _MLflow(MLFlowLogger):
    """MLflow allows no ``@`` in a name; Lightning leaves it out, with a warning each."""

    def log_metrics(
        self, metrics: Mapping[str, float], step: int | None = None
    ) -> None:
        """Recall@5 is written as recall_at_5."""
        written = {name.replace("@", "_at_"): v for name, v in metrics.items()}
        super().log_metrics(written, step)


def make_logger(name: LoggerName, folder: Path) -> Logger:
    """The logger of a run.

    Args:
        name: Its short name.
        folder: ``OUT/METHOD/version_N``; what it holds of an earlier part of the run
            is gone on with.

    Raises:
        DependencyNotFoundError: If the logger's package is not installed.
    """
    out, method, version = folder.parents[1], folder.parent.name, folder.name
    if name == "tensorboard":
        return TensorBoardLogger(out, method, version)
    if name == "csv":
        return _CSV(out, method, version)
    # A part of the package is not enough for Lightning either.
    if importlib.util.find_spec(name) is None:
        raise DependencyNotFoundError(
            f"{name}, for --logger {name}",
            "not installed",
            f"pip install 'vlp-zoo[{name}]', or --logger tensorboard",
        )
    before = _identity(folder).get(name)
    if name == "wandb":
        folder.mkdir(parents=True, exist_ok=True)  # else it writes to a temporary one
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        return WandbLogger(
            f"{method}/{version}", save_dir=folder, version=before, project=project
        )
    server = os.environ.get("MLFLOW_TRACKING_URI")
    here = out.resolve()
    here.mkdir(parents=True, exist_ok=True)
    return _MLflow(
        os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
        run_name=f"{method}/{version}",
        # Not the folder of files that Lightning takes: MLflow refuses these by now.
        tracking_uri=server or f"sqlite:///{here / 'mlflow.db'}",
        artifact_location=None if server else str(here / "mlruns"),
        run_id=before,
    )


class SameLog(Callback):
    """Note what the tracking server calls the run: resumed, it goes on in the same."""

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write ``logger.json``, once the logger has begun its run."""
        folder = run_folder(trainer)
        if not trainer.is_global_zero:
            return
        names: dict[type[Logger], str] = {WandbLogger: "wandb", _MLflow: "mlflow"}
        known = _identity(folder)
        found = known | {
            names[type(logger)]: str(logger.version)
            for logger in trainer.loggers
            if type(logger) in names
        }
        if found != known:
            write_whole(folder / IDENTITY, json.dumps(found) + "\n")


def _identity(folder: Path) -> dict[str, str]:
    path = folder / IDENTITY
    if not path.is_file():
        return {}
    return {str(k): str(v) for k, v in json.loads(path.read_text()).items()}


def takes_pictures(logger: Logger) -> bool:
    """Whether a logger shows pictures and texts."""
    return isinstance(logger, TensorBoardLogger | WandbLogger | MLFlowLogger)


def show(logger: Logger, shown: Mapping[str, Tensor | str], step: int) -> None:
    """Hand pictures and texts to a logger that takes them.

    Args:
        logger: One of which `takes_pictures` is true.
        shown: Name to a picture, (3, H, W) in 0..1, or a text in Markdown.
        step: Optimiser steps so far.
    """
    for name, value in shown.items():
        if isinstance(logger, TensorBoardLogger):
            if isinstance(value, str):
                logger.experiment.add_text(name, value, step)
            else:
                logger.experiment.add_image(name, value, step)
        elif isinstance(logger, WandbLogger):
            if isinstance(value, str):
                logger.log_text(name, ["text"], [[value]], step=step)
            else:
                logger.log_image(name, [_pixels(value)], step=step)
        elif isinstance(logger, MLFlowLogger):
            client, run = logger.experiment, logger.run_id
            if isinstance(value, str):
                client.log_text(run, value, f"{name}/step_{step}.md")
            else:
                client.log_image(run, _pixels(value), key=name, step=step)


def _pixels(picture: Tensor) -> Any:
    """(3, H, W) in 0..1 to uint8 (H, W, 3)."""
    return (picture.detach().cpu() * 255).round().byte().permute(1, 2, 0).numpy()


def log_place(logger: Logger, folder: Path) -> str | None:
    """How to look at what a logger was given; None if it is not one of ours.

    Args:
        logger: After the training.
        folder: The run's folder.
    """
    if isinstance(logger, TensorBoardLogger):
        return f"pictures: tensorboard --logdir {folder}"
    if isinstance(logger, CSVLogger):
        return f"numbers:  {Path(logger.log_dir) / 'metrics.csv'}"
    if isinstance(logger, WandbLogger):
        run = logger.experiment
        there = run.url or f"wandb sync {Path(run.dir).parent}"
        return f"pictures: {there}"
    if isinstance(logger, MLFlowLogger):
        return f"pictures: mlflow ui --backend-store-uri {logger._tracking_uri}"
    return None

"""The encoder that a run leaves behind, with its card."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from vlp_zoo.callbacks.checkpoints import BestCheckpoint, EMAWeights
from vlp_zoo.callbacks.running import run_folder
from vlp_zoo.encoders.checkpoint import file_is_whole, save_encoder
from vlp_zoo.encoders.identity import state_sha256
from vlp_zoo.encoders.specs import origin
from vlp_zoo.gather import whole_weights

__all__ = ["ExportEncoder"]


class ExportEncoder(Callback):
    """Write ``encoder.safetensors`` and its card at the end of every epoch.

    ``best/`` holds those of the epoch with the lowest validation loss, which is the one
    of ``checkpoints/best.ckpt``.

    Args:
        data_licence: Terms of the training data, for the card of the encoder; by
            default what the data set's own card says.
        image_size: Side at which the exported encoder reads images; None for that of the
            training. A CNN that learnt from crops saw things larger than they are in
            whole images, and may know them better there at a larger size (Touvron et
            al., "Fixing the train-test resolution discrepancy", NeurIPS 2019).
    """

    def __init__(
        self, data_licence: str = "unknown", image_size: int | None = None
    ) -> None:
        self.data_licence = data_licence
        self.image_size = image_size
        self.path: Path | None = None
        self.origin: str | None = None
        self._start = (time.monotonic(), 0)

    def state_dict(self) -> dict[str, Any]:
        """Where the weights started: a resumed run may lack the file by then."""
        return {"origin": self.origin}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.origin = state_dict["origin"]

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Note where the weights come from, while their file is there.

        Raises:
            ConfigError: If the weights cannot read images of ``image_size``.
        """
        run: Any = module
        if self.origin is None:
            options: Any = getattr(module, "options", None)
            self.origin = origin(getattr(options, "warm_start", None))
        if self.image_size is not None:
            run.image_encoder.at_size(self.image_size)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Remember when, and at which step, this process began."""
        self._start = (time.monotonic(), trainer.global_step)

    def on_train_epoch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        """Export on the main process; the averaged weights where EMA is on."""
        self._export(trainer, module, trainer.current_epoch + 1)

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Mend the export of a run that had nothing left to train."""
        self._export(trainer, module, trainer.current_epoch, unless_whole=True)

    def _export(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        epochs: int,
        unless_whole: bool = False,
    ) -> None:
        run: Any = trainer  # Lightning sets some attributes without declaring them
        # Asking for the folder may be a broadcast: every process has to take part.
        folder = run_folder(trainer)
        path = folder / "encoder.safetensors"
        average = next((c for c in run.callbacks if isinstance(c, EMAWeights)), None)
        source: Any = module if average is None else average.averaged(module)
        weights = whole_weights(source.image_encoder.timm)
        if not run.is_global_zero or run.fast_dev_run or not trainer.global_step:
            return
        if unless_whole:
            before, self.path = self.path, path
            if before or file_is_whole(path, state_sha256(weights)):
                return
        data = run.datamodule
        sources = list(getattr(data, "pretraining_sources", []))
        licence = self.data_licence
        if licence == "unknown":
            licence = getattr(data, "licence", licence)
        facts: dict[str, Any] = getattr(module, "card_facts", dict)()
        card = {
            "method": type(module).__name__.lower(),
            "hyper_parameters": _plain(dict(module.hparams)),
            "data": ", ".join(sources) or type(data).__name__,
            "pretraining_sources": sources,
            "origin": self.origin,
            "data_fingerprint": getattr(data, "corpus_fingerprint", None),
            "data_licence": licence,
            "epochs": epochs,
            "epoch": "last",
            "steps": trainer.global_step,
            "seed": module.seed,
            "averaged": average is not None,
            **facts,
            "compute": {
                "device": _device_name(module.device),
                "processes": trainer.world_size,
                "hours": round((time.monotonic() - self._start[0]) / 3600, 3),
                # A run that was continued spent more, before this step.
                "from_step": self._start[1],
            },
        }
        encoder = source.image_encoder
        if self.image_size is not None:
            encoder = encoder.at_size(self.image_size)
        self.path = save_encoder(path, encoder, card, weights)
        best = next((c for c in run.callbacks if isinstance(c, BestCheckpoint)), None)
        if best is not None and not unless_whole and best.is_now(trainer):
            card["epoch"] = f"lowest {best.monitor}"
            save_encoder(folder / "best" / path.name, encoder, card, weights)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Hyper-parameters without Lightning's own bookkeeping keys."""
    plain = {k: v for k, v in values.items() if not k.startswith("_")}
    return dict(json.loads(json.dumps(plain, default=str)))

"""Where a run lives, and how it ends when a signal asks it to."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from vlp_zoo.files import FINISHED, clear_leftovers

__all__ = ["RunFolder", "SignalWatch", "Stopped", "run_folder"]

WRITTEN = (
    "config.yaml",
    "encoder.safetensors",
    "encoder.json",
    "best/encoder.safetensors",
    "best/encoder.json",
    FINISHED,
    "checkpoints/best.ckpt",
    "checkpoints/last.ckpt",
)
"""What a run writes again and again; a killed one may leave parts of them behind."""


class RunFolder(Callback):
    """The folder of a run, whatever its logger is.

    Args:
        folder: ``OUT/METHOD/version_N``; the main process decides for all.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(
        self, trainer: pl.Trainer, module: pl.LightningModule, stage: str
    ) -> None:
        """Agree on the folder, and clear what a killed run left in it."""
        self.folder = Path(trainer.strategy.broadcast(str(self.folder)))
        if trainer.is_global_zero:
            for name in WRITTEN:
                clear_leftovers(self.folder / name)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """A run that trains on has not finished, whatever was true before."""
        if trainer.is_global_zero:
            (self.folder / FINISHED).unlink(missing_ok=True)


def run_folder(trainer: pl.Trainer) -> Path:
    """The folder of a run: `RunFolder`'s, else the logger's or Lightning's.

    Without a `RunFolder` this is a broadcast: every process has to take part.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, RunFolder):
            return callback.folder
    return Path(trainer.log_dir or trainer.default_root_dir)


class Stopped(SystemExit):
    """A run that ended because a signal asked it to, after it saved its state.

    Args:
        number: The signal; the exit code is 128 more.
        checkpoint: What the run goes on from; None if it had not begun.
    """

    def __init__(self, number: int, checkpoint: Path | None) -> None:
        super().__init__(128 + number)
        self.number = number
        self.checkpoint = checkpoint

    def __str__(self) -> str:
        name = signal.Signals(self.number).name
        if self.checkpoint is None:
            return f"stopped by {name} before the first step"
        return (
            f"stopped by {name}; go on with\n"
            f"  vlpzoo fit --ckpt_path {self.checkpoint}\n"
            "(--ckpt_path last continues the newest run)"
        )


class SignalWatch:
    """Notes SIGINT and SIGTERM while a run trains; a second one ends it at once.

    Lightning's own handler lets a terminated run end with exit code 0.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._launcher: Any = None
        self._main = True
        self._noted = 0.0

    def install(self, trainer: pl.Trainer) -> None:
        """Take over the signals; those that are ignored (``nohup``) stay so."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._launcher = trainer.strategy.launcher
        self._main = trainer.is_global_zero
        if trainer.received_sigterm:  # one that came while the loaders started
            self.received = signal.SIGTERM
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)

    def restore(self) -> None:
        """Give the signals back, unless Lightning has done so already."""
        while self._before:
            number, before = self._before.popitem()
            if signal.getsignal(number) == self._note:
                signal.signal(number, before)

    def _note(self, number: int, frame: object) -> None:
        if self.received is None:
            self.received, self._noted = number, time.monotonic()
            self._pass_on(number)
            if self._main:
                name = signal.Signals(number).name
                text = f"\n{name}: saving after this step; once more ends at once\n"
                # Not through sys.stderr, which may be in the middle of a line.
                os.write(2, text.encode())
        elif self._main and time.monotonic() - self._noted > 1.0:
            # Within a second it is the same one, from the terminal and a parent.
            self._pass_on(signal.SIGKILL)
            os._exit(128 + number)

    def _pass_on(self, number: int) -> None:
        if self._launcher is not None:
            self._launcher.kill(number)

    def agreed(self, trainer: pl.Trainer) -> int | None:
        """The signal that any process has received: an exchange between them all."""
        if trainer.world_size == 1:
            return self.received
        asked = self.received is not None
        if not trainer.strategy.reduce_boolean_decision(asked, all=False):
            return None
        return self.received or signal.SIGTERM

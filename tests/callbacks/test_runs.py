"""Checkpoints, exports and signals of a run, on a module of one weight."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vlp_zoo.callbacks import (
    BestCheckpoint,
    LastCheckpoint,
    RunFolder,
    Stopped,
    Throughput,
    WholeCheckpointIO,
    checkpoints,
)
from vlp_zoo.errors import FileWriteError
from vlp_zoo.files import FINISHED


class Toy(L.LightningModule):
    """Its validation loss is what it was told; it can send itself a signal."""

    def __init__(
        self, losses: list[float], kill: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.losses = losses
        self.kill = kill
        self.validated: list[int] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        if self.kill is not None and self.global_step == self.kill[0]:
            os.kill(os.getpid(), self.kill[1])
        loss: Tensor = (self.weight * batch["x"].mean()).sum()
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.validated.append(self.current_epoch)
        if self.kill is not None and self.kill[0] == -1:
            os.kill(os.getpid(), self.kill[1])
        self.log("val/loss", self.losses[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rows(count: int = 4) -> DataLoader[Any]:
    return DataLoader([{"x": torch.ones(2), "uid": "a"} for _ in range(count)])  # type: ignore[arg-type]


def fit(
    folder: Path,
    module: Toy,
    epochs: int = 2,
    resume: Path | None = None,
    every: int = 0,
    **more: Any,
) -> tuple[BestCheckpoint, LastCheckpoint]:
    best, last = BestCheckpoint(), LastCheckpoint(every)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[RunFolder(folder), best, last, Throughput(1)],
        plugins=[WholeCheckpointIO()],
        **more,
    )
    trainer.fit(module, rows(), rows(1), ckpt_path=resume, weights_only=True)
    return best, last


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("worse", [0.7, float("nan"), float("inf")])
def test_a_resume_with_worse_epochs_leaves_the_best_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worse: float, moved: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    fit(Path("run"), Toy([0.5]), epochs=1)
    folder = Path("run")
    if moved:
        shutil.move("run", "elsewhere")
        folder = Path("elsewhere")
    best = (folder / "checkpoints" / "best.ckpt").read_bytes()
    # A resume is given the file as an absolute path.
    last = (folder / "checkpoints" / "last.ckpt").resolve()
    callback, _ = fit(last.parents[1], Toy([0.5, worse]), 2, last)
    assert (folder / "checkpoints" / "best.ckpt").read_bytes() == best
    assert callback.best_model_score == pytest.approx(0.5)
    fit(last.parents[1], Toy([0.5, worse, 0.4]), 3, last)
    assert (folder / "checkpoints" / "best.ckpt").read_bytes() != best


def test_a_first_validation_that_is_no_number_is_not_the_best(tmp_path: Path) -> None:
    fit(tmp_path, Toy([float("nan")]), epochs=1)
    assert not (tmp_path / "checkpoints" / "best.ckpt").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", [0, 1, 3, 5, -1])
def test_a_signal_saves_and_the_resumed_run_loses_nothing(
    tmp_path: Path, number: signal.Signals, step: int
) -> None:
    before = signal.getsignal(number)
    first = Toy([0.5, 0.4], (step, number))
    with pytest.raises(Stopped) as stop:
        fit(tmp_path / "parts", first)
    assert stop.value.code == 128 + number
    assert signal.getsignal(number) == before
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    assert str(last) in str(stop.value)
    stored = torch.load(last, weights_only=True)["global_step"]
    # In the last batch of an epoch, or while it validates, the epoch is ended first.
    assert stored == {0: 1, 1: 2, 3: 4, 5: 6, -1: 4}[step]
    second = Toy([0.5, 0.4])
    fit(tmp_path / "parts", second, resume=last)
    assert [*first.validated, *second.validated] == [0, 1]
    fit(tmp_path / "whole", Toy([0.5, 0.4]))
    for name in ("last.ckpt", "best.ckpt"):
        files = [tmp_path / run / "checkpoints" / name for run in ("parts", "whole")]
        one, other = (torch.load(file, weights_only=True) for file in files)
        assert torch.equal(one["state_dict"]["weight"], other["state_dict"]["weight"])
        assert one["global_step"] == other["global_step"] == 8


def test_no_checkpoint_lies_between_the_last_batch_and_the_end_of_its_epoch(
    tmp_path: Path,
) -> None:
    steps: list[int] = []

    class Spy(Toy):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            steps.append(self.trainer.global_step)
            assert self.global_step < 4 or self.validated

    fit(tmp_path, Spy([0.5]), epochs=1, every=2)
    assert steps == [2, 4, 4]


def test_accumulation_is_not_cut(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit(tmp_path, Toy([0.5], (0, signal.SIGTERM)), accumulate_grad_batches=2)
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert stored["global_step"] == 1


def test_a_checkpoint_that_cannot_be_written_keeps_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(tmp_path, Toy([0.5]), epochs=1)
    last = tmp_path / "checkpoints" / "last.ckpt"
    older = last.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vlp_zoo.files.os.fsync", full)
    with pytest.raises(FileWriteError, match="No space left"):
        fit(tmp_path, Toy([0.5, 0.4]), resume=last)
    assert last.read_bytes() == older
    assert names(last.parent) == ["best.ckpt", "last.ckpt"]


def test_a_run_that_goes_on_has_not_finished(tmp_path: Path) -> None:
    fit(tmp_path, Toy([0.5]), epochs=1)
    (tmp_path / FINISHED).write_text(json.dumps({"epochs": 1}))
    last = tmp_path / "checkpoints" / "last.ckpt"
    (last.parent / ".last.ckpt.left").write_text("half")
    fit(tmp_path, Toy([0.5, 0.4]), epochs=1, resume=last)
    assert (tmp_path / FINISHED).exists()
    assert not (last.parent / ".last.ckpt.left").exists()
    fit(tmp_path, Toy([0.5, 0.4]), epochs=2, resume=last)
    assert not (tmp_path / FINISHED).exists()


@pytest.mark.parametrize("kill", [None, (2, signal.SIGTERM)])
def test_signals_are_given_back_at_the_end(
    tmp_path: Path, kill: tuple[int, int] | None
) -> None:
    watched = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in watched]
    with contextlib.suppress(Stopped):
        fit(tmp_path, Toy([0.5], kill), epochs=1)
    assert [signal.getsignal(number) for number in watched] == before


class Clock:
    """Seconds that pass with the steps of a `Toy`."""

    def __init__(self, module: Toy, seconds: float) -> None:
        self.module, self.seconds = module, seconds

    def __call__(self) -> float:
        return self.module.global_step * self.seconds


def test_last_is_saved_by_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    module = Toy([1.0])
    monkeypatch.setattr(checkpoints, "monotonic", Clock(module, 25.0))
    monkeypatch.setattr(
        L.Trainer,
        "save_checkpoint",
        lambda trainer, *_: saved.append(module.global_step),
    )
    last = LastCheckpoint(every_n_steps=0, every_n_minutes=1.0)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[last],
    )
    trainer.fit(module, rows(8), rows(1))
    # After 75 seconds each, and at the end of the epoch.
    assert saved == [3, 6, 8]


@pytest.mark.parametrize("main", [True, False])
def test_the_main_process_tells_the_time(
    main: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def decide(decision: bool, all: bool) -> bool:  # Lightning's name
        asked.append(decision)
        return True

    last = LastCheckpoint(every_n_steps=0, every_n_minutes=1.0)
    monkeypatch.setattr(checkpoints, "monotonic", lambda: 61.0)
    strategy = SimpleNamespace(reduce_boolean_decision=decide)
    trainer: Any = SimpleNamespace(world_size=2, is_global_zero=main, strategy=strategy)
    assert last._late(trainer)
    assert asked == [main]

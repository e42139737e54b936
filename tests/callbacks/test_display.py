"""What a run shows: epoch lines beside a bar, and one sheet of pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from vlp_zoo.callbacks import EpochLines, Progress, TrainingPictures
from vlp_zoo.callbacks.sheet import labelled_sheet
from vlp_zoo.cli.lightning_cli import run
from vlp_zoo.cli.names import expand


def test_small_pictures_are_enlarged_and_named_on_one_sheet() -> None:
    board = (torch.arange(16).view(1, 4, 4) % 2).float().expand(3, -1, -1)
    wide = torch.zeros(3, 2, 2048)
    sheet = labelled_sheet({"input": board, "super_resolution": wide})
    assert sheet.shape[0] == 3
    # 4 pixels by 80 are 320; what is wide already stays as it is.
    assert sheet.shape[2] == 2048 + 16
    names = sheet[:, :34, :60]
    assert bool((names < 0.5).any())
    shown = sheet[0, 34 : 34 + 320, 8 : 8 + 320]
    assert torch.equal(shown[::80, ::80], board[0])
    assert torch.equal(shown[79, 79:81], torch.tensor([0.0, 1.0]))


class Drawn:
    """A method that draws two pictures and writes a text."""

    def pictures(self, batch: dict[str, Any]) -> dict[str, Tensor | str]:
        few = len(batch["uid"])
        return {
            "input": torch.rand(3, 8, 8 * few),
            "reconstruction": torch.rand(3, 8, 8 * few),
            "report": torch.ones(3, 20, 40),
            "reports": "Clear lungs.",
        }


def test_tensorboard_gets_one_sheet_and_the_report(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, "run", "0")
    trainer: Any = SimpleNamespace(
        current_epoch=0,
        loggers=[logger],
        is_global_zero=True,
        sanity_checking=False,
        global_step=3,
    )
    module: Any = Drawn()
    TrainingPictures().on_validation_batch_start(trainer, module, {"uid": ["a"]}, 0)
    logger.experiment.flush()
    events: Any = EventAccumulator(logger.log_dir)
    events.Reload()
    assert set(events.Tags()["images"]) == {"pictures", "report"}


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [True, False])
def test_epoch_lines_stay_beside_a_bar_too(
    terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    words = ["fit", "--model", "clip", "--out", str(tmp_path), "--evaluate", "[]"]
    words += ["--trainer.fast_dev_run", "true", "--data.num_workers", "0"]
    words += ["--data.train_studies", "16", "--data.val_studies", "8"]
    words += ["--data.batch_size", "8"]
    trainer: Any = run(expand(words)).trainer
    kinds = [type(callback) for callback in trainer.callbacks]
    assert EpochLines in kinds
    assert (Progress in kinds) is terminal

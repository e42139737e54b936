"""A sweep counts a training as done only where the training itself says so."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from vlp_zoo.files import FINISHED
from vlp_zoo.sweeps.objective import Objective
from vlp_zoo.sweeps.plan import ENCODER, FOLDER, Order, Run
from vlp_zoo.sweeps.runs import Launcher, execute, prepare, state_of

PLANNED = 8


class Trains(Launcher):
    """Stands for vlpzoo: its fit ends at a given epoch, with exit code 0."""

    def __init__(self, epochs: int, mark: bool) -> None:
        super().__init__()
        self.epochs = epochs
        self.mark = mark
        self.commands: list[str] = []

    def launch(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        inherited: Sequence[int] = (),
    ) -> int:
        """Leave what the command would."""
        words = list(command)[3:]
        self.commands.append(words[0])
        if words[0] == "fit":
            train(log.parent, self.epochs, self.mark)
        else:
            row = {"metric": "val_macro_auroc", "value": 0.75, "split": "val"}
            row |= {"role": "encoder", "task": "t", "protocol": "p", "fraction": 1.0}
            bench = log.parent / "bench"
            bench.mkdir(exist_ok=True)
            (bench / "results.jsonl").write_text(json.dumps(row) + "\n")
        return 0


def train(folder: Path, epochs: int, mark: bool) -> None:
    run = folder / "fit" / "mae" / "version_0"
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(f"trainer:\n  max_epochs: {PLANNED}\n")
    (run / "checkpoints" / "last.ckpt").write_text("weights")
    (run / "encoder.safetensors").write_text("weights")
    (run / "encoder.json").write_text(json.dumps({"epochs": epochs, "steps": 9}))
    if mark:
        (run / FINISHED).write_text("{}")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    fit = ["fit", "--model=mae", f"--out={FOLDER}/fit"]
    bench = ["bench", f"--encoder={ENCODER}", f"--out={FOLDER}/bench"]
    made = Run(Order("mae", None, None, [fit, bench]), tmp_path / "mae")
    prepare(made)
    return made


def test_a_training_that_ended_early_with_0_is_not_done(run: Run) -> None:
    launcher = Trains(epochs=6, mark=False)
    outcome = execute(run.folder, Objective(logged="val/loss"), None, launcher)
    assert outcome.status == "failed"
    assert "own end" in outcome.note
    assert launcher.commands == ["fit"]
    assert not (run.folder / "done.json").exists()
    assert state_of(run) == "started"


@pytest.mark.parametrize("ended", [False, True])
def test_what_older_versions_took_for_done_goes_on(run: Run, ended: bool) -> None:
    train(run.folder, epochs=6, mark=False)
    done = {"commands": 2 if ended else 1, "seconds": 1.0}
    (run.folder / "done.json").write_text(json.dumps(done))
    if ended:
        (run.folder / "result.json").write_text("{}")
    assert state_of(run) == "started"
    launcher = Trains(epochs=PLANNED, mark=True)
    execute(run.folder, Objective(logged="val/loss"), None, launcher)
    assert launcher.commands == ["fit", "bench"]
    assert not (run.folder / "result.json").exists()  # nothing was logged here


@pytest.mark.parametrize(("epochs", "mark"), [(PLANNED, False), (3, True)])
def test_a_mark_or_the_planned_epochs_are_an_end(
    run: Run, epochs: int, mark: bool
) -> None:
    train(run.folder, epochs, mark)
    (run.folder / "done.json").write_text('{"commands": 1, "seconds": 1.0}')
    launcher = Trains(epochs, mark)
    execute(run.folder, Objective(logged="val/loss"), None, launcher)
    assert launcher.commands == ["bench"]
    (run.folder / "result.json").write_text("{}")
    assert state_of(run) == "finished"

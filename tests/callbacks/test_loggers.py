"""Loggers by short name: packages stand in for those that are not installed here."""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import (
    CSVLogger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)
from lightning.pytorch.loggers import mlflow as lightning_mlflow
from lightning.pytorch.loggers import wandb as lightning_wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from vlp_zoo.callbacks import RunFolder, TrainingPictures
from vlp_zoo.callbacks.loggers import (
    SameLog,
    log_place,
    make_logger,
    show,
    takes_pictures,
)
from vlp_zoo.cli import main
from vlp_zoo.errors import DependencyNotFoundError

SHOWN: dict[str, Tensor | str] = {
    "pictures": torch.linspace(0, 1, 2 * 3).view(1, 2, 3).expand(3, -1, -1),
    "reports": "Clear lungs.",
}


def module(name: str, **holds: Any) -> ModuleType:
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    made.__dict__.update(holds)
    return made


class WandbRun:
    """What `wandb.init` returns: it keeps what it is handed."""

    url = None

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.id = settings["id"] or "made1234"
        self.name = settings["name"]
        self.dir = f"{settings['dir']}/wandb/offline-run-{self.id}/files"
        self.logged: list[dict[str, Any]] = []

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def define_metric(self, *_: Any, **__: Any) -> None:
        pass


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = module(
        "wandb",
        run=None,
        init=WandbRun,
        Image=lambda pixels: pixels,
        Table=lambda columns, data, dataframe: (columns, data),
    )
    lib = module("wandb.sdk.lib", RunDisabled=type("RunDisabled", (), {}))
    fakes = {"wandb": fake, "wandb.sdk": module("wandb.sdk"), "wandb.sdk.lib": lib}
    fakes["wandb.wandb_run"] = module("wandb.wandb_run", Run=WandbRun)
    for name, made in fakes.items():
        monkeypatch.setitem(sys.modules, name, made)
    monkeypatch.setattr(lightning_wandb, "_WANDB_AVAILABLE", True)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)


class Client:
    """MLflow's client: it keeps what it is handed."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.images: dict[str, Any] = {}
        self.texts: dict[str, str] = {}

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id=f"of {name}", lifecycle_stage="active")

    def create_run(self, experiment_id: str, tags: dict[str, str]) -> Any:
        self.tags = tags
        return SimpleNamespace(info=SimpleNamespace(run_id="made1234"))

    def get_run(self, run: str) -> Any:
        return SimpleNamespace(info=SimpleNamespace(experiment_id="the old one"))

    def log_image(self, run: str, image: Any, *, key: str, step: int) -> None:
        self.images[f"{run}/{key}/{step}"] = image

    def log_text(self, run: str, text: str, artifact_file: str) -> None:
        self.texts[f"{run}/{artifact_file}"] = text

    def log_batch(self, run_id: str, metrics: list[Any]) -> None:
        self.numbers = {metric.key: (metric.value, metric.step) for metric in metrics}


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve_tags(tags: dict[str, str]) -> dict[str, str]:
        return tags

    context = module("mlflow.tracking.context", resolve_tags=resolve_tags)
    fakes = {
        "mlflow": module("mlflow", set_tracking_uri=lambda uri: None),
        "mlflow.entities": module("mlflow.entities", Metric=SimpleNamespace),
        "mlflow.tracking": module(
            "mlflow.tracking", MlflowClient=Client, context=context
        ),
        "mlflow.tracking.context": context,
        "mlflow.utils": module("mlflow.utils"),
        "mlflow.utils.mlflow_tags": module(
            "mlflow.utils.mlflow_tags", MLFLOW_RUN_NAME="mlflow.runName"
        ),
    }
    for name, made in fakes.items():
        monkeypatch.setitem(sys.modules, name, made)
    monkeypatch.setattr(lightning_mlflow, "_MLFLOW_AVAILABLE", True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


def trainer_of(logger: Any, folder: Path) -> Any:
    return SimpleNamespace(
        loggers=[logger],
        callbacks=[RunFolder(folder)],
        is_global_zero=True,
        sanity_checking=False,
        current_epoch=0,
        global_step=3,
    )


def test_tensorboard_writes_into_the_run_folder(tmp_path: Path) -> None:
    folder = tmp_path / "clip" / "version_3"
    logger = make_logger("tensorboard", folder)
    assert isinstance(logger, TensorBoardLogger)
    assert Path(logger.log_dir) == folder
    show(logger, SHOWN, 3)
    logger.experiment.flush()
    events: Any = EventAccumulator(str(folder))
    events.Reload()
    assert events.Tags()["images"] == ["pictures"]
    assert events.Tags()["tensors"] == ["reports/text_summary"]
    assert str(folder) in (log_place(logger, folder) or "")


def test_rows_of_a_csv_stay_when_a_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "clip" / "version_0"
    logger: Any = None
    for step, values in enumerate(({"a": 1.0}, {"a": 2.0, "b": 3.0})):
        logger = make_logger("csv", folder)  # as a new process would
        logger.log_metrics(values, step)
        logger.finalize("success")
    lines = (folder / "metrics.csv").read_text().split()
    assert isinstance(logger, CSVLogger)
    assert lines == ["a,b,step", "1.0,,0", "2.0,3.0,1"]
    assert "metrics.csv" in (log_place(logger, folder) or "")


def test_a_logger_without_pictures_is_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "clip" / "version_0"
    logger = make_logger("csv", folder)
    assert not takes_pictures(logger)
    trainer, callback = trainer_of(logger, folder), TrainingPictures()
    draws_nothing: Any = SimpleNamespace()
    for _ in range(2):
        callback.on_validation_batch_start(trainer, draws_nothing, {"uid": ["a"]}, 0)
    said = capsys.readouterr().err
    assert said.count("takes none") == 1
    assert "CSV" in said


def test_wandb_gets_pictures_and_texts_in_the_run_folder(
    wandb: None, tmp_path: Path
) -> None:
    folder = tmp_path / "clip" / "version_0"
    logger = make_logger("wandb", folder)
    assert isinstance(logger, WandbLogger)
    assert takes_pictures(logger)
    show(logger, SHOWN, 3)
    run: Any = logger.experiment
    assert run.settings["dir"] == str(folder)
    assert run.settings["name"] == "clip/version_0"
    assert run.settings["project"] == "vlp_zoo"
    assert folder.is_dir()
    picture, text = run.logged
    assert picture["trainer/global_step"] == 3
    (pixels,) = picture["pictures"]
    assert (pixels.shape, pixels.dtype) == ((2, 3, 3), np.uint8)
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert text["reports"] == (["text"], [["Clear lungs."]])
    assert f"wandb sync {folder}" in (log_place(logger, folder) or "")


def test_mlflow_gets_pictures_and_texts(mlflow: None, tmp_path: Path) -> None:
    folder = tmp_path / "clip" / "version_0"
    logger = make_logger("mlflow", folder)
    assert isinstance(logger, MLFlowLogger)
    assert takes_pictures(logger)
    show(logger, SHOWN, 3)
    client: Any = logger.experiment
    assert client.uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert client.tags["mlflow.runName"] == "clip/version_0"
    assert client.images["made1234/pictures/3"].shape == (2, 3, 3)
    assert client.texts == {"made1234/reports/step_3.md": "Clear lungs."}
    assert f"mlflow ui --backend-store-uri {client.uri}" in (
        log_place(logger, folder) or ""
    )


def test_recall_keeps_its_number_where_its_sign_is_not_allowed(
    mlflow: None, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    logger: Any = make_logger("mlflow", tmp_path / "clip" / "version_0")
    logger.log_metrics({"val/i2t_recall@5": 0.25}, 7)
    assert logger.experiment.numbers == {"val/i2t_recall_at_5": (0.25, 7)}
    assert not recwarn.list


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_resumed_run_is_the_same_one_on_the_server(
    name: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(name)
    folder = tmp_path / "clip" / "version_0"
    folder.mkdir(parents=True)
    first: Any = make_logger(name, folder)
    assert first.experiment is not None
    module: Any = None
    SameLog().on_train_start(trainer_of(first, folder), module)
    assert json.loads((folder / "logger.json").read_text()) == {name: "made1234"}
    again: Any = make_logger(name, folder)
    assert again.version == "made1234"


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_one_message(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DependencyNotFoundError) as caught:
        make_logger(name, tmp_path / "clip" / "version_0")
    assert caught.value.do_this.startswith(f"pip install 'vlp-zoo[{name}]'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("fit --logger comet", "comet"),
        (
            "fit --logger csv --trainer.logger CSVLogger --trainer.logger.save_dir x",
            "one logger",
        ),
        ("test --logger csv", "vlpzoo test logs nothing"),
    ],
)
def test_a_logger_that_cannot_be_is_refused(
    words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [*words.split(), "--model", "clip", "--out", str(tmp_path)]
    assert main(call) == 1
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message
    assert list(tmp_path.iterdir()) == []

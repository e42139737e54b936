"""A run that stops and resumes sees the studies of one that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.multiprocessing.spawn import ProcessRaisedException

from tests.fakes.sources import NoisyTransform, RampSource
from vlp_zoo.data.datamodules import PairsDataModule
from vlp_zoo.errors import ConfigError
from vlp_zoo.types import StudySource

Seen = list[tuple[int, int, list[str], int]]


class Ramps(PairsDataModule):
    def __init__(self, n: int = 22, **kwargs: Any) -> None:
        super().__init__(**({"batch_size": 4, "num_workers": 0, "seed": 3} | kwargs))
        self.n = n

    def _sources(self) -> dict[str, StudySource]:
        return {"train": RampSource(self.n), "val": RampSource(6, "val")}


class Recorder(L.LightningModule):
    """Learns nothing; keeps what it was given, in its checkpoints too."""

    def __init__(self, fail_at: int = -1) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: Seen = []
        self.fail_at = fail_at

    def make_transform(self, train: bool) -> NoisyTransform:
        return NoisyTransform()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        if self.global_step == self.fail_at:
            self.trainer.save_checkpoint(f"{self.trainer.default_root_dir}/mid.ckpt")
            raise RuntimeError("stopped in the middle of a step")
        noise = int(batch["noise"].sum())
        self.seen.append((self.current_epoch, batch_idx, batch["uid"], noise))
        return self.weight * 1.0

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        return None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["seen"] = list(self.seen)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seen = list(checkpoint["seen"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def run(
    folder: Path, data: Ramps, module: Recorder, resume: Path | None = None, **more: Any
) -> Seen:
    saver = ModelCheckpoint(
        folder, filename="{step}", every_n_train_steps=1, save_top_k=-1
    )
    enders = ModelCheckpoint(
        folder, filename="end-{epoch}", save_top_k=-1, save_on_train_epoch_end=True
    )
    options: dict[str, Any] = {
        "max_epochs": 3,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "default_root_dir": folder,
        "callbacks": [saver, enders],
    }
    trainer = L.Trainer(**(options | more))
    trainer.fit(module, datamodule=data, ckpt_path=resume)
    return module.seen


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Seen]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder, Ramps(), Recorder())


def test_uninterrupted_epochs_are_partitions_in_new_orders(
    whole: tuple[Path, Seen],
) -> None:
    _, seen = whole
    assert [(epoch, index) for epoch, index, _, _ in seen] == [
        (epoch, index) for epoch in range(3) for index in range(5)
    ]
    epochs = [[u for e, _, us, _ in seen if e == k for u in us] for k in range(3)]
    assert all(len(set(uids)) == 20 for uids in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize(
    "name", ["step=1", "step=5", "step=7", "step=10", "end-epoch=0", "end-epoch=1"]
)
def test_resume_goes_on_with_the_studies_not_yet_seen(
    whole: tuple[Path, Seen], tmp_path: Path, name: str
) -> None:
    folder, seen = whole
    assert run(tmp_path, Ramps(), Recorder(), folder / f"{name}.ckpt") == seen


@pytest.mark.parametrize("name", ["step=7", "end-epoch=0"])
def test_resume_with_loader_processes(
    whole: tuple[Path, Seen], tmp_path: Path, name: str
) -> None:
    folder, seen = whole
    data = Ramps(num_workers=2)
    assert run(tmp_path, data, Recorder(), folder / f"{name}.ckpt") == seen


@pytest.mark.parametrize("name", ["step=4", "step=7", "end-epoch=0"])
def test_resume_of_a_run_counted_in_steps(
    whole: tuple[Path, Seen], tmp_path: Path, name: str
) -> None:
    _, seen = whole
    limits: dict[str, Any] = {"max_steps": 13, "max_epochs": -1}
    first = run(tmp_path, Ramps(), Recorder(), **limits)
    assert first == seen[:13]
    again = run(
        tmp_path / "again", Ramps(), Recorder(), tmp_path / f"{name}.ckpt", **limits
    )
    assert again == first


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_resume_after_a_checkpoint_in_the_middle_of_a_step(
    whole: tuple[Path, Seen], tmp_path: Path, workers: int
) -> None:
    _, seen = whole
    with pytest.raises(RuntimeError, match="in the middle"):
        run(tmp_path, Ramps(num_workers=workers), Recorder(fail_at=7))
    data = Ramps(num_workers=workers)
    assert run(tmp_path, data, Recorder(), tmp_path / "mid.ckpt") == seen


def test_resume_between_validations_inside_an_epoch(
    whole: tuple[Path, Seen], tmp_path: Path
) -> None:
    _, seen = whole
    assert run(tmp_path, Ramps(), Recorder(), val_check_interval=2) == seen
    again = run(
        tmp_path / "again",
        Ramps(),
        Recorder(),
        tmp_path / "step=7.ckpt",
        val_check_interval=2,
    )
    assert again == seen


def test_resuming_inside_an_epoch_with_another_batch_size_is_refused(
    whole: tuple[Path, Seen], tmp_path: Path
) -> None:
    folder, _ = whole
    with pytest.raises(ConfigError, match="global_batch 2 instead of 4"):
        run(tmp_path, Ramps(batch_size=2), Recorder(), folder / "step=7.ckpt")


class Witness(Recorder):
    """Writes what each rank saw, for the parent process to read."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        return None

    def on_train_end(self) -> None:
        self.folder.mkdir(exist_ok=True)
        name = f"rank{self.global_rank}.pt"
        torch.save(self.seen, self.folder / name)


@pytest.mark.slow
def test_two_ranks_see_the_global_batches_and_resume_exactly(
    whole: tuple[Path, Seen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    _, seen = whole
    two: dict[str, Any] = {"devices": 2, "strategy": "ddp_fork"}
    data: dict[str, Any] = {"batch_size": 2}
    run(tmp_path, Ramps(**data), Witness(tmp_path / "whole"), **two)
    checkpoint = tmp_path / "step=7.ckpt"
    rest = tmp_path / "rest"
    run(rest, Ramps(**data), Witness(rest), checkpoint, **two)
    ranks = [read(tmp_path / "whole" / f"rank{r}.pt") for r in range(2)]
    joined = [left + right for left, right in zip(*ranks, strict=True)]
    assert joined == [uids for _, _, uids, _ in seen]
    for rank in range(2):
        assert read(rest / f"rank{rank}.pt") == ranks[rank][7:]


def read(path: Path) -> list[list[str]]:
    return [uids for _, _, uids, _ in torch.load(path, weights_only=True)]


def test_the_trainers_own_sharding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProcessRaisedException, match="use_distributed_sampler"):
        run(
            tmp_path,
            Ramps(),
            Recorder(),
            devices=2,
            strategy="ddp_fork",
            use_distributed_sampler=True,
        )

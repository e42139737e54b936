"""What every data module promises, on a source in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from jsonargparse import ArgumentError, ArgumentParser
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import Tensor

from tests.fakes.sources import NoisyTransform, RampSource
from vlp_zoo.data.datamodules import MIMICCXR, Pairs, PairsDataModule, PhantomChest
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.loading import EpochSampler
from vlp_zoo.types import StudySource


class Ramps(PairsDataModule):
    def __init__(self, n: int = 10, val: int = 6, **kwargs: Any) -> None:
        super().__init__(**({"batch_size": 4, "num_workers": 0} | kwargs))
        self.n = n
        self.val = val

    def _sources(self) -> dict[str, StudySource]:
        return {
            "train": RampSource(self.n),
            "val": RampSource(self.val, "val"),
            "test": RampSource(7, "test"),
        }


class Embedder(L.LightningModule):
    """Counts what each stage gives it; has a collate of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[str]] = {"val": [], "test": []}
        self.draws: list[list[int]] = []
        self.asked: list[bool] = []

    def make_transform(self, train: bool) -> NoisyTransform:
        self.asked.append(train)
        return NoisyTransform()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        return self.weight * 1.0

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.seen["val"] += batch["uid"]
        self.draws.append(batch["noise"].flatten().tolist())

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.seen["test"] += batch["uid"]

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> list[str]:
        return list(batch["uid"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder: Path, **more: Any) -> L.Trainer:
    options: dict[str, Any] = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "default_root_dir": folder,
    }
    return L.Trainer(**(options | more))


def test_each_stage_sees_its_split_once(tmp_path: Path) -> None:
    module, data = Embedder(), Ramps()
    trainer(tmp_path).fit(module, datamodule=data)
    assert module.seen["val"] == 2 * [f"val-{i:04d}" for i in range(6)]
    assert module.draws[:2] == module.draws[2:]
    trainer(tmp_path).test(module, datamodule=data, verbose=False)
    assert module.seen["test"] == [f"test-{i:04d}" for i in range(7)]
    rows = trainer(tmp_path).predict(module, datamodule=data)
    assert [uid for row in rows or [] for uid in row] == module.seen["test"]
    assert module.asked == [True, False, False, False]


def test_overfitting_repeats_the_same_samples(tmp_path: Path) -> None:
    trained: list[list[int]] = []

    class Overfit(Embedder):
        def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
            trained.append(batch["noise"].flatten().tolist())
            return super().training_step(batch, batch_idx)

    trainer(tmp_path, overfit_batches=1).fit(Overfit(), datamodule=Ramps())
    assert len(trained) == 2
    assert trained[0] == trained[1]


def test_an_empty_validation_split_is_left_out(tmp_path: Path) -> None:
    module = Embedder()
    trainer(tmp_path).fit(module, datamodule=Ramps(val=0))
    assert module.seen["val"] == []


def test_the_methods_own_collate_is_used(tmp_path: Path) -> None:
    class Collating(Embedder):
        def collate(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            return {"uid": [f"mine {e['uid']}" for e in examples]}

    rows = trainer(tmp_path).predict(Collating(), datamodule=Ramps())
    assert rows is not None
    assert rows[0][0] == "mine test-0000"


def test_training_texts_and_labels_are_at_hand_without_a_trainer() -> None:
    data = Ramps(n=3)
    assert list(data.corpus()) == ["Study 0.", "Study 1.", "Study 2."]
    assert data.label_names == ("odd", "unknown")
    assert data.corpus_fingerprint != Ramps(n=4).corpus_fingerprint
    loader = data.make_loader("test", NoisyTransform())
    assert [len(b["uid"]) for b in loader] == [4, 3]


def test_ranks_of_a_loader_share_the_split() -> None:
    parts = [
        Ramps().make_loader("test", NoisyTransform(), rank=r, world_size=2)
        for r in range(2)
    ]
    uids = [uid for part in parts for batch in part for uid in batch["uid"]]
    assert sorted(uids) == [f"test-{i:04d}" for i in range(7)]
    assert isinstance(parts[0].sampler, EpochSampler)


def test_what_cannot_work_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="global batch of 4"):
        trainer(tmp_path).fit(Embedder(), datamodule=Ramps(n=3))
    with pytest.raises(ConfigError, match="batch_size 0"):
        Ramps(batch_size=0)
    with pytest.raises(ConfigError, match="'holdout'"):
        Ramps().make_loader("holdout", NoisyTransform())
    with pytest.raises(ConfigError, match="no trainer"):
        Ramps().train_dataloader()
    with pytest.raises(ConfigError, match="make_transform"):
        trainer(tmp_path).fit(BoringModel(), datamodule=Ramps())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.csv", "uid,context\nramp-0001,There is effusion.\n"),
        ("c.csv", "img_path,llm_output\na/b/ramp-0001.jpg,There is effusion.\n"),
        ("c.jsonl", '{"uid": "ramp-0001", "context": "There is effusion."}\n'),
    ],
)
def test_contexts_join_by_uid_or_image_and_change_the_fingerprint(
    tmp_path: Path, name: str, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / name).write_text(content)
    data = Ramps(context=str(tmp_path / name))
    contexts = [report.context for report in data.sources["train"].reports()]
    assert contexts == [None, "There is effusion."] + [None] * 8
    assert "1 of 23 studies have a context" in caplog.text
    study = data.sources["train"][1]
    assert study.report.context == "There is effusion."
    assert study.report.body == "Study 1."
    assert data.corpus_fingerprint != Ramps().corpus_fingerprint


def test_a_context_file_that_fits_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="no such file"):
        Ramps(context=str(tmp_path / "none.csv")).setup()
    odd = tmp_path / "odd.csv"
    odd.write_text("uid,context\nother-1,There is effusion.\n")
    with pytest.raises(DatasetNotFoundError, match="lines for other-1"):
        Ramps(context=str(odd)).setup()


def test_the_phantom_chest_serves_batches_of_its_three_splits() -> None:
    data = PhantomChest(
        train_studies=4,
        val_studies=2,
        test_studies=0,
        image_size=32,
        num_workers=0,
        batch_size=2,
    )
    assert list(data.sources) == ["train", "val"]
    assert len(data.label_names) == 14
    assert sum(1 for _ in data.corpus()) == 4
    batches = list(data.make_loader("train", NoisyTransform(), train=True))
    assert [tuple(batch["image"].shape) for batch in batches] == [(2, 1, 32, 32)] * 2


def test_every_option_of_a_data_set_is_on_the_command_line() -> None:
    kinds = [(Pairs, "path", "label_prefix"), (MIMICCXR, "root", "uncertain")]
    for kind, place, own in kinds:
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(kind, "data")
        options = parser.format_help()
        for name in (own, "on_error", "batch_size", "seed", "context"):
            assert f"--data.{name}" in options
        with pytest.raises(ArgumentError, match="on_error"):
            parser.parse_args([f"--data.{place}=a", "--data.on_error=ignore"])

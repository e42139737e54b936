from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, Strategy
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import BatchFieldError, ConfigError, NonFiniteLossError
from vlp_zoo.methods.base import VLPModule, parameter_groups
from vlp_zoo.methods.needs import check_strategy
from vlp_zoo.methods.options import PretrainOptions
from vlp_zoo.schedules import warmup_cosine
from vlp_zoo.types import Transform

TINY: dict[str, Any] = {
    "name": "vit_tiny_patch16_224",
    "image_size": 32,
    "embed_dim": 24,
    "depth": 1,
    "num_heads": 2,
}


class Toy(VLPModule[dict[str, Any]]):
    batch_keys = frozenset({"uid", "image", "answer"})
    field_sources: ClassVar[dict[str, str]] = {"answer": "--data.answers FILE"}

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(
            PretrainOptions(
                learning_rate=0.1,
                weight_decay=0.1,
                betas=[0.9, 0.95],
                warmup_epochs=1,
                schedule_epochs=None,
            )
        )
        self.save_hyperparameters()
        self.scale = scale

    def build(self) -> None:
        self.image_encoder = ImageEncoder(**TINY)
        self.head = nn.Linear(24, 1)
        self.drop = nn.Dropout(0.5)

    def make_transform(self, train: bool) -> Transform:
        raise AssertionError("not used here")

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        pooled = self.image_encoder(batch["image"]).pooled
        self.watch(pooled)
        guess = self.head(self.drop(pooled))[:, 0]
        return {"mse": self.scale * ((guess - batch["answer"]) ** 2).mean()}


def batches(count: int = 4, **changes: Any) -> list[dict[str, Any]]:
    torch.manual_seed(3)
    one = [
        {
            "uid": [f"{i}a", f"{i}b"],
            "image": torch.randn(2, 3, 32, 32),
            "answer": torch.randn(2),
        }
        for i in range(count)
    ]
    return [{**batch, **changes} for batch in one]


def loader(data: list[dict[str, Any]]) -> DataLoader[dict[str, Any]]:
    return DataLoader(data, batch_size=None)  # type: ignore[arg-type]


def trainer(path: Path, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        default_root_dir=path,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 2, **options},
    )


def weights(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().ravel() for p in module.parameters()])


def test_the_schedule_at_its_corners() -> None:
    factors = [warmup_cosine(step, 4, 12) for step in range(14)]
    assert factors[0] == 0
    assert factors[4] == 1
    assert factors[8] == pytest.approx(0.5)
    assert factors[12:] == [0, 0]
    assert np.diff(factors[:5]) == pytest.approx([0.25] * 4)


def test_vectors_and_biases_do_not_decay() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Embedding(4, 3))
    module[1].weight.requires_grad_(False)
    decayed, plain = parameter_groups(module.named_parameters(), 0.1)
    assert {p.shape for p in decayed["params"]} == {(3, 3), (4, 3)}
    assert len(plain["params"]) == 2
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)


def test_a_missing_field_is_named_with_the_option_that_makes_it(tmp_path: Path) -> None:
    data = [{k: v for k, v in b.items() if k != "answer"} for b in batches()]
    with pytest.raises(BatchFieldError) as caught:
        trainer(tmp_path).fit(Toy(), loader(data))
    assert "'answer'" in caught.value.looked_for
    assert caught.value.do_this == "--data.answers FILE"


def test_a_non_finite_term_stops_the_run_and_is_named(tmp_path: Path) -> None:
    data = batches(answer=torch.tensor([float("nan"), 0.0]))
    with pytest.raises(NonFiniteLossError) as caught:
        trainer(tmp_path).fit(Toy(), loader(data))
    assert "mse" in caught.value.found


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for seed, disturb in ((5, 0), (5, 17), (6, 0)):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        torch.manual_seed(disturb)
        module = Toy()
        trainer(tmp_path).fit(module, loader(batches()))
        results.append(weights(module))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


class Paired(Toy):
    """The toy, whose loss is about an image and the answer that belongs to it."""

    pair_gains: ClassVar[dict[str, str]] = {"mse": "image_gain", "off": "text_gain"}


def test_validation_shows_what_wrong_partners_add(tmp_path: Path) -> None:
    data = batches()
    module = Paired()
    run = trainer(tmp_path, max_epochs=1)
    run.fit(module, loader(data), loader(data[:1]))
    module.eval()
    with torch.no_grad():
        own = module.losses(data[0])["mse"]
        other = module.losses({**data[0], "image": data[0]["image"].flip(0)})["mse"]
    logged = run.callback_metrics
    assert float(logged["val/image_gain/mse"]) == pytest.approx(
        float(other - own), rel=1e-4, abs=1e-6
    )
    assert "val/text_gain/off" not in logged
    assert "train/image_gain/mse" not in logged
    alone = {name: value[:1] for name, value in data[0].items()}
    assert not list(module.gains(alone, module.losses(alone)))


def test_the_learning_rate_warms_up_over_the_first_epoch(tmp_path: Path) -> None:
    rates: list[float] = []

    class Spy(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    trainer(tmp_path, callbacks=[Spy()]).fit(Toy(), loader(batches()))
    assert rates[:5] == pytest.approx([0, 0.025, 0.05, 0.075, 0.1])


def test_the_collapse_alarm_tells_equal_from_spread_embeddings(tmp_path: Path) -> None:
    class Watcher(Toy):
        spread = True

        def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
            terms = super().losses(batch)
            self.watch(torch.randn(64, 24) if self.spread else torch.ones(64, 24))
            return terms

    seen = []
    for spread in (True, False):
        module = Watcher()
        module.spread = spread
        run = trainer(tmp_path)
        run.validate(module, loader(batches()), verbose=False)
        seen.append(float(run.callback_metrics["val/embedding_std"]))
    assert seen[0] == pytest.approx(1.0, abs=0.1)
    assert seen[1] < 1e-6


def test_strategies_that_share_out_the_weights_are_refused() -> None:
    def run(strategy: Strategy) -> Any:
        return SimpleNamespace(strategy=strategy)

    check_strategy(run(DDPStrategy()))
    with pytest.raises(ConfigError, match="FSDPStrategy, which shares them out"):
        check_strategy(run(FSDPStrategy()))

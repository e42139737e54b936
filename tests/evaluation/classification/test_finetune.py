"""Fine-tuning: what is trained, what chooses, and that processes change nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.evaluation.stubs import BlockSource, block_task, logged
from vlp_zoo.bench.presets import read_preset
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError, NonFiniteLossError
from vlp_zoo.evaluation.classification.classifier import (
    Classifier,
    Recipe,
)
from vlp_zoo.evaluation.classification.finetune import FineTune, _Judge
from vlp_zoo.evaluation.classification.kinds import Exclusive, MultiLabel
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.fractions import pandas_rows
from vlp_zoo.evaluation.protocol import Candidate
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.evaluation.training.groups import layer_decay_groups
from vlp_zoo.evaluation.training.learner import Plan, predict
from vlp_zoo.evaluation.training.loop import fit

QUICK: dict[str, Any] = {
    "steps": (30, 30, 30),
    "batch_size": 16,
    "evaluations": 3,
    "learning_rates": (3e-3,),
    "augment": "none",
    "replicates": 20,
}


def extraction(**options: Any) -> Extraction:
    return Extraction(progress=False, cache=FeatureCache(None), **options)


def micro(seed: int = 0) -> ImageEncoder:
    torch.manual_seed(seed)
    return ImageEncoder("micro").eval()


def measure(task: Task, protocol: FineTune, **options: Any) -> Any:
    how = extraction(**options)
    encoder = micro()
    candidate = Candidate(subject_of(encoder, "m", "encoder", how), encoder)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    outcome = protocol.measure(candidate, task, 0, how)
    # The encoder itself is never changed: others are evaluated with it afterwards.
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name])
    return outcome


def test_tuning_learns_what_can_be_learnt_and_says_what_it_trained() -> None:
    outcome = measure(block_task(), FineTune(**{**QUICK, "steps": (60, 60, 60)}))
    head = outcome.measures[0]
    assert head.metric == "macro_auroc"
    assert head.value > 0.7
    assert head.low is not None
    assert head.low <= head.value <= (head.high or 0)
    total = sum(p.numel() for p in micro().parameters())
    assert outcome.details["trainable_parameters"] > total
    assert outcome.details["best_step"] in (20, 40, 60)
    assert outcome.n_train == len(block_task().splits["train"])


def test_a_frozen_encoder_trains_the_head_alone() -> None:
    protocol = FineTune(**{**QUICK, "learning_rates": (1e-2,)}, frozen=True)
    outcome = measure(block_task(), protocol)
    width = 2 * micro().width + 3 * (micro().width + 1)
    assert outcome.details["trainable_parameters"] == width
    learner = Classifier(micro(), 3, protocol.recipe(MultiLabel())).train()
    assert not learner.encoder.training
    assert learner.head.training


def test_the_learning_rate_is_chosen_on_validation() -> None:
    protocol = FineTune(**{**QUICK, "learning_rates": (1e-9, 3e-3)})
    details = measure(block_task(), protocol).details
    tried = details["validation_by_learning_rate"]
    assert details["learning_rate"] == 3e-3
    assert tried["0.003"] == details["validation_score"] > tried["1e-09"]


@pytest.mark.slow
def test_two_processes_learn_and_log_what_one_does(tmp_path: Path) -> None:
    task = block_task()
    protocol = FineTune(**{**QUICK, "steps": (8, 8, 8), "evaluations": 2})
    one = measure(task, protocol, batch_size=7, logs=tmp_path / "one")
    two = measure(task, protocol, devices=2, batch_size=64, logs=tmp_path / "two")
    seen, other = logged(tmp_path / "one"), logged(tmp_path / "two")
    assert set(seen) == {"val/macro_auroc", "val/macro_f1", "val/score", "train/loss"}
    for name in ("val/macro_auroc", "val/macro_f1", "val/score"):
        assert [step for step, _ in seen[name]] == [4, 8]
        assert np.allclose(seen[name], other[name], atol=1e-5), name
    # Bins of the logged one, the headline that chooses without.
    assert np.allclose(seen["val/macro_auroc"], seen["val/score"], atol=0.02)
    assert one.details["best_step"] == two.details["best_step"]
    assert np.allclose(one.cases.scores, two.cases.scores, atol=1e-5)
    assert one.measures[0].value == pytest.approx(two.measures[0].value, abs=1e-6)


def test_unknown_labels_cost_nothing_and_missing_ones_are_named() -> None:
    task = block_task()
    for split in ("train", "val", "test"):
        task.splits[split].labels[::3, 0] = np.nan
    task.splits["train"].labels[:, 2] = 0
    outcome = measure(task, FineTune(**QUICK))
    assert "one class only" in outcome.undefined["finding 2"]
    assert np.isnan(outcome.cases.scores[:, 2]).all()
    assert not np.isnan(outcome.cases.scores[:, 0]).any()


def test_layer_decay_slows_down_towards_the_image() -> None:
    encoder = micro().requires_grad_(True)
    groups = layer_decay_groups(encoder, 1.0, 0.05, 0.5)
    rates = sorted({group["lr"] for group in groups})
    depth = len(encoder.timm.blocks)  # type: ignore[arg-type]
    assert rates == [0.5**k for k in range(depth, -1, -1)]
    assert sum(len(group["params"]) for group in groups) == len(
        list(encoder.parameters())
    )


def test_a_loss_that_is_not_finite_stops_with_one_message() -> None:
    task = block_task()
    protocol = FineTune(**QUICK)
    for devices in (1, 2):
        learner = Classifier(micro(), 3, protocol.recipe(MultiLabel()))
        with torch.no_grad():
            learner.head.bias.fill_(float("nan"))
        with pytest.raises((NonFiniteLossError, Exception), match="finite loss"):
            fit(
                learner,
                task.splits["train"],
                task.splits["val"],
                Plan(steps=2, batch_size=8),
                lambda found: 0.0,
                0,
                extraction(devices=devices),
            )


def test_predictions_are_in_order_whatever_the_batch() -> None:
    learner = Classifier(micro(), 3, FineTune(**QUICK).recipe(MultiLabel()))
    source = BlockSource("test", 11)
    found = [
        np.stack(
            [p["logits"] for p in predict(learner, source, extraction(batch_size=size))]
        )
        for size in (1, 7, 11)
    ]
    assert np.allclose(found[0], found[1], atol=1e-6)
    assert np.allclose(found[0], found[2], atol=1e-6)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="learning rate"):
        FineTune(learning_rates=())
    with pytest.raises(ConfigError, match="schedule"):
        Plan(schedule="linear")
    assert Plan(steps=10, evaluations=20).judged_after() == list(range(1, 11))
    wrapping = Plan(steps=100, schedule="cosine-wrapping", warmup=0.0)
    assert wrapping.factor(100) == pytest.approx(0.0)
    assert wrapping.factor(200) == pytest.approx(1.0)
    assert Plan(steps=100, warmup=0.0).factor(200) == 0.0


def test_a_budget_is_looked_up_by_data_set_and_fraction() -> None:
    row = (100, 0.1, 10, 8)
    other = (200, 0.2, 50, 4)
    protocol = FineTune(
        budgets=(("nih14", (row, row, row)), ("*", (other, row, other))),
        fraction=0.1,
        epochs=3,
        schedule="cosine-wrapping",
    )
    (plan,) = protocol.plans("nih14:images", 80)
    assert (plan.steps, plan.batch_size, plan.learning_rate) == (30, 8, 0.1)
    assert plan.schedule_steps == 100
    assert plan.factor(10) == 1.0
    assert plan.factor(100) == pytest.approx(0)
    (plan,) = replace(protocol, fraction=1.0, epochs=0).plans("elsewhere", 80)
    assert (plan.steps, plan.warmup, plan.batch_size) == (200, 0.25, 4)
    with pytest.raises(ConfigError, match="a budget of"):
        replace(protocol, budgets=(("nih14", (row,) * 3),)).plans("vindr", 80)
    with pytest.raises(ConfigError, match="three rows of four"):
        FineTune(budgets=(("nih14", ((1, 2),)),))  # type: ignore[arg-type]


def test_training_stops_after_looks_without_gain() -> None:
    task = block_task(24)
    learner = Classifier(micro(), 3, Recipe(frozen=True, augment="none"))
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.9])
    fitted = fit(
        learner,
        task.splits["train"],
        task.splits["val"],
        Plan(steps=60, batch_size=8, evaluations=20, patience=2),
        lambda found: next(scores),
        0,
        extraction(),
    )
    assert list(fitted.scores.values()) == [0.1, 0.5, 0.4, 0.3]
    assert fitted.best_step == 6


def test_a_published_protocol_runs_with_all_its_habits() -> None:
    protocol = read_preset("mgca-linear").protocol
    assert isinstance(protocol, FineTune)
    quick = replace(protocol, epochs=4, replicates=0, fraction=0.5, batch_size=16)
    outcome = measure(block_task(), quick)
    width = 3 * (micro().width + 1)
    assert outcome.details["trainable_parameters"] == width
    # 60 of 120 images, three whole batches of 16, four epochs.
    assert outcome.n_train == 60
    assert [int(s) for s in outcome.details["validation_scores"]] == [3, 6, 9, 12]
    assert outcome.details["selected_by"] == "loss"
    assert outcome.details["validation_score"] < 0


def test_the_last_batch_is_left_out_only_where_asked() -> None:
    labels = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]]
    predictions = [{"logits": row} for row in 9 * labels - 4]
    predictions[4]["logits"] = -predictions[4]["logits"]
    shared = (labels, np.ones(3, bool), "loss", Exclusive())
    whole, dropped = _Judge(*shared, 0), _Judge(*shared, 2)
    assert dropped(predictions) > -0.01
    assert whole(predictions) < -1


def test_rows_are_those_of_pandas() -> None:
    frame = pd.DataFrame({"row": range(333)}, index=[f"i{i}" for i in range(333)])
    for share in (0.01, 0.1, 0.5):
        theirs = frame.sample(frac=share, random_state=42)["row"]
        assert pandas_rows(333, share).tolist() == sorted(theirs)
    assert pandas_rows(5, 1.0).tolist() == [0, 1, 2, 3, 4]


def test_constants_and_colours_of_a_preset_replace_the_encoders() -> None:
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    own = Classifier(micro(), 1, Recipe(head="linear")).eval()
    encoder = micro()
    mean, std = (encoder.preprocessing[name] for name in ("mean", "std"))
    shift, scale = (torch.tensor(each).view(-1, 1, 1) for each in (mean, std))
    pooled = encoder((images.float() / 255 - shift) / scale).pooled
    assert torch.allclose(own(images), own.head(pooled), atol=1e-5)
    other = Classifier(micro(), 1, Recipe(head="linear", norm=(0.1, 0.9))).eval()
    other.load_state_dict(own.state_dict())
    assert not torch.allclose(other(images), own(images))
    grey = Classifier(micro(), 1, Recipe(head="linear", grey=True)).eval()
    grey.load_state_dict(own.state_dict())
    flat = images.float().mean(1, keepdim=True).round().expand(-1, 3, -1, -1)
    assert torch.allclose(grey(images), own(flat), atol=0.05)
    with pytest.raises(ConfigError, match="norm of a mean"):
        Recipe(norm=(0.5,))

"""Tip-Adapter: the paper's formula, what validation chooses, what shots add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.evaluation.alignment.test_space import NAMES, BlockJoint, SpokenSource
from tests.evaluation.stubs import StubEncoder
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.alignment.tip_adapter import TipAdapter
from vlp_zoo.evaluation.alignment.zero_shot import ZeroShot
from vlp_zoo.evaluation.classification.shots import draw_shots
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate, Outcome, Protocol
from vlp_zoo.evaluation.statistics.metrics import macro
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.leaderboard.remade import statistic_of

QUICK = TipAdapter(shots=(1, 4), draws=3, replicates=20)


class ClassSource(SpokenSource):
    """The same blocks, of which exactly one is bright."""

    def __init__(self, split: str, n: int) -> None:
        super().__init__(split, n)
        rng = np.random.default_rng((3, *split.encode()))
        truth = rng.integers(0, 3, n)
        self.labels = np.eye(3, dtype=np.float32)[truth]
        noise = rng.integers(0, 150, (n, 8, 8))
        bright = np.repeat(self.labels, 2, 1)[:, None, :] * 90
        noise[:, :, :6] += bright.astype(np.int64)
        self.images = noise.astype(np.uint8)


class Mumbling(BlockJoint):
    """Its texts all lie in one place: sentences say nothing."""

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.ones(len(texts), 3) / 3**0.5


def task_of(source: type[SpokenSource], n: int = 120) -> Task:
    sizes = {"train": n, "val": n // 2, "test": n}
    return Task(
        "spoken",
        {split: source(split, size) for split, size in sizes.items()},
        min_positives=1,
        single_label=source is ClassSource,
    )


def measured(protocol: Protocol, task: Task, joint: nn.Module) -> Outcome:
    how = Extraction(progress=False, cache=FeatureCache(None))
    subject = subject_of(StubEncoder(), "m", "encoder", how)
    candidate = Candidate(subject, StubEncoder(), joint=joint)  # type: ignore[arg-type]
    return protocol.measure(candidate, task, 0, how)


def test_classes_are_called_as_by_the_formula_of_the_paper() -> None:
    task, joint = task_of(ClassSource), BlockJoint()
    protocol = replace(QUICK, alphas=(1.0,), betas=(5.5,))
    outcome = measured(protocol, task, joint)
    assert outcome.details["alpha"] == [1.0] * 3
    train, test = task.splits["train"], task.splits["test"]
    images = {
        split: joint.embed_images(
            torch.stack([torch.from_numpy(source[i].image)[None] for i in range(120)])
        ).double()
        for split, source in (("train", train), ("test", test))
    }
    # The five sentences of a class give one vector here.
    words = torch.eye(3, dtype=torch.float64)
    order = draw_shots(train.labels, train.patient_ids, 3, 0)
    for draw in range(3):
        rows = [i for each in order[draw] for i in each[:4]]
        values = torch.from_numpy(train.labels[rows]).double()
        affinity = images["test"] @ images["train"][rows].T
        cache = (-5.5 + 5.5 * affinity).exp() @ values
        logits = 100 * images["test"] @ words + 1.0 * cache
        called = outcome.cases.columns[f"predicted 4 {draw}"]
        np.testing.assert_array_equal(called, logits.argmax(1).numpy())


@pytest.mark.parametrize("source", [SpokenSource, ClassSource])
def test_without_weight_shots_change_nothing(source: type[SpokenSource]) -> None:
    task = task_of(source)
    outcome = measured(replace(QUICK, alphas=(0.0,)), task, BlockJoint())
    found = {m.metric: m for m in outcome.measures}
    headline = outcome.measures[0].metric.partition("@")[0]
    zero = measured(ZeroShot(replicates=20), task, BlockJoint()).measures[0]
    assert zero.metric == headline
    for metric in (f"{headline}@0", f"{headline}@1", f"{headline}@4"):
        assert found[metric].value == pytest.approx(zero.value)
    gain = found[f"{headline}_gain@4"]
    assert (gain.value, gain.low, gain.high) == (0, 0, 0)


@pytest.mark.parametrize("source", [SpokenSource, ClassSource])
def test_shots_speak_where_sentences_do_not(source: type[SpokenSource]) -> None:
    outcome = measured(QUICK, task_of(source), Mumbling())
    found = {m.metric: m for m in outcome.measures}
    headline, _, most = outcome.measures[0].metric.partition("@")
    assert most == "4"
    chance = 0.5 if source is SpokenSource else 1 / 3
    assert found[f"{headline}@0"].value == pytest.approx(chance)
    gain = found[f"{headline}_gain@4"]
    assert gain.value > 0.2
    assert gain.low is not None
    assert gain.low > 0
    assert min(outcome.details["alpha"]) > 0
    # The stored predictions give the headline again.
    statistic = statistic_of(outcome.measures[0].metric, outcome.cases, ())
    assert statistic is not None
    once = np.ones((120, 1), np.float32)
    again = float(macro(np.atleast_2d(statistic(once)))[0])
    assert again == pytest.approx(outcome.measures[0].value)


def test_a_label_nobody_shows_is_left_to_its_sentences() -> None:
    task = task_of(SpokenSource)
    task.splits["train"].labels[:, 1] = 0
    outcome = measured(QUICK, task, BlockJoint())
    found = {m.metric: m for m in outcome.measures}
    assert outcome.details["patients_of_small_classes"] == {NAMES[1]: 0}
    assert outcome.undefined == {}
    alone = found["macro_auroc@0"].per_label[NAMES[1]]
    assert found["macro_auroc@4"].per_label[NAMES[1]] == pytest.approx(alone)


def test_labels_of_the_test_split_choose_nothing() -> None:
    task, other = task_of(SpokenSource), task_of(SpokenSource)
    labels = other.splits["test"].labels
    labels[:] = 1 - labels
    chosen = [measured(QUICK, each, Mumbling()).details for each in (task, other)]
    assert chosen[0]["alpha"] == chosen[1]["alpha"]
    assert chosen[0]["beta"] == chosen[1]["beta"]


def test_grids_and_encoders_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ConfigError, match="ascending alphas"):
        TipAdapter(alphas=(1.0, 0.5))
    with pytest.raises(ConfigError, match="betas above 0"):
        TipAdapter(betas=(0.0,))
    module = StubEncoder()
    who = subject_of(module, "m", "encoder", Extraction(cache=FeatureCache(None)))
    reason = QUICK.refusal(Candidate(who, module), task_of(SpokenSource))
    assert "no space shared" in (reason or "")

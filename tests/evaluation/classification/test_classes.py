"""One class out of several: softmax, kNN, tuning, zero-shot, few shots, other data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from tests.evaluation.stubs import BlockSource, StubEncoder
from vlp_zoo.bench.suite import candidates_of, evaluate_task
from vlp_zoo.bench.table import result_tables, verdicts
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError, DataRejectedError
from vlp_zoo.evaluation.alignment.zero_shot import ZeroShot
from vlp_zoo.evaluation.baselines import Prevalence
from vlp_zoo.evaluation.classification.few_shot import FewShot, draw_shots
from vlp_zoo.evaluation.classification.finetune import FineTune
from vlp_zoo.evaluation.classification.knn import NearestNeighbours
from vlp_zoo.evaluation.classification.linear_probe import LinearProbe
from vlp_zoo.evaluation.classification.solvers.softmax import (
    class_weights,
    fit_softmax_path,
)
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate, Outcome, Protocol
from vlp_zoo.evaluation.results import ResultStore
from vlp_zoo.evaluation.statistics.metrics import macro
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import Task, crossed
from vlp_zoo.leaderboard.remade import statistic_of

SHARES = (0.6, 0.3, 0.1)


class GradeSource(BlockSource):
    """Brightness is the grade: 0, 1 or 2, most of them 0."""

    def __init__(self, split: str, n: int, seed: int = 0, noise: int = 60) -> None:
        super().__init__(split, n, seed=seed)
        rng = np.random.default_rng((seed, 9, *split.encode()))
        grade = rng.choice(3, n, p=SHARES)
        grade[:3] = range(3)
        self.label_names = ("none", "mild", "severe")
        self.labels = np.eye(3, dtype=np.float32)[grade]
        light = 40 + 60 * grade[:, None, None] + rng.integers(-noise, noise, (n, 8, 8))
        self.images = np.clip(light, 0, 255).astype(np.uint8)
        self.fingerprint = f"grades {split} {n} {seed} {noise}"


def grade_task(n: int = 120, **options: Any) -> Task:
    sizes = {"train": n, "val": n // 2, "test": n}
    return Task(
        options.pop("name", "grades"),
        {split: GradeSource(split, size, **options) for split, size in sizes.items()},
        single_label=True,
        ordinal=True,
    )


def extraction() -> Extraction:
    return Extraction(progress=False, cache=FeatureCache(None))


def measured(protocol: Protocol, task: Task, module: nn.Module) -> Outcome:
    how = extraction()
    candidate = Candidate(subject_of(module, "m", "encoder", how), module)
    return protocol.measure(candidate, task, 0, how)


def values(outcome: Outcome) -> dict[str, float]:
    return {measure.metric: measure.value for measure in outcome.measures}


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("shape", [(90, 5), (20, 40)])
def test_the_softmax_is_scikit_learns(shape: tuple[int, int], balanced: bool) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=shape)
    truth = (features[:, 0] + rng.normal(size=len(features)) > 0.3).astype(np.int64)
    truth[:4] = 2
    weights = class_weights(truth, 3) if balanced else None
    ours = fit_softmax_path(features, truth, 3, [0.01, 1.0, 100.0], weights=weights)
    for fit in ours:
        theirs = LogisticRegression(
            C=fit.c,
            class_weight="balanced" if balanced else None,
            max_iter=5000,
            tol=1e-9,
        ).fit(features, truth)
        assert fit.converged
        np.testing.assert_allclose(fit.weight.T, theirs.coef_, atol=2e-4)
        np.testing.assert_allclose(
            fit.intercept - fit.intercept.mean(), theirs.intercept_, atol=2e-4
        )


def test_a_class_without_a_case_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="every class"):
        fit_softmax_path(np.eye(3), np.array([0, 0, 2]), 3, [1.0])


@pytest.mark.parametrize(
    "protocol",
    [
        LinearProbe(replicates=30),
        LinearProbe(replicates=30, class_weight="balanced", standardise=False),
        NearestNeighbours(replicates=30),
        FewShot(replicates=30, shots=(1, 8), draws=3),
    ],
    ids=lambda p: f"{p.name}-{getattr(p, 'class_weight', '')}",
)
def test_grades_are_one_decision(protocol: Protocol) -> None:
    outcome = measured(protocol, grade_task(), StubEncoder())
    head = outcome.measures[0]
    assert head.metric.startswith("balanced_accuracy")
    assert 0.6 < head.value <= 1
    assert head.low is not None
    assert head.low <= head.value <= (head.high or 0)
    assert any(name.startswith("quadratic_kappa") for name in values(outcome))
    assert 0.6 < values(outcome)[f"val_{head.metric}"] <= 1
    scores = outcome.cases.scores
    np.testing.assert_allclose(scores.sum(1), 1)
    assert set(head.per_label) == {"none", "mild", "severe"}
    truth = outcome.cases.columns["class"]
    if "@" not in head.metric:
        recall = [(scores.argmax(1)[truth == k] == k).mean() for k in range(3)]
        assert head.value == pytest.approx(np.mean(recall))
        assert values(outcome)["accuracy"] == pytest.approx(
            (scores.argmax(1) == truth).mean()
        )


def test_the_majority_class_is_at_chance_and_accuracy_is_not() -> None:
    outcome = measured(LinearProbe(replicates=0), grade_task(), Prevalence())
    assert values(outcome)["balanced_accuracy"] == pytest.approx(1 / 3)
    assert values(outcome)["quadratic_kappa"] == 0
    assert values(outcome)["macro_auroc"] == 0.5
    assert values(outcome)["accuracy"] > 0.5
    assert outcome.measures[0].details["chance"] == pytest.approx(1 / 3)


def test_a_class_never_seen_is_a_class_never_found() -> None:
    task = grade_task()
    source = task.splits["train"]
    mild = np.eye(3, dtype=np.float32)[1]
    source.labels[source.labels[:, 2] == 1] = mild
    outcome = measured(LinearProbe(replicates=0), task, StubEncoder())
    assert outcome.details["classes_not_learnt"] == ["severe"]
    assert outcome.undefined == {}
    assert outcome.measures[0].per_label["severe"] == 0
    assert values(outcome)["balanced_accuracy"] < 0.7


@pytest.mark.slow
def test_tuning_with_a_softmax() -> None:
    torch.manual_seed(0)
    protocol = FineTune(
        steps=(60, 60, 60),
        batch_size=16,
        evaluations=2,
        learning_rates=(3e-3,),
        augment="none",
        replicates=0,
    )
    outcome = measured(protocol, grade_task(), ImageEncoder("micro").eval())
    assert outcome.measures[0].metric == "balanced_accuracy"
    assert outcome.measures[0].value > 0.5
    np.testing.assert_allclose(outcome.cases.scores.sum(1), 1)
    assert outcome.details["selected_by"] == "balanced_accuracy"


@pytest.mark.slow
def test_encoders_are_compared_by_balanced_accuracy(tmp_path: Any) -> None:
    how = extraction()
    candidates = candidates_of(["stub"], how, load=lambda spec: StubEncoder())
    results = evaluate_task(
        candidates,
        grade_task(),
        ResultStore(tmp_path),
        how,
        protocols=[LinearProbe(), FewShot(shots=(2, 4), draws=2)],
        replicates=30,
    )
    heads = {(r.protocol, r.encoder): r for r in results if not r.baseline}
    gaps = [r for r in results if r.baseline]
    assert {r.metric for r in gaps} == {
        "balanced_accuracy_difference",
        "balanced_accuracy@4_difference",
    }
    probe = gaps[0]
    first = {
        r.encoder: r.value
        for r in results
        if r.metric == "balanced_accuracy" and r.protocol == "vlp-linear"
    }
    assert probe.value == pytest.approx(first["stub"] - first["pixels"])  # type: ignore[operator]
    assert probe.low is not None
    assert len(result_tables(results)) == 2
    assert any("4 patients per class" in line for line in verdicts(results))
    assert {name for name, _ in heads} == {"vlp-linear", "vlp-fewshot"}
    # Read back from disk it is the same decision.
    store = ResultStore(tmp_path)
    row = next(r for r in store.read() if r.metric == "balanced_accuracy")
    cases = store.cases(row)
    assert cases is not None
    assert LinearProbe(replicates=5).difference(cases, cases, {}, 0)[0].value == 0


@pytest.mark.parametrize(
    "protocol",
    [LinearProbe(replicates=0), FewShot(replicates=0, shots=(2, 4), draws=3)],
    ids=["probe", "shots"],
)
def test_the_stored_cases_give_the_numbers_again(protocol: Protocol) -> None:
    outcome = measured(protocol, grade_task(), StubEncoder())
    once = np.ones((120, 1), np.float32)
    again = 0
    for measure in outcome.measures:
        statistic = statistic_of(measure.metric, outcome.cases, ())
        if statistic is not None:
            value = float(macro(np.atleast_2d(statistic(once)))[0])
            assert value == pytest.approx(measure.value), measure.metric
            again += 1
    assert again >= 4


def test_shots_are_patients_and_lie_inside_each_other() -> None:
    source = GradeSource("train", 200)
    drawn = draw_shots(source.labels, source.patient_ids, 3, seed=1)
    for draw in drawn:
        for k, cases in enumerate(draw):
            assert (source.labels[cases, k] == 1).all()
            patients = [source.patient_ids[i] for i in cases]
            assert len(set(patients)) == len(patients)
    assert drawn[0] != drawn[1]
    assert draw_shots(source.labels, source.patient_ids, 3, seed=1) == drawn
    with pytest.raises(ConfigError, match="ascending shots"):
        FewShot(shots=(4, 2))


def test_more_shots_of_a_class_help() -> None:
    protocol = FewShot(shots=(1, 16), draws=6, replicates=0)
    found = values(measured(protocol, grade_task(300, noise=120), StubEncoder()))
    assert found["balanced_accuracy@16"] > found["balanced_accuracy@1"]


def test_what_is_learnt_here_is_tested_there() -> None:
    here, there = grade_task(), grade_task(80, seed=7, name="others")
    task = crossed(here, there)
    assert task.name == "grades->others"
    assert task.splits["train"] is here.splits["train"]
    assert len(task.splits["test"]) == 80
    # Ids such as "test-p1" are in both sets and are different people.
    assert not set(task.splits["test"].patient_ids) & set(
        here.splits["test"].patient_ids
    )
    outcome = measured(LinearProbe(replicates=10), task, StubEncoder())
    assert outcome.measures[0].value > 0.6
    assert outcome.cases.uids == there.splits["test"].uids
    other = replace(there, ordinal=False)
    with pytest.raises(DataRejectedError, match="the labels of grades"):
        crossed(here, other)


@pytest.mark.parametrize("row", [(1, 1, 0), (0, 0, 0), (1, np.nan, 0)])
def test_classes_that_do_not_exclude_each_other_are_refused(
    row: tuple[float, ...],
) -> None:
    source = GradeSource("train", 20)
    source.labels[4] = row
    with pytest.raises(DataRejectedError, match="one class for each"):
        Task(
            "t",
            {
                "train": source,
                "val": GradeSource("val", 20),
                "test": GradeSource("test", 20),
            },
            single_label=True,
        )


class GradeJoint(nn.Module):
    """Grey level as an angle; a sentence has the angle of the word in it."""

    preprocessing: Mapping[str, Any] = {"image_size": 8, "channels": 1}
    sha256 = "2" * 64
    angles = (("severe", 2.0), ("mild", 1.0))

    def embed_images(self, images: Tensor) -> Tensor:
        angle = (images.float().mean((1, 2, 3)) - 40) / 60
        return torch.stack([angle.cos(), angle.sin()], 1)

    def embed_texts(self, texts: list[str]) -> Tensor:
        angle = torch.tensor(
            [next((a for w, a in self.angles if w in text), 0.0) for text in texts]
        )
        return torch.stack([angle.cos(), angle.sin()], 1)


def test_zero_shot_takes_the_nearest_class() -> None:
    how, joint = extraction(), GradeJoint()
    subject = subject_of(StubEncoder(), "m", "encoder", how)
    candidate = Candidate(subject, StubEncoder(), joint=joint)  # type: ignore[arg-type]
    outcome = ZeroShot(replicates=20).measure(candidate, grade_task(), 0, how)
    assert outcome.measures[0].metric == "balanced_accuracy"
    assert outcome.measures[0].value > 0.95
    assert outcome.details["balanced_accuracy_sd"] == 0
    assert len(outcome.details["balanced_accuracy_of_each"]) == 5
    assert "brier" not in values(outcome)

"""Calibration, operating points and groups beside every classification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.classification.test_classes import GradeSource
from tests.evaluation.stubs import BlockSource, StubEncoder
from vlp_zoo.bench.suite import candidates_of, evaluate_task
from vlp_zoo.bench.table import result_tables
from vlp_zoo.evaluation.classification.kinds import MultiLabel
from vlp_zoo.evaluation.classification.linear_probe import LinearProbe
from vlp_zoo.evaluation.classification.metrics.beyond_ranking import point_measures
from vlp_zoo.evaluation.classification.metrics.calibration import (
    fit_class_temperature,
    rescale_classes,
)
from vlp_zoo.evaluation.classification.scoring import scored, slice_measures
from vlp_zoo.evaluation.classification.solvers.softmax import softmax
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate, Measure, Outcome
from vlp_zoo.evaluation.results import Cases, ResultStore
from vlp_zoo.evaluation.statistics.metrics import label_values
from vlp_zoo.evaluation.statistics.subgroups import groups_of
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import Selected, Task


class KnownSource(BlockSource):
    """Blocks of people of two sexes; the images of women are noise."""

    def __init__(self, split: str, n: int) -> None:
        super().__init__(split, n, patients=[f"{split}-p{i}" for i in range(n)])
        female = np.arange(n) % 2 == 0
        rng = np.random.default_rng(3)
        self.images[female] = rng.integers(0, 200, (int(female.sum()), 8, 8))
        self.views = ["PA" if i % 3 else None for i in range(n)]
        self.facts: list[dict[str, Any]] = [
            {"sex": "F" if woman else "male", "age": 30 + 60 * (i % 4 == 1)}
            for i, woman in enumerate(female)
        ]


def known_task(n: int = 240) -> Task:
    sizes = {"train": n, "val": n, "test": n}
    return Task("known", {s: KnownSource(s, m) for s, m in sizes.items()})


def probe(task: Task, replicates: int = 30) -> Outcome:
    how = Extraction(progress=False, cache=FeatureCache(None))
    module = StubEncoder()
    candidate = Candidate(subject_of(module, "m", "encoder", how), module)
    return LinearProbe(replicates=replicates).measure(candidate, task, 0, how)


def test_groups_are_what_the_source_knows() -> None:
    groups = groups_of(KnownSource("test", 8))
    # One view says nothing of another.
    assert set(groups) == {"sex", "age"}
    assert groups["sex"][:2] == ["female", "male"]
    assert groups["age"][:2] == ["18 to 39", "80 and over"]
    assert groups_of(BlockSource("test", 8)) == {}
    source = KnownSource("test", 60)
    for i, facts in enumerate(source.facts):
        facts["device"] = f"serial {i}"
    # What is different for each image describes no group.
    assert "device" not in groups_of(source)
    chosen = Selected(KnownSource("test", 8), [1, 2, 5])
    assert groups_of(chosen)["sex"] == ["male", "female", "male"]


@pytest.mark.slow
def test_the_group_that_is_not_served_is_found(tmp_path: Path) -> None:
    outcome = probe(known_task())
    found = {measure.metric: measure for measure in outcome.measures}
    gap = found["macro_auroc_gap_by_sex"]
    assert gap.value > 0.3
    assert 0 < gap.details["gap_by_chance"] < gap.value
    assert gap.details["p_value"] < 0.05
    assert gap.details["worst"] == "female"
    worst = found["macro_auroc_worst_by_sex"]
    assert worst.low is not None
    assert worst.low <= worst.value <= (worst.high or 0)
    women = np.array([g == "female" for g in outcome.cases.columns["group sex"]])
    values = label_values(
        "macro_auroc", outcome.cases.labels[women], outcome.cases.scores[women]
    )
    assert worst.value == pytest.approx(values.mean())
    # Groups can be told apart from the stored cases alone.
    how = Extraction(progress=False, cache=FeatureCache(None))
    candidates = candidates_of(["stub"], how, load=lambda spec: StubEncoder())
    store = ResultStore(tmp_path)
    results = evaluate_task(candidates, known_task(), store, how, replicates=20)
    cases = store.cases(store.read()[0])
    assert cases is not None
    assert list(cases.columns["group sex"][:2]) == ["female", "male"]
    caption = str(result_tables(results)[0].caption)
    for words in ("gap by sex", "worst: female", "ECE", "at specificity 95 %"):
        assert words in caption


def test_small_groups_and_labels_without_cases_are_named_not_measured() -> None:
    task = known_task(120)
    outcome = probe(task, 0)
    # 30 of 120 are 80 or older.
    reason = outcome.details["not_sliced"]["age"]
    assert reason["reason"] == "fewer than two large groups"
    assert reason["patients"]["80 and over"] == 30
    cases = Cases(
        [str(i) for i in range(200)],
        [str(i) for i in range(200)],
        ("a", "b"),
        np.tile(np.array([[0, 0], [1, 1]], np.float32), (100, 1)),
        np.random.default_rng(0).random((200, 2)),
        {"group view": np.array(["PA", "AP"] * 50 + ["PA", "PA"] * 50, object)},
    )
    cases.labels[100:, 1] = 0

    def measured() -> tuple[list[Measure], dict[str, Any]]:
        return slice_measures(
            cases,
            MultiLabel(),
            {},
            minimum=20,
            least=5,
            replicates=0,
            seed=0,
        )

    # In AP all are positive: no AUROC there.
    measures, notes = measured()
    assert measures == []
    assert "no label" in notes["not_sliced"]["view"]["reason"]
    cases.labels[:40, 0] = np.repeat([0, 0, 1, 1], 10)
    assert measured()[0][0].details["labels"] == ["a"]


def test_a_line_mends_what_is_overconfident() -> None:
    rng = np.random.default_rng(0)
    task = known_task(400)
    honest = {}
    for split in ("val", "test"):
        labels = task.splits[split].labels
        chance = 1 / (1 + np.exp(-rng.normal(0, 2, labels.shape)))
        labels[:] = rng.random(labels.shape) < chance
        logits = np.log(chance / (1 - chance))
        honest[split] = 1 / (1 + np.exp(-4 * logits))
    outcome = scored(
        honest["test"],
        task,
        LinearProbe(replicates=0),
        0,
        n_train=1,
        undefined={},
        details={},
        validation=honest["val"],
    )
    found = {measure.metric: measure for measure in outcome.measures}
    for metric in ("macro_ece", "macro_ece_width"):
        assert found[metric].value > 2 * found[f"{metric}_platt"].value
    assert found["macro_brier"].value > found["macro_brier_platt"].value
    lines = np.array(found["macro_ece_platt"].details["platt"])
    np.testing.assert_allclose(lines[:, 0], 1 / 4, rtol=0.3)
    np.testing.assert_allclose(lines[:, 1], 0, atol=0.4)


def test_a_softmax_has_one_temperature() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, (4000, 3))
    truth = np.array([rng.choice(3, p=row) for row in softmax(logits)])
    sharp = softmax(3 * logits)
    found = fit_class_temperature(truth, sharp)
    assert found == pytest.approx(3, rel=0.1)
    np.testing.assert_allclose(rescale_classes(sharp, 3.0), softmax(logits), atol=1e-6)
    assert np.isnan(fit_class_temperature(np.full(3, -1), sharp[:3]))
    sizes = {"train": 60, "val": 60, "test": 60}
    task = Task(
        "grades",
        {s: GradeSource(s, n) for s, n in sizes.items()},
        single_label=True,
    )
    metrics = [measure.metric for measure in probe(task, 0).measures]
    assert {"brier_scaled", "ece_scaled", "ece", "ece_width"} <= set(metrics)
    assert "quadratic_kappa" not in metrics
    assert metrics[0] == "balanced_accuracy"


def test_thresholds_come_from_validation() -> None:
    rng = np.random.default_rng(2)
    labels = (rng.random((600, 2)) < 0.3).astype(np.float32)
    scores = labels + rng.normal(0, 0.8, labels.shape)
    names = ("a", "b")
    cases = Cases(
        [str(i) for i in range(300)],
        [str(i) for i in range(300)],
        names,
        labels[300:],
        scores[300:],
    )
    found = {
        m.metric: m
        for m in point_measures(
            cases, [0, 1], labels[:300], scores[:300], replicates=30, seed=0
        )
    }
    sensitivity = found["sensitivity@specificity95"]
    cut = sensitivity.details["thresholds"]["a"]
    negatives = scores[:300, 0][labels[:300, 0] == 0]
    assert (negatives < cut).mean() >= 0.95
    positives = cases.scores[cases.labels[:, 0] == 1, 0]
    assert sensitivity.per_label["a"] == pytest.approx((positives >= cut).mean())
    assert sensitivity.details["specificity_reached"] == pytest.approx(0.95, abs=0.06)
    assert sensitivity.low is not None
    # Other test labels move the value and not the threshold.
    cases.labels[:] = 1 - cases.labels
    moved = point_measures(
        cases, [0, 1], labels[:300], scores[:300], replicates=0, seed=0
    )
    assert moved[0].details["thresholds"] == sensitivity.details["thresholds"]
    assert moved[0].value < sensitivity.value
    # One class only in validation chooses nothing.
    blind = point_measures(
        cases, [0, 1], 0 * labels[:300], scores[:300], replicates=0, seed=0
    )
    assert all(np.isnan(m.value) for m in blind)
    assert blind[0].details["labels_defined"] == 0

"""Few shots of labels that may occur together: who is drawn, what counts, what is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from tests.evaluation.stubs import BlockSource, StubEncoder, block_task
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.classification.few_shot import FewShot
from vlp_zoo.evaluation.classification.linear_probe import standardisation
from vlp_zoo.evaluation.classification.shots import draw_shots
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate, Outcome
from vlp_zoo.evaluation.statistics.metrics import macro
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.leaderboard.remade import statistic_of

QUICK = FewShot(shots=(2, 8), draws=3, replicates=20)


def measured(protocol: FewShot, task: Task) -> Outcome:
    how = Extraction(progress=False, cache=FeatureCache(None))
    module = StubEncoder()
    candidate = Candidate(subject_of(module, "m", "encoder", how), module)
    assert protocol.refusal(candidate, task) is None
    return protocol.measure(candidate, task, 0, how)


def shown(task: Task, shots: int, draw: int, draws: int = 3) -> list[int]:
    """The cases of a draw, as the head of `shots` says who is drawn."""
    train = task.splits["train"]
    healthy = (train.labels == 0).all(1)
    groups = np.column_stack([train.labels == 1, healthy])
    drawn = draw_shots(groups, train.patient_ids, draws, 0)[draw]
    for group, cases in zip(groups.T, drawn, strict=True):
        assert group[cases].all()
        assert len({train.patient_ids[i] for i in cases}) == len(cases)
    return sorted({i for each in drawn for i in each[:shots]})


def test_the_numbers_are_those_of_scikit_learn_on_the_cases_that_were_drawn() -> None:
    task = block_task(200)
    outcome = measured(QUICK, task)
    head = outcome.measures[0]
    assert head.metric == "macro_auroc@8"
    how = Extraction(progress=False, cache=FeatureCache(None))
    train, test = (
        how.get(StubEncoder(), task.splits[s]).astype(float) for s in ("train", "test")
    )
    mean, scale = standardisation(train)
    truth = task.splits["test"].labels
    for draw, found in enumerate(head.details["of_each_draw"]):
        rows = shown(task, 8, draw)
        labels = task.splits["train"].labels[rows]
        aurocs = []
        for k in range(3):
            fit = LogisticRegression(C=QUICK.c, tol=1e-8, max_iter=5000)
            fit.fit((train[rows] - mean) * scale, labels[:, k])
            scores = fit.decision_function((test - mean) * scale)
            aurocs.append(roc_auc_score(truth[:, k], scores))
        assert found == pytest.approx(np.mean(aurocs), abs=2e-4)
    assert head.value == pytest.approx(np.mean(head.details["of_each_draw"]))
    assert head.low is not None
    assert head.low <= head.value <= (head.high or 0)
    # Of labels that meet a case shows several: there are k positives or more.
    assert min(outcome.details["positives_shown"].values()) >= 8
    assert outcome.n_train == len(shown(task, 8, 0))


def test_the_stored_cases_give_number_and_difference_again() -> None:
    task = block_task(60)
    outcome = measured(QUICK, task)
    head = outcome.measures[0]
    once = np.ones((60, 1), np.float32)
    for left_out in ((), ("finding 1",)):
        statistic = statistic_of(head.metric, outcome.cases, left_out)
        assert statistic is not None
        value = float(macro(np.atleast_2d(statistic(once)))[0])
        each = [v for name, v in head.per_label.items() if name not in left_out]
        assert value == pytest.approx(np.mean([v for v in each if v is not None]))
    other = measured(replace(QUICK, c=1e-3), task)
    gap, by_label = QUICK.difference(outcome.cases, other.cases, {"finding 0": "x"}, 0)
    expected = [
        (one or 0) - (two or 0)
        for one, two in zip(
            head.per_label.values(), other.measures[0].per_label.values(), strict=True
        )
    ]
    assert gap.value == pytest.approx(np.mean(expected[1:]))
    assert by_label["finding 0"] is None
    assert by_label["finding 2"] == pytest.approx(expected[2])
    assert QUICK.difference(outcome.cases, outcome.cases, {}, 0)[0].high == 0


def test_what_lacks_patients_is_counted_and_what_has_none_is_left_out() -> None:
    task = block_task(80)
    train = task.splits["train"]
    there = np.nonzero(train.labels[:, 1] == 1)[0]
    train.labels[there[3:], 1] = 0
    train.labels[:, 2] = 0
    outcome = measured(QUICK, task)
    few = outcome.details["patients_of_small_classes"]
    assert few["finding 1"] == len({train.patient_ids[i] for i in there[:3]})
    assert few["finding 2"] == 0
    assert list(outcome.undefined) == ["finding 2"]
    assert outcome.details["labels_used"] == 2
    assert outcome.measures[0].per_label["finding 2"] is None
    train.labels[:] = 0
    with pytest.raises(ConfigError, match="with and without a label"):
        measured(QUICK, task)


def test_a_patient_of_another_split_is_no_shot() -> None:
    shared = [f"test-p{i // 2}" if i < 40 else f"train-p{i // 2}" for i in range(60)]
    splits: dict[str, Any] = {s: BlockSource(s, 60) for s in ("val", "test")}
    train = BlockSource("train", 60, patients=shared)
    task = Task("old", {**splits, "train": train}, min_positives=1, legacy="published")
    outcome = measured(QUICK, task)
    counted = outcome.details["patients_of_small_classes"]
    for k, name in enumerate(task.label_names):
        own = np.nonzero(train.labels[40:, k] == 1)[0] + 40
        patients = len({shared[i] for i in own})
        assert counted.get(name, patients) == patients
    assert outcome.n_train <= 20
    # Such numbers are not those of a split without them.
    who = subject_of(StubEncoder(), "m", "e", Extraction(cache=FeatureCache(None)))
    assert "shared_patients" in QUICK.settings(who, task)
    assert "shared_patients" not in QUICK.settings(who, block_task(8))


def test_more_shots_help() -> None:
    found = {m.metric: m.value for m in measured(QUICK, block_task(200)).measures}
    assert found["macro_auroc@8"] > found["macro_auroc@2"] > 0.5
    assert found["val_macro_auroc@8"] > 0.5

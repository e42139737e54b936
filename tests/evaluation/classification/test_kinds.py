"""The two kinds of labels say what protocols do, and no protocol asks which one it has."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import vlp_zoo.evaluation
from tests.evaluation.classification.test_classes import grade_task
from tests.evaluation.stubs import block_task
from vlp_zoo.evaluation.classification.kinds import (
    Exclusive,
    Kind,
    MultiLabel,
    kind_of,
    stored_kind,
)
from vlp_zoo.evaluation.results import Cases

TRAINED = np.array([True, False, True])


def cases_of(kind: Kind) -> Cases:
    """Six cases of three classes; the scores are right but for the last one."""
    labels = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]
    scores = np.eye(3)[[0, 1, 2, 0, 1, 0]] * 0.8 + 0.1
    names = [str(i) for i in range(6)]
    columns = kind.columns(labels, scores)
    return Cases(names, names, ("a", "b", "c"), labels, scores, columns)


def test_a_task_and_its_stored_cases_have_one_kind() -> None:
    assert kind_of(block_task(8)) == MultiLabel()
    assert kind_of(grade_task(20)) == Exclusive(ordinal=True)
    assert kind_of(replace(grade_task(20), ordinal=False)) == Exclusive()
    for kind in (MultiLabel(), Exclusive()):
        assert stored_kind(cases_of(kind)) == kind


def test_the_headline_stands_first_and_is_what_settings_are_chosen_by() -> None:
    for kind in (MultiLabel(), Exclusive(), Exclusive(ordinal=True)):
        cases = cases_of(kind)
        assert kind.metrics(True)[0] == kind.metrics(False)[0] == kind.headline
        assert set(kind.metrics(True)) - set(kind.metrics(False)) == {*kind.calibrated}
        made = kind.measure(kind.headline, cases, (), replicates=0, seed=0)
        assert made.value == kind.value(cases.labels, cases.scores)
        assert made.value == kind.stored(cases, [0, 1, 2]).value
        assert (made.low, made.high) == (None, None)
    assert "quadratic_kappa" in Exclusive(ordinal=True).metrics(False)
    # One of six is called something else: recalls of 1, 1 and a half.
    kind = Exclusive()
    assert kind.stored(cases_of(kind), [0, 2]).values.tolist() == [1.0, 0.5]


def test_what_could_not_be_learnt_is_left_out_or_counts_as_wrong() -> None:
    names, logits = ("a", "b", "c"), np.array([[0.0, 0.0], [50.0, -50.0]])
    alone = MultiLabel().probabilities(logits, TRAINED)
    assert np.isnan(alone[:, 1]).all()
    np.testing.assert_allclose(alone[:, [0, 2]], [[0.5, 0.5], [1.0, 0.0]], atol=1e-12)
    shared = Exclusive().probabilities(logits, TRAINED)
    np.testing.assert_allclose(shared, [[0.5, 0.0, 0.5], [1.0, 0.0, 0.0]], atol=1e-12)
    assert MultiLabel().unlearnt(names, TRAINED, 7) == (
        {"b": "one class only in 7 training cases"},
        {},
    )
    assert Exclusive().unlearnt(names, TRAINED, 7) == (
        {},
        {"classes_not_learnt": ["b"]},
    )
    assert MultiLabel().counted(names, {"b"}) == [0, 2]
    assert Exclusive().counted(names, {"b"}) == [0, 1, 2]


def test_what_is_not_known_adds_nothing_to_the_loss() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.25], [7.0, 7.0]])
    blank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [float("nan"), float("nan")]])
    for kind in (MultiLabel(), Exclusive()):
        whole = kind.loss(logits[:2], blank[:2])
        assert kind.loss(logits, blank) == pytest.approx(float(whole))
    odds = -torch.log_softmax(logits[:2], 1)[[0, 1], [0, 1]].mean()
    assert Exclusive().loss(logits, blank) == pytest.approx(float(odds))


def test_a_class_is_judged_by_its_own_cases_and_a_label_by_both() -> None:
    labels = np.array([1] * 5 + [0] * 2, np.float32)
    assert Exclusive().judged(labels, 5)
    assert not MultiLabel().judged(labels, 5)
    assert MultiLabel().judged(labels, 2)


def test_only_labels_that_stand_alone_are_cut_at_thresholds() -> None:
    for kind, count in ((MultiLabel(), 4), (Exclusive(), 0)):
        cases = cases_of(kind)
        known = cases.labels, cases.scores
        found = kind.points(cases, *known, ("b",), replicates=0, seed=0)
        assert len(found) == count
        assert all(measure.per_label["b"] is None for measure in found)


def test_nothing_else_asks_whether_classes_exclude_each_other() -> None:
    """Beside the task that says so, its stored settings, and the function that tells."""
    root = Path(vlp_zoo.evaluation.__file__).parent
    asked = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"single_label", path.read_text(encoding="utf-8"))
    }
    assert asked == {"classification/kinds.py", "protocol.py", "tasks.py"}

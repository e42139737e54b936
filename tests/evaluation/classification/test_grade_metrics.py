from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    roc_auc_score,
)

from vlp_zoo.evaluation.classification.metrics.grade_metrics import (
    GRADE_METRICS,
    confusion,
    grade_values,
    one_vs_rest_auroc,
)
from vlp_zoo.evaluation.statistics.intervals import Statistic, interval
from vlp_zoo.evaluation.statistics.metrics import macro


def _grades(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(5, n, p=[0.5, 0.1, 0.2, 0.1, 0.1])
    return truth, np.clip(truth + rng.integers(-1, 2, n), 0, 4)


def test_metrics_match_scikit_learn_with_and_without_weights() -> None:
    truth, predicted = _grades(0)
    counts = np.random.default_rng(1).integers(0, 4, 60).astype(np.float32)
    weights = np.stack([np.ones(60, np.float32), counts], 1)
    for r, w in enumerate(weights.T):
        expected = {
            "quadratic_kappa": cohen_kappa_score(
                truth, predicted, weights="quadratic", sample_weight=w
            ),
            "balanced_accuracy": balanced_accuracy_score(
                truth, predicted, sample_weight=w
            ),
            "accuracy": float(np.average(truth == predicted, weights=w)),
            "macro_f1": f1_score(truth, predicted, average="macro", sample_weight=w),
        }
        assert set(expected) == set(GRADE_METRICS)
        for metric, value in expected.items():
            found = macro(grade_values(metric, truth, predicted, 5, weights))[r]
            assert found == pytest.approx(value), metric


def test_kappa_of_known_tables() -> None:
    once = np.ones((4, 1), np.float32)
    truth = np.array([0, 0, 2, 2])

    def kappa(*predicted: int) -> float:
        answer = np.array(predicted)
        return float(grade_values("quadratic_kappa", truth, answer, 3, once)[0, 0])

    assert kappa(0, 0, 2, 2) == 1
    assert kappa(2, 2, 0, 0) == -1
    assert kappa(1, 1, 1, 1) == 0
    # Seen 1 + 1 of expected (4 * 4 * 2 pairs at distance 1) / 4 = 4... by hand:
    # truth (2, 0, 2), called (1, 2, 1): expected cost 6, seen 2.
    assert kappa(0, 1, 1, 2) == pytest.approx(1 - 2 / 6)
    one = np.zeros(4, np.int64)
    assert np.isnan(grade_values("quadratic_kappa", one, one, 3, once)).all()


def test_always_the_commonest_grade() -> None:
    truth = np.repeat([0, 1, 2, 3, 4], [49, 9, 20, 12, 10])
    answer = np.zeros(100, np.int64)
    once = np.ones((100, 1), np.float32)
    values = {
        metric: macro(grade_values(metric, truth, answer, 5, once))[0]
        for metric in GRADE_METRICS
    }
    assert values["accuracy"] == pytest.approx(0.49)
    assert values["balanced_accuracy"] == pytest.approx(0.2)
    assert values["quadratic_kappa"] == pytest.approx(0)


def test_one_vs_rest_auroc_matches_scikit_learn() -> None:
    truth, _ = _grades(3)
    scores = np.random.default_rng(4).random((60, 5)) + 0.3 * np.eye(5)[truth]
    scores /= scores.sum(1, keepdims=True)
    once = np.ones((60, 1), np.float32)
    found = macro(one_vs_rest_auroc(truth, scores, once))[0]
    assert found == pytest.approx(roc_auc_score(truth, scores, multi_class="ovr"))
    only = np.where(truth == 4, 0, truth)
    assert np.isnan(one_vs_rest_auroc(only, scores, once)[4, 0])


def test_grades_missing_from_a_replicate_are_counted() -> None:
    truth = np.array([0] * 20 + [1] * 20 + [2])
    found = interval(
        Statistic(lambda w: grade_values("balanced_accuracy", truth, truth, 3, w), 41),
        [str(i) for i in range(41)],
        replicates=300,
    )
    assert found.value == 1
    # The only case of grade 2 is missed with probability (40/41)^41 = 0.36.
    assert 60 < found.undefined < 160


def test_grades_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="grades"):
        confusion(np.array([0, 5]), np.array([0, 1]), 5, np.ones((2, 1), np.float32))

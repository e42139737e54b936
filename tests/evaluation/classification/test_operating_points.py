from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef, recall_score

from vlp_zoo.evaluation.classification.metrics.operating_points import (
    POINT_METRICS,
    choose_thresholds,
    point_values,
)


def _cases(seed: int, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 2)) < 0.4).astype(np.float32)
    scores = np.round(rng.random((n, 2)) + 0.4 * labels, 2)
    labels[rng.random((n, 2)) < 0.1] = np.nan
    return labels, scores


def test_metrics_match_scikit_learn() -> None:
    labels, scores = _cases(0)
    thresholds = np.array([0.5, 0.8])
    counts = np.random.default_rng(1).integers(0, 3, 80).astype(np.float32)
    weights = np.stack([np.ones(80, np.float32), counts], 1)
    for k in range(2):
        known = ~np.isnan(labels[:, k])
        truth, called = labels[known, k] > 0.5, scores[known, k] >= thresholds[k]
        for r, w in enumerate(weights[known].T):
            expected = {
                "sensitivity": recall_score(truth, called, sample_weight=w),
                "specificity": recall_score(~truth, ~called, sample_weight=w),
                "f1": f1_score(truth, called, sample_weight=w),
                "mcc": matthews_corrcoef(truth, called, sample_weight=w),
                "accuracy": np.average(truth == called, weights=w),
            }
            assert set(expected) == set(POINT_METRICS)
            for metric, value in expected.items():
                found = point_values(metric, labels, scores, thresholds, weights)
                assert found[k, r] == pytest.approx(value), metric


@pytest.mark.parametrize(
    ("rule", "kept", "other"),
    [
        ("specificity_95", "specificity", "sensitivity"),
        ("sensitivity_95", "sensitivity", "specificity"),
    ],
)
def test_thresholds_keep_their_promise_at_the_least_cost(
    rule: str, kept: str, other: str
) -> None:
    labels, scores = _cases(2)
    once = np.ones((80, 1), np.float32)
    chosen = choose_thresholds(rule, labels, scores)
    promised = point_values(kept, labels, scores, chosen, once)
    assert (promised >= 0.95).all()
    cost = point_values(other, labels, scores, chosen, once)
    for candidate in [*np.unique(scores), np.inf]:
        at = np.full(2, candidate)
        keeps = point_values(kept, labels, scores, at, once) >= 0.95
        better = point_values(other, labels, scores, at, once) > cost
        assert not (keeps & better).any()


@pytest.mark.parametrize("metric", ["f1", "mcc"])
def test_the_best_threshold_is_the_best(metric: str) -> None:
    labels, scores = _cases(3)
    once = np.ones((80, 1), np.float32)
    chosen = choose_thresholds(f"best_{metric}", labels, scores)
    best = point_values(metric, labels, scores, chosen, once)
    for candidate in np.unique(scores):
        at = np.full(2, candidate)
        assert (point_values(metric, labels, scores, at, once) <= best).all()


def test_one_class_gives_no_threshold_and_no_value() -> None:
    labels = np.array([[1, 1], [1, 0], [1, np.nan]], np.float32)
    scores = np.array([[0.1, 0.9], [0.5, 0.2], [0.9, 0.4]])
    chosen = choose_thresholds("best_mcc", labels, scores)
    np.testing.assert_array_equal(chosen, [np.nan, 0.9])
    once = np.ones((3, 1), np.float32)
    assert np.isnan(point_values("f1", labels, scores, chosen, once)[0, 0])
    fixed = np.array([0.5, 0.5])
    assert np.isnan(point_values("specificity", labels, scores, fixed, once)[0, 0])
    assert np.isnan(point_values("mcc", labels, scores, fixed, once)[0, 0])


def test_calling_nobody_positive() -> None:
    labels = np.array([[1], [0], [0]], np.float32)
    scores = np.array([[0.1], [0.2], [0.3]])
    once = np.ones((3, 1), np.float32)
    nobody = np.array([np.inf])
    values = {
        metric: point_values(metric, labels, scores, nobody, once)[0, 0]
        for metric in POINT_METRICS
    }
    assert values == {
        "sensitivity": 0,
        "specificity": 1,
        "f1": 0,
        "mcc": 0,
        "accuracy": pytest.approx(2 / 3),
    }

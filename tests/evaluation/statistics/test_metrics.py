from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from vlp_zoo.evaluation.statistics.metrics import (
    METRICS,
    average_precision,
    brier,
    calibration_error,
    label_values,
    macro,
    roc_auc,
)


@pytest.mark.parametrize("levels", [4, 10_000], ids=["many ties", "few ties"])
def test_ranking_metrics_match_scikit_learn(levels: int) -> None:
    rng = np.random.default_rng(levels)
    for _ in range(20):
        n = int(rng.integers(5, 60))
        positive = rng.random(n) < 0.3
        positive[:2] = [True, False]
        scores = rng.integers(0, levels, n) / levels + 0.2 * positive
        counts = rng.integers(0, 4, n).astype(np.float32)
        counts[:2] = 1
        weights = np.stack([np.ones(n, np.float32), counts], 1)
        expected = [roc_auc_score(positive, scores, sample_weight=w) for w in weights.T]
        np.testing.assert_allclose(roc_auc(positive, scores, weights), expected)
        expected = [
            average_precision_score(positive, scores, sample_weight=w)
            for w in weights.T
        ]
        np.testing.assert_allclose(
            average_precision(positive, scores, weights), expected
        )


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_a_weight_of_two_is_a_case_repeated(metric: str) -> None:
    rng = np.random.default_rng(3)
    positive, scores = rng.random(30) < 0.5, rng.random(30)
    counts = rng.integers(0, 3, 30)
    weighted = METRICS[metric](positive, scores, counts[:, None].astype(np.float32))
    repeated = METRICS[metric](
        np.repeat(positive, counts),
        np.repeat(scores, counts),
        np.ones((int(counts.sum()), 1), np.float32),
    )
    np.testing.assert_allclose(weighted, repeated)


def test_one_class_is_undefined_and_left_out_of_the_mean() -> None:
    labels = np.array([[1, 0, np.nan], [0, 0, 1], [1, 0, np.nan]], np.float32)
    scores = np.array([[0.9, 0.1, 0.4], [0.2, 0.3, 0.3], [0.8, 0.5, 0.2]])
    for metric in ("macro_auroc", "macro_auprc"):
        values = label_values(metric, labels, scores)
        assert values[0] == 1
        assert np.isnan(values[1:]).all()
        assert macro(values) == 1
        assert np.isnan(macro(values[1:])).all()


def test_unknown_labels_do_not_count() -> None:
    labels = np.array([[1], [0], [np.nan], [np.nan]], np.float32)
    scores = np.array([[0.8], [0.4], [0.0], [1.0]])
    assert label_values("macro_auroc", labels, scores)[0, 0] == 1
    assert label_values("macro_brier", labels, scores)[0, 0] == pytest.approx(0.1)


def test_uncertain_labels_under_three_policies() -> None:
    # Positives score .9 and .6, negatives .5 and .2, the uncertain one .7.
    scores = np.array([[0.9], [0.6], [0.5], [0.2], [0.7]])
    expected = {np.nan: 1.0, 0.0: 5 / 6, 1.0: 1.0}
    for uncertain, value in expected.items():
        labels = np.array([[1], [1], [0], [0], [uncertain]], np.float32)
        got = label_values("macro_auroc", labels, scores)[0, 0]
        assert got == pytest.approx(value), uncertain


def test_calibration_error_of_known_cases() -> None:
    perfect = np.repeat([True, False], 15)
    assert calibration_error(perfect, perfect.astype(np.float64)) == 0
    assert calibration_error(perfect, 1.0 - perfect) == 1
    assert calibration_error(np.array([True, False]), np.array([0.8, 0.8])) == (
        pytest.approx(0.3)
    )
    base_rate = calibration_error(np.arange(150) < 15, np.full(150, 0.1))
    assert base_rate == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(calibration_error(np.zeros(0, bool), np.zeros(0)))


def test_brier_of_the_base_rate_is_its_variance() -> None:
    positive = np.arange(100) < 20
    weights = np.ones((100, 1), np.float32)
    assert brier(positive, np.full(100, 0.2), weights)[0] == pytest.approx(0.16)

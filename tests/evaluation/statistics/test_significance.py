from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from vlp_zoo.evaluation.statistics.metrics import roc_auc
from vlp_zoo.evaluation.statistics.significance import (
    delong_paired,
    holm,
    mcnemar,
)


def _literal_delong(
    positive: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The placements of DeLong et al. by comparing every pair."""
    pairs = [
        (row[positive][:, None] > row[~positive])
        + 0.5 * (row[positive][:, None] == row[~positive])
        for row in scores
    ]
    down, across = ([p.mean(axis) for p in pairs] for axis in (1, 0))
    m, n = int(positive.sum()), int((~positive).sum())
    covariance = np.cov(np.stack(down)) / m + np.cov(np.stack(across)) / n
    return np.array([p.mean() for p in pairs]), covariance


@pytest.mark.parametrize("levels", [5, 1000], ids=["many ties", "few ties"])
def test_delong_equals_all_pairs(levels: int) -> None:
    rng = np.random.default_rng(levels)
    positive = rng.random(80) < 0.4
    shared = rng.normal(size=80)
    scores = np.stack(
        [positive + shared, 0.5 * positive + shared + rng.normal(size=80)]
    )
    scores = np.round(scores * levels / 5)
    aurocs, covariance = _literal_delong(positive, scores)
    once = np.ones((80, 1), np.float32)
    assert roc_auc(positive, scores[0], once)[0] == pytest.approx(aurocs[0])
    pair = delong_paired(positive, scores[0], scores[1])
    assert pair.value == pytest.approx(aurocs[0] - aurocs[1])
    contrast = np.array([1, -1])
    assert pair.standard_error == pytest.approx(
        np.sqrt(contrast @ covariance @ contrast)
    )
    assert delong_paired(positive, scores[1], scores[0]).p_value == pair.p_value


def test_delong_holds_its_level_when_nothing_differs() -> None:
    rng = np.random.default_rng(0)
    below = 0
    for _ in range(400):
        positive = rng.random(120) < 0.5
        signal = positive + rng.normal(size=120)
        first, second = signal + rng.normal(size=(2, 120))
        below += delong_paired(positive, first, second).p_value < 0.05
    # Three standard errors of 5 % in 400 are 3.3 points.
    assert 0.017 < below / 400 < 0.083


def test_delong_without_enough_cases_is_undefined() -> None:
    scores = np.array([0.1, 0.4, 0.9])
    assert np.isnan(delong_paired(np.zeros(3, bool), scores, scores).value)
    lone = delong_paired(np.array([False, False, True]), scores, -scores)
    assert lone.value == 1
    assert np.isnan([lone.standard_error, lone.p_value]).all()
    same = delong_paired(np.array([False, True] * 3), *np.tile(np.arange(6.0), (2, 1)))
    assert (same.value, same.standard_error) == (0, 0)
    assert np.isnan(same.p_value)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 5), (9, 2), (2, 9), (700, 9)])
def test_mcnemar_is_an_exact_binomial_test(gained: int, lost: int) -> None:
    first = np.array([True] * gained + [False] * lost + [True, False])
    second = np.array([False] * gained + [True] * lost + [True, False])
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(first, second) == pytest.approx(expected)


def test_holm_by_hand() -> None:
    found = holm(np.array([0.04, 0.01, np.nan, 0.02, 0.5]))
    # 4 x .01, 3 x .02, 2 x .04 and .5, never falling.
    np.testing.assert_allclose(found, [0.08, 0.04, np.nan, 0.06, 0.5])
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1, 1])
    # The second is no better than the first, whatever its factor.
    np.testing.assert_allclose(holm(np.array([0.03, 0.031])), [0.06, 0.06])

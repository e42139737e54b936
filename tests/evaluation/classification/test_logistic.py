from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression

from vlp_zoo.evaluation.classification.solvers.logistic import fit_path


def _problem(
    n: int, d: int, labels: int = 4
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    rng = np.random.default_rng((n, d))
    # Strongly correlated columns of very different size, as encoders make them.
    mixing = np.diag(10.0 ** -np.linspace(0, 2, d)) @ rng.normal(size=(d, d))
    features = rng.normal(size=(n, d)) @ mixing
    features = (features - features.mean(0)) / features.std(0)
    signal = features @ rng.normal(size=(d, labels)) / d**0.5
    offsets = np.linspace(0, 2, labels)
    truth = signal + rng.normal(size=(n, labels)) > offsets
    known = truth.astype(np.float32)
    known[rng.random(known.shape) < 0.2] = np.nan
    return features, known


@pytest.mark.parametrize(("n", "d"), [(300, 20), (60, 90)])
def test_logits_match_scikit_learn_on_known_cases(n: int, d: int) -> None:
    features, labels = _problem(n, d)
    fits = fit_path(features, labels, [1e-4, 1e-2, 1, 100])
    for fit in fits:
        assert fit.converged
        logits = fit.logits(features)
        for k in range(labels.shape[1]):
            known = ~np.isnan(labels[:, k])
            reference = LogisticRegression(
                C=fit.c, tol=1e-10, max_iter=10_000, solver="newton-cholesky"
            ).fit(features[known], labels[known, k])
            expected = reference.decision_function(features)
            np.testing.assert_allclose(logits[:, k], expected, atol=1e-3)


def test_the_warm_start_leads_to_the_same_place() -> None:
    features, labels = _problem(200, 30)
    path = fit_path(features, labels, [1e-3, 1e-1, 10])
    cold = fit_path(features, labels, [10])[0]
    np.testing.assert_allclose(path[-1].weight, cold.weight, atol=1e-5)


def test_labels_do_not_influence_each_other() -> None:
    features, labels = _problem(150, 10)
    together = fit_path(features, labels, [1.0])[0]
    for k in range(labels.shape[1]):
        alone = fit_path(features, labels[:, [k]], [1.0])[0]
        np.testing.assert_allclose(together.weight[:, [k]], alone.weight, atol=1e-6)


def test_constant_features_leave_the_prevalence() -> None:
    labels = (np.arange(50) < 10).astype(np.float32)[:, None]
    fit = fit_path(np.zeros((50, 3)), labels, [1e-4, 1e4])[-1]
    np.testing.assert_allclose(1 / (1 + np.exp(-fit.intercept)), 0.2)
    assert not fit.weight.any()


def test_separable_labels_stay_finite_and_the_limit_is_reported() -> None:
    features = np.linspace(-1, 1, 40)[:, None]
    labels = (features > 0).astype(np.float32)
    fits = fit_path(features, labels, [1e-4, 1.0, 1e4])
    assert all(np.isfinite(fit.weight).all() for fit in fits)
    assert fits[-1].weight[0, 0] > fits[0].weight[0, 0] > 0
    assert not fit_path(*_problem(300, 20), [1e4], max_iterations=1)[0].converged


def test_a_label_with_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        fit_path(np.ones((4, 1)), np.ones((4, 1), np.float32), [1.0])

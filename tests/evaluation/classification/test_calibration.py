from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from vlp_zoo.evaluation.classification.calibration import (
    fit_temperature,
    reliability,
    rescale,
)
from vlp_zoo.evaluation.statistics.metrics import calibration_error


def _overconfident(seed: int, n: int, by: float) -> tuple[np.ndarray, np.ndarray]:
    """Truth drawn from probabilities, which are then sharpened."""
    rng = np.random.default_rng(seed)
    honest = rng.beta(1.5, 1.5, n)
    return rng.random(n) < honest, rescale(honest, 1 / by)


@pytest.mark.parametrize("by", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_was_done(by: float) -> None:
    positive, probabilities = _overconfident(0, 20_000, by)
    assert fit_temperature(positive, probabilities) == pytest.approx(by, rel=0.05)


def test_the_temperature_minimises_the_log_loss() -> None:
    positive, probabilities = _overconfident(1, 200, 2.0)

    def loss(log_temperature: float) -> float:
        scaled = rescale(probabilities, np.exp(log_temperature))
        return -float(np.log(np.where(positive, scaled, 1 - scaled)).sum())

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded")
    found = fit_temperature(positive, probabilities)
    assert np.log(found) == pytest.approx(best.x, abs=1e-4)


def test_separable_data_stay_within_the_bounds() -> None:
    sharp = fit_temperature(np.array([True, False]), np.array([0.9, 0.1]))
    assert sharp == pytest.approx(np.exp(-7))
    inverted = fit_temperature(np.array([False, True]), np.array([0.9, 0.1]))
    assert inverted == pytest.approx(np.exp(7))
    assert np.isnan(fit_temperature(np.ones(3, bool), np.full(3, 0.5)))


@pytest.mark.parametrize("levels", [6, 1000])
def test_reliability_points_give_the_calibration_error(levels: int) -> None:
    rng = np.random.default_rng(levels)
    probabilities = rng.integers(0, levels, 300) / levels
    positive = rng.random(300) < probabilities**2
    points = reliability(positive, probabilities)
    assert points.cases.sum() == 300
    assert len(points.cases) == (6 if levels == 6 else 15)
    gaps = np.abs(points.probability - points.rate)
    assert np.average(gaps, weights=points.cases) == pytest.approx(
        calibration_error(positive, probabilities)
    )

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from vlp_zoo.evaluation.classification.metrics.calibration import (
    fit_platt,
    platt,
    reliability,
)
from vlp_zoo.evaluation.statistics.metrics import calibration_error


def _distorted(
    seed: int, n: int, slope: float, offset: float
) -> tuple[np.ndarray, np.ndarray]:
    """Truth drawn from probabilities, whose logits are then moved on a line."""
    rng = np.random.default_rng(seed)
    honest = rng.beta(1.5, 1.5, n)
    return rng.random(n) < honest, platt(honest, 1 / slope, -offset / slope)


@pytest.mark.parametrize(("slope", "offset"), [(0.5, -2.0), (1.0, 0.0), (3.0, 1.0)])
def test_the_line_undoes_what_was_done(slope: float, offset: float) -> None:
    positive, probabilities = _distorted(0, 20_000, slope, offset)
    found = fit_platt(positive, probabilities)
    assert found == pytest.approx((slope, offset), rel=0.05, abs=0.05)


def test_the_line_has_the_least_loss_on_platts_targets() -> None:
    positive, probabilities = _distorted(1, 200, 2.0, 1.0)
    targets = np.where(
        positive, (positive.sum() + 1) / (positive.sum() + 2), 1 / (sum(~positive) + 2)
    )

    def loss(line: np.ndarray) -> float:
        said = platt(probabilities, *line)
        return -float((targets * np.log(said) + (1 - targets) * np.log1p(-said)).sum())

    best = minimize(loss, (1.0, 0.0), method="Nelder-Mead", tol=1e-8)
    assert fit_platt(positive, probabilities) == pytest.approx(best.x, abs=1e-3)


def test_a_rare_finding_needs_the_offset() -> None:
    # The balanced training of a probe says half where one in twenty is true.
    rng = np.random.default_rng(2)
    positive = rng.random(4000) < 0.05
    probabilities = platt(np.full(4000, 0.5), 1, 0.0) + rng.normal(0, 0.01, 4000)
    mended = platt(probabilities, *fit_platt(positive, probabilities))
    assert calibration_error(positive, probabilities) > 0.4
    assert calibration_error(positive, mended) < 0.02


def test_separable_data_stay_finite_and_one_class_says_nothing() -> None:
    slope, _ = fit_platt(np.array([True, False]), np.array([0.9, 0.1]))
    assert 0 < slope < 10
    inverted, _ = fit_platt(np.array([False, True]), np.array([0.9, 0.1]))
    assert inverted == pytest.approx(-slope, rel=1e-3)
    assert np.isnan(fit_platt(np.ones(3, bool), np.full(3, 0.5))).all()
    # Equal probabilities become the rate, by Platt's targets.
    line = fit_platt(np.array([True, False, False]), np.full(3, 0.7))
    found = platt(np.array([0.7]), *line)
    assert found == pytest.approx((2 / 3 + 2 * 1 / 4) / 3, abs=1e-3)


def test_bins_of_equal_width_are_those_of_the_papers() -> None:
    probabilities = np.array([0.05, 0.06, 0.07, 0.95])
    positive = np.array([False, False, True, True])
    found = calibration_error(positive, probabilities, 10, equal_width=True)
    assert found == pytest.approx((abs(0.18 - 1) + 0.05) / 4)
    assert calibration_error(np.ones(1, bool), np.ones(1), equal_width=True) == 0


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

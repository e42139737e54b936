"""p-values of a board: counted where there is enough to count."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from vlp_zoo.evaluation.statistics.intervals import Replicated
from vlp_zoo.leaderboard.replicates import combine


def _p(shift: float, replicates: int = 1000) -> float:
    # Quantiles of the normal law: replicates without noise of their own.
    drawn = norm.ppf((np.arange(replicates) + 0.5) / replicates) + shift
    found = combine([Replicated(shift, drawn)], test=True).p_value
    assert found is not None
    return found


def test_many_replicates_beyond_are_counted() -> None:
    assert _p(1.0) == pytest.approx(2 * norm.sf(1.0), abs=0.003)
    assert _p(0.0) == pytest.approx(1.0, abs=0.003)


def test_few_are_extended_by_the_normal_law() -> None:
    # No replicate lies beyond 0: counting could say no less than 2 / 1001.
    assert _p(5.0) == pytest.approx(2 * norm.sf(5.0), rel=0.1)
    # Fifty encoders are 1225 pairs, which Holm's correction multiplies by.
    assert _p(5.0) * 1225 < 0.05


def test_equal_replicates_have_no_deviation() -> None:
    found = combine([Replicated(0.5, np.full(100, 0.5))], test=True).p_value
    assert found == pytest.approx(2 / 101)

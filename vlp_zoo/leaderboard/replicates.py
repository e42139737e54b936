"""Means over draws with their intervals, from replicates of a whole board.

The numbers are those of `vlp_zoo.evaluation.statistics.intervals`; only that each run is
replicated once, however many others it is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from vlp_zoo.evaluation.statistics.intervals import Replicated, mean_of_draws

__all__ = ["Estimate", "combine"]

COUNTED = 10
"""Replicates beyond 0 from which their share is a p-value worth counting."""


@dataclass(frozen=True)
class Estimate:
    """A mean over draws with its interval.

    Attributes:
        value: Mean over draws.
        low: Lower bound of the 95 % interval; None without.
        high: Upper bound.
        sd: Standard deviation over draws; None for one draw.
        draws: How many.
        covers: What the interval is over: ``"patients"``, ``"draws and patients"``, or
            nothing.
        p_value: Two-sided, that the value is 0; None where that was not asked.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    draws: int = 1
    covers: str = ""
    p_value: float | None = None


def combine(
    draws: Sequence[Replicated], *, test: bool = False, seed: int = 0
) -> Estimate:
    """Mean over draws; the interval is over patients and, of several, over draws.

    Args:
        draws: One per draw of labelled patients (or training), at least one.
        test: Give the p-value of 0: twice the share of replicates on the other side of
            it, counting one more; or, where fewer than `COUNTED` are there, by the
            normal law with their deviation. So a thousand replicates serve many pairs.
        seed: Seed of the resampling of draws.
    """
    made = mean_of_draws(draws, seed) if len(draws) > 1 else draws[0]
    value, usable = made.value, made.usable
    sd = float(np.std([d.value for d in draws], ddof=1)) if len(draws) > 1 else None
    if not len(usable) or np.isnan(value):
        return Estimate(None if np.isnan(value) else value, sd=sd, draws=len(draws))
    low, high = np.quantile(usable, [0.025, 0.975])
    p_value = None
    if test:
        beyond = int(min((usable <= 0).sum(), (usable >= 0).sum()))
        p_value = min(1.0, 2 * (beyond + 1) / (len(usable) + 1))
        if beyond < COUNTED and (spread := float(np.std(usable))) > 0:
            p_value = min(p_value, float(2 * norm.sf(abs(value) / spread)))
    covers = "draws and patients" if len(draws) > 1 else "patients"
    return Estimate(value, float(low), float(high), sd, len(draws), covers, p_value)

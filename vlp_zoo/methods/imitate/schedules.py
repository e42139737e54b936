"""IMITATE's two schedules: weight of the findings, and learning rate."""

from __future__ import annotations

import math

__all__ = ["cosine_restarts", "findings_weight"]


def findings_weight(epoch: int) -> float:
    """λ, the weight of the findings: 1 to epoch 30, 0.3 from 50, falling between.

    Example:
        >>> [round(findings_weight(epoch), 2) for epoch in (0, 30, 31, 36, 49, 50)]
        [1.0, 1.0, 1.25, 1.0, 0.35, 0.3]
    """
    if epoch <= 30:
        return 1.0
    return 1.3 - (epoch - 30) / 20 if epoch < 50 else 0.3


def cosine_restarts(step: int, period: int, floor: float = 0.0) -> float:
    """Cosine from 1 to ``floor`` that restarts, each time twice as long (SGDR).

    Loshchilov and Hutter, arXiv 1608.03983.

    Example:
        >>> [cosine_restarts(step, 2) for step in (0, 1, 2, 4, 6)]
        [1.0, 0.5, 1.0, 0.5, 1.0]
    """
    while step >= period:
        step, period = step - period, 2 * period
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / period))

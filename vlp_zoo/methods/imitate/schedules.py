"""IMITATE's weight of the findings, epoch by epoch."""

from __future__ import annotations

__all__ = ["findings_weight"]


def findings_weight(epoch: int) -> float:
    """λ, the weight of the findings: 1 to epoch 30, 0.3 from 50, falling between.

    Example:
        >>> [round(findings_weight(epoch), 2) for epoch in (0, 30, 31, 36, 49, 50)]
        [1.0, 1.0, 1.25, 1.0, 0.35, 0.3]
    """
    if epoch <= 30:
        return 1.0
    return 1.3 - (epoch - 30) / 20 if epoch < 50 else 0.3

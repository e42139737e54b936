"""Learning rates as functions of the step, relative to the peak."""

from __future__ import annotations

import math

__all__ = ["warmup_cosine", "warmup_poly"]


def warmup_cosine(
    step: float, warmup: float, total: float, *, clamp: bool = True
) -> float:
    """Linear warm-up from 0 to 1, then half a cosine to 0 at ``total``.

    Args:
        step: Optimiser steps already taken.
        warmup: Steps of the linear part.
        total: Step at which the cosine reaches 0; before the end of the warm-up there
            is no cosine.
        clamp: Stay at 0 from there on. False is what MRM, ECAMP and BenchX share: the
            cosine goes on and is back at 1 at ``2 * total - warmup``.

    Raises:
        ValueError: If a number is negative.

    Example:
        >>> [round(warmup_cosine(step, 2, 6), 3) for step in (0, 1, 2, 4, 6, 8)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
        >>> [round(warmup_cosine(step, 2, 6, clamp=False), 3) for step in (6, 8, 10)]
        [0.0, 0.5, 1.0]
    """
    _check(step, warmup, total)
    if step < warmup:
        return step / warmup
    if clamp and step >= total:
        return 0.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def warmup_poly(step: float, warmup: float, total: float) -> float:
    """Linear warm-up from 0 to 1, then a straight fall to 0 at ``total``.

    Args:
        step: Optimiser steps already taken.
        warmup: Steps of the linear part.
        total: Step at which the rate reaches 0.

    Raises:
        ValueError: If a number is negative.

    Example:
        >>> [warmup_poly(step, 2, 6) for step in (0, 1, 2, 4, 6, 8)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """
    _check(step, warmup, total)
    if step < warmup:
        return step / warmup
    return 0.0 if step >= total else (total - step) / (total - warmup)


def _check(step: float, warmup: float, total: float) -> None:
    if min(step, warmup, total) < 0:
        raise ValueError(f"step {step}, warm-up {warmup}, total {total}")

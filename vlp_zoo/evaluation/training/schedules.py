"""Learning rates of the presets as functions of the step, relative to the peak."""

from __future__ import annotations

import math

__all__ = ["warmup_cosine", "warmup_poly"]


def warmup_cosine(step: int, warmup: int, total: int, *, clamp: bool = True) -> float:
    """Linear warm-up from 0 to 1, then half a cosine to 0 at ``total``.

    Args:
        step: From 0.
        warmup: Steps of the linear part.
        total: Step at which the cosine reaches 0.
        clamp: Stay at 0 from there on. False is what MRM, ECAMP and BenchX share: the
            cosine goes on and is back at 1 at ``2 * total - warmup``.

    Raises:
        ValueError: If ``total`` does not exceed ``warmup``, or a number is negative.

    Example:
        >>> [round(warmup_cosine(step, 2, 6), 3) for step in (0, 1, 2, 4, 6, 8)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
        >>> [round(warmup_cosine(step, 2, 6, clamp=False), 3) for step in (6, 8, 10)]
        [0.0, 0.5, 1.0]
    """
    _check(step, warmup, total)
    if step < warmup:
        return step / warmup
    progress = (step - warmup) / (total - warmup)
    if clamp and progress >= 1:
        return 0.0
    return 0.5 * (1 + math.cos(math.pi * progress))


def warmup_poly(step: int, warmup: int, total: int) -> float:
    """Linear warm-up from 0 to 1, then a straight fall to 0 at ``total``.

    Args:
        step: From 0.
        warmup: Steps of the linear part.
        total: Step at which the rate reaches 0.

    Raises:
        ValueError: If ``total`` does not exceed ``warmup``, or a number is negative.

    Example:
        >>> [warmup_poly(step, 2, 6) for step in (0, 1, 2, 4, 6, 8)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """
    _check(step, warmup, total)
    if step < warmup:
        return step / warmup
    return max(0.0, (total - step) / (total - warmup))


def _check(step: int, warmup: int, total: int) -> None:
    if step < 0 or warmup < 0 or total <= warmup:
        raise ValueError(f"step {step}, warm-up {warmup}, total {total}")

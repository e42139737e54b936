r"""Exact L2-regularised softmax regression: one class out of several.

Minimises

.. math:: |W|^2 / 2 + C \sum_i s_i (\log \sum_k \exp(z_{ik}) - z_{i y_i})

with unpenalised intercepts: scikit-learn's multinomial objective, in which s_i weighs
the classes. As in `vlp_zoo.evaluation.classification.solvers.logistic`, the problem is solved along the
principal axes of the features, each scaled by its curvature.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.classification.solvers.logistic import (
    LogisticFit,
    principal_axes,
)

__all__ = ["class_weights", "fit_softmax_path", "softmax"]

Array = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

GRADIENT_TOLERANCE = 1e-8


def softmax(logits: Array) -> Array:
    """(N, C) to probabilities, without overflow.

    Example:
        >>> softmax(np.array([[0.0, 0.0], [1000.0, 0.0]]))
        array([[0.5, 0.5],
               [1. , 0. ]])
    """
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def class_weights(truth: Classes, classes: int) -> Array:
    """Weights (N,) with which all classes count alike, of mean 1.

    Example:
        >>> class_weights(np.array([0, 0, 0, 1]), 2)
        array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    counts = np.bincount(truth, minlength=classes)
    present = int((counts > 0).sum())
    return np.asarray(len(truth) / (present * counts[truth]))


def fit_softmax_path(
    features: Array,
    truth: Classes,
    classes: int,
    strengths: Sequence[float],
    *,
    weights: Array | None = None,
    max_iterations: int = 1000,
) -> list[LogisticFit]:
    """Fit for each value of C, each fit starting from the one before.

    Args:
        features: (N, D), standardised.
        truth: (N,) from 0; every class occurs.
        classes: C.
        strengths: Values of C, best in ascending order.
        weights: (N,) of the cases; None counts each once.
        max_iterations: Limit of L-BFGS steps for each C.

    Returns:
        One fit per value of C, in that order.

    Raises:
        ValueError: If a class does not occur, or there is only one.
    """
    from scipy.optimize import minimize

    counts = np.bincount(truth, minlength=classes)
    if classes < 2 or len(counts) > classes or (counts == 0).any():
        raise ValueError("every class needs a case, and there must be two")
    case = np.ones(len(truth)) if weights is None else weights
    share = case / case.sum()
    target = np.zeros((len(truth), classes))
    target[np.arange(len(truth)), truth] = 1
    prior = share @ target
    directions = principal_axes(features)
    axes = np.ascontiguousarray(features @ directions)
    spread = np.append(share @ axes**2, 1.0)[:, None]
    axes = np.column_stack([axes, np.ones(len(axes))])
    theta = np.zeros((axes.shape[1], classes))
    theta[-1] = np.log(prior)
    fits = []
    for c in strengths:
        ridge = np.full((axes.shape[1], 1), 1 / (float(c) * case.sum()))
        ridge[-1] = 0
        # Curvature as if all cases had the prior; it turns hundreds of steps to tens.
        scale = 1 / np.sqrt(spread * prior * (1 - prior) + ridge)

        def loss(
            flat: Array, scale: Array = scale, ridge: Array = ridge
        ) -> tuple[float, Array]:
            weight = flat.reshape(scale.shape) * scale
            logits = axes @ weight
            logits -= logits.max(1, keepdims=True)
            total = np.log(np.exp(logits).sum(1, keepdims=True))
            value = share @ (total[:, 0] - logits[np.arange(len(truth)), truth])
            value += float((ridge * weight**2).sum()) / 2
            slope = axes.T @ (share[:, None] * (np.exp(logits - total) - target))
            return float(value), ((slope + ridge * weight) * scale).ravel()

        found = minimize(
            loss,
            (theta / scale).ravel(),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": max_iterations,
                "maxfun": 2 * max_iterations,
                "gtol": GRADIENT_TOLERANCE,
                "ftol": 1e-14,
            },
        )
        theta = found.x.reshape(scale.shape) * scale
        fits.append(
            LogisticFit(
                directions @ theta[:-1],
                theta[-1].copy(),
                float(c),
                int(found.nit),
                bool(found.success),
            )
        )
    return fits

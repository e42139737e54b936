r"""Exact L2-regularised logistic regression of many labels at once.

Minimises, for each label by itself over the cases where it is known,

.. math:: |w|^2 / 2 + C \sum_i \log(1 + \exp(-y_i (w \cdot x_i + b)))

with an unpenalised intercept: scikit-learn's objective. The penalty does not see
rotations, so the problem is solved along the principal axes of the features, where the
Hessian is nearly diagonal and L-BFGS with that diagonal needs tens of steps instead of
hundreds. All labels step together, each with a history and a line search of its own:
a step costs two matrix products, as the line search only moves along known logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["LogisticFit", "fit_path", "principal_axes"]

Array = npt.NDArray[np.float64]

HISTORY = 10
GRADIENT_TOLERANCE = 1e-9
DECREASE_TOLERANCE = 1e-15


@dataclass(frozen=True)
class LogisticFit:
    """Weights for one strength of regularisation.

    Attributes:
        weight: (D, K).
        intercept: (K,).
        c: Inverse strength, as scikit-learn's ``C``.
        iterations: Steps of the slowest label.
        converged: Whether every label met the tolerance within the limit.
    """

    weight: Array
    intercept: Array
    c: float
    iterations: int
    converged: bool

    def logits(self, features: Array) -> Array:
        """(N, D) to (N, K)."""
        return features @ self.weight + self.intercept


@dataclass
class _Problem:
    """Features along principal axes and targets, as the solver wants them."""

    axes: Array  # (N, r)
    spread: Array  # (r,) mean square along each axis
    target: Array  # (N, K) 0 or 1, 0 where unknown
    share: Array  # (N, K) 1/n_k where known, else 0
    ridge: Array  # (K,) 1 / (C n_k)

    def take(self, labels: npt.NDArray[np.int64]) -> _Problem:
        return _Problem(
            self.axes,
            self.spread,
            self.target[:, labels],
            self.share[:, labels],
            self.ridge[labels],
        )


def fit_path(
    features: Array,
    labels: npt.NDArray[np.float32],
    strengths: Sequence[float],
    max_iterations: int = 1000,
    *,
    balanced: bool = False,
) -> list[LogisticFit]:
    """Fit all labels for each value of C, each fit starting from the one before.

    Args:
        features: (N, D), standardised.
        labels: (N, K) with 1, 0 and NaN = unknown; both classes in every column.
        strengths: Values of C, best in ascending order.
        max_iterations: Limit of L-BFGS steps for each C.
        balanced: Let the positives of each label weigh as much as its negatives.

    Returns:
        One fit per value of C, in that order.

    Raises:
        ValueError: If a label has one class only.
    """
    known = ~np.isnan(labels)
    target = np.where(known, labels, 0).astype(np.float64)
    positives = target.sum(0)
    counts = known.sum(0).astype(np.float64)
    if ((positives == 0) | (positives == counts)).any():
        raise ValueError("every label needs a known positive and a known negative")
    directions = principal_axes(features)
    axes = np.ascontiguousarray(features @ directions)
    share = known / counts
    theta = np.zeros((target.shape[1], axes.shape[1] + 1))
    if balanced:
        share = share * np.where(target > 0, counts / positives, 1.0) / 2
        share *= np.where(target > 0, 1.0, counts / (counts - positives))
    else:
        theta[:, -1] = np.log(positives / (counts - positives))
    fits = []
    for c in strengths:
        problem = _Problem(
            axes, (axes**2).mean(0), target, share, 1 / (float(c) * counts)
        )
        theta, iterations, converged = _minimise(problem, theta, max_iterations)
        fits.append(
            LogisticFit(
                directions @ theta[:, :-1].T,
                theta[:, -1].copy(),
                float(c),
                iterations,
                converged,
            )
        )
    return fits


def principal_axes(features: Array) -> Array:
    """(N, D) to (D, r) orthonormal columns that span the features."""
    if len(features) > features.shape[1]:
        return np.asarray(np.linalg.eigh(features.T @ features)[1])
    return np.asarray(np.linalg.svd(features, full_matrices=False)[2].T)


def _sigmoid(logits: Array) -> Array:
    # exp(-log(1 + exp(-z))) overflows at neither end.
    result: Array = np.exp(-np.logaddexp(0.0, -logits))
    return result


def _logits(problem: _Problem, theta: Array) -> Array:
    return problem.axes @ theta[:, :-1].T + theta[:, -1]


def _gradient(problem: _Problem, theta: Array, probabilities: Array) -> Array:
    residual = problem.share * (probabilities - problem.target)
    gradient = np.empty_like(theta)
    gradient[:, :-1] = (problem.axes.T @ residual).T
    gradient[:, :-1] += problem.ridge[:, None] * theta[:, :-1]
    gradient[:, -1] = residual.sum(0)
    return gradient


def _diagonal(problem: _Problem, probabilities: Array) -> Array:
    """Approximate inverse Hessian (K, r + 1): cases weigh alike along each axis."""
    variance = (problem.share * probabilities * (1 - probabilities)).sum(0)
    variance = np.maximum(variance, 1e-8)[:, None]
    hessian = np.empty((len(variance), problem.axes.shape[1] + 1))
    hessian[:, :-1] = variance * problem.spread + problem.ridge[:, None]
    hessian[:, -1:] = variance
    return 1 / hessian


def _minimise(
    problem: _Problem, start: Array, max_iterations: int
) -> tuple[Array, int, bool]:
    """Batched L-BFGS; labels leave the batch as they converge."""
    solution = start.copy()
    active = np.arange(len(start))
    theta = start.copy()
    logits = _logits(problem, theta)
    probabilities = _sigmoid(logits)
    gradient = _gradient(problem, theta, probabilities)
    inverse = _diagonal(problem, probabilities)
    history: list[tuple[Array, Array]] = []
    for iteration in range(max_iterations + 1):
        decrease = (gradient**2 * inverse).sum(1) / 2
        done = (decrease <= DECREASE_TOLERANCE) & (
            np.abs(gradient).max(1) <= GRADIENT_TOLERANCE
        )
        solution[active] = theta
        if done.all():
            return solution, iteration, True
        if iteration == max_iterations:
            break
        if done.any():
            keep = np.nonzero(~done)[0]
            active, theta, gradient = active[keep], theta[keep], gradient[keep]
            inverse, logits = inverse[keep], logits[:, keep]
            problem = problem.take(keep)
            history = [(step[keep], change[keep]) for step, change in history]
        direction = -_two_loops(gradient, inverse, history)
        uphill = (direction * gradient).sum(1) >= 0
        direction[uphill] = -(inverse * gradient)[uphill]
        moved = _logits(problem, direction)
        length = _line_search(problem, theta, direction, logits, moved)
        step = length[:, None] * direction
        theta = theta + step
        logits = logits + length * moved
        if iteration % 50 == 49:
            # Sums of many steps drift by rounding.
            logits = _logits(problem, theta)
        before = gradient
        gradient = _gradient(problem, theta, _sigmoid(logits))
        history = [*history[-(HISTORY - 1) :], (step, gradient - before)]
    return solution, max_iterations, False


def _two_loops(
    gradient: Array, inverse: Array, history: list[tuple[Array, Array]]
) -> Array:
    """L-BFGS product of inverse Hessian and gradient, label by label."""
    result = gradient.copy()
    past = []
    for step, change in reversed(history):
        # A label whose step was nothing but rounding has no curvature to add.
        curvature = (step * change).sum(1)
        rho = np.where(curvature > 1e-300, 1 / np.maximum(curvature, 1e-300), 0.0)
        alpha = rho * (step * result).sum(1)
        result -= alpha[:, None] * change
        past.append((step, change, rho, alpha))
    result *= inverse
    if history:
        step, change = history[-1]
        curvature = (step * change).sum(1)
        size = (change**2 * inverse).sum(1)
        usable = (curvature > 1e-300) & (size > 0)
        scale = np.where(usable, curvature / np.where(size > 0, size, 1.0), 1.0)
        result *= scale[:, None]
    for step, change, rho, alpha in reversed(past):
        beta = rho * (change * result).sum(1)
        result += (alpha - beta)[:, None] * step
    return result


def _line_search(
    problem: _Problem, theta: Array, direction: Array, logits: Array, moved: Array
) -> Array:
    """Step lengths (K,): Newton's method on the slope, inside a bracket.

    The objective is convex along the line, so a slope near zero is the minimum and
    the curvature that L-BFGS needs is positive.
    """
    flat = direction[:, :-1]
    linear = problem.ridge * (theta[:, :-1] * flat).sum(1)
    quadratic = problem.ridge * (flat**2).sum(1)

    def slope(length: Array) -> tuple[Array, Array]:
        probabilities = _sigmoid(logits + length * moved)
        pull = problem.share * moved
        first = (pull * (probabilities - problem.target)).sum(0)
        second = (pull * moved * probabilities * (1 - probabilities)).sum(0)
        return first + linear + length * quadratic, second + quadratic

    length = np.zeros(len(theta))
    initial = np.abs(slope(length)[0])
    length += 1.0
    low, high = np.zeros_like(length), np.full_like(length, np.inf)
    for _ in range(30):
        first, second = slope(length)
        settled = np.abs(first) <= 0.05 * initial
        if settled.all():
            break
        low = np.where(first < 0, length, low)
        high = np.where(first > 0, length, high)
        newton = length - first / np.maximum(second, 1e-300)
        middle = np.where(np.isfinite(high), (low + high) / 2, 4 * length)
        # Newton may jump far past a flat stretch; fourfold growth is enough.
        inside = (newton > low) & (newton < high) & (newton <= 4 * length + 1)
        length = np.where(settled, length, np.where(inside, newton, middle))
    return length

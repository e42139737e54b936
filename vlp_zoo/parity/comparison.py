"""Comparing numbers of ours with recorded ones, for the parity replays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = [
    "ABSOLUTE_MID",
    "FLOOR",
    "RELATIVE_LOSS",
    "RELATIVE_NORM",
    "RELATIVE_TRAJECTORY",
    "Comparison",
    "close",
    "curve",
    "gradients_of",
    "magnitude",
    "relative",
    "same",
    "sums",
    "tensor",
    "within",
    "worst_norm",
]

RELATIVE_LOSS = 1e-5
ABSOLUTE_MID = 1e-4
RELATIVE_NORM = 1e-3
RELATIVE_TRAJECTORY = 1e-4
FLOOR = 1e-6
"""Below this a gradient is rounding noise: the biases of attention keys, whose exact
gradient is zero."""


class Comparison(NamedTuple):
    """One compared quantity.

    Attributes:
        quantity: Name, with the number of values where there are several.
        ours: Our value, or our largest magnitude.
        official: The recorded value, or the largest recorded magnitude.
        error: Relative for losses and norms, largest absolute for tensors.
        tolerance: Largest error allowed.
    """

    quantity: str
    ours: float
    official: float
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the error is a number within the tolerance."""
        return self.error <= self.tolerance


def magnitude(tensor: Tensor) -> float:
    """Largest magnitude, at least what makes a relative tolerance reach the floor."""
    return max(float(tensor.abs().max()), FLOOR / RELATIVE_NORM)


def relative(
    name: str, ours: Tensor, official: float, tolerance: float = RELATIVE_LOSS
) -> Comparison:
    """Compare scalars by their relative error."""
    value = float(ours.detach())
    error = abs(value - official) / max(abs(official), FLOOR)
    return Comparison(name, value, official, error, tolerance)


def tensor(
    name: str, ours: Tensor | None, expected: Tensor, tolerance: float
) -> Comparison:
    """Compare tensors by their largest absolute error."""
    wide = expected.double()
    found = torch.zeros_like(wide) if ours is None else ours.detach().double()
    title = f"{name} ({expected.numel()})"
    if name.startswith("mid.") and found.shape != wide.shape:
        found = found.reshape(-1)
        wide = wide.reshape(-1)
    if found.shape != wide.shape:
        return Comparison(title, math.nan, math.nan, math.inf, tolerance)
    error = float((found - wide).abs().max())
    return Comparison(
        title, float(found.abs().max()), float(wide.abs().max()), error, tolerance
    )


def within(
    name: str, ours: Tensor | None, expected: Tensor, share: float = RELATIVE_NORM
) -> Comparison:
    """Compare tensors by their error over the largest recorded magnitude."""
    return tensor(name, ours, expected, share * magnitude(expected))


def close(
    name: str,
    ours: Tensor | float,
    expected: Tensor | float,
    tolerance: float,
    *,
    absolute: bool = False,
) -> Comparison:
    """Compare numbers.

    Args:
        name: Quantity.
        ours: A tensor of the shape recorded, or a number.
        expected: What was recorded.
        tolerance: Largest error allowed.
        absolute: Errors over one plus each recorded magnitude, else over the largest
            recorded magnitude.

    Returns:
        The comparison; an infinite error where shapes differ.
    """
    found = torch.as_tensor(ours).detach().double()
    wanted = torch.as_tensor(expected).double()
    title = f"{name} ({wanted.numel()})" if wanted.numel() > 1 else name
    if found.shape != wanted.shape:
        return Comparison(title, math.nan, math.nan, math.inf, tolerance)
    scale = 1 + wanted.abs() if absolute else wanted.abs().max().clamp(min=1e-12)
    error = ((found - wanted).abs() / scale).max()
    # The largest magnitude, with its sign where there is one number.
    if wanted.numel() > 1:
        found, wanted = found.abs().max(), wanted.abs().max()
    return Comparison(title, float(found), float(wanted), float(error), tolerance)


def same(name: str, ours: float, recorded: float) -> Comparison:
    """Compare settings, which are equal or not."""
    return Comparison(name, ours, recorded, abs(ours - recorded), 0.0)


def sums(name: str, ours: Tensor, recorded: Mapping[str, float]) -> Comparison:
    """Sum, sum of magnitudes and sum of squares of a thinned tensor, per value."""
    wide = ours.double()
    found = (wide.sum(), wide.abs().sum(), wide.square().sum())
    keys = ("sum", "abs_sum", "sq_sum")
    errors = [
        abs(float(value) - recorded[key]) / wide.numel()
        for value, key in zip(found, keys, strict=True)
    ]
    return Comparison(
        name, float(found[1]), recorded["abs_sum"], max(errors), ABSOLUTE_MID
    )


def curve(
    name: str, ours: Sequence[float], recorded: Sequence[float], tolerance: float
) -> Comparison:
    """Compare the learning rates of all steps, by their largest absolute error."""
    found, wanted = (torch.tensor(x, dtype=torch.float64) for x in (ours, recorded))
    return tensor(name, found, wanted, tolerance)


def gradients_of(module: nn.Module, loss: Tensor) -> dict[str, Tensor | None]:
    """Gradients of a loss by trained parameter; None where it does not hang on one."""
    named = {n: p for n, p in module.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(
        loss, list(named.values()), retain_graph=True, allow_unused=True
    )
    return dict(zip(named, found, strict=True))


def worst_norm(
    title: str,
    gradients: Mapping[str, Tensor | None],
    recorded: Mapping[str, float | None],
    tolerance: float,
    floor: float = FLOOR,
) -> Comparison:
    """The parameter whose gradient norm is worst.

    Args:
        title: Name of the comparison.
        gradients: Ours, by parameter.
        recorded: Official norms of the same parameters; None is no gradient.
        tolerance: Largest relative error allowed.
        floor: Norm below which both sides are rounding noise.
    """
    worst = Comparison(f"{title} (worst of {len(gradients)})", 0.0, 0.0, 0.0, tolerance)
    for name, gradient in gradients.items():
        ours = 0.0 if gradient is None else float(gradient.double().norm())
        official = recorded[name] or 0.0
        error = abs(ours - official) / max(abs(official), FLOOR)
        if max(ours, official) < floor:
            error = 0.0
        if not error <= worst.error:
            worst = worst._replace(ours=ours, official=official, error=error)
    return worst

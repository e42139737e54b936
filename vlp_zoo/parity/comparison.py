"""Comparing numbers of ours with recorded ones, for the parity replays."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vlp_zoo.errors import DatasetNotFoundError

__all__ = [
    "ABSOLUTE_MID",
    "FLOOR",
    "INPUTS",
    "RELATIVE_LOSS",
    "RELATIVE_NORM",
    "RELATIVE_TRAJECTORY",
    "Comparison",
    "Fixture",
    "Read",
    "gradients_of",
    "magnitude",
    "read_fixture",
    "relative",
    "replayed",
    "same",
    "sums",
    "tensor",
    "worst_norm",
]

T = TypeVar("T")

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


class Read(dict[str, T]):
    """Entries of a recording that remember which of them were asked for by name.

    Going through all of them asks for none.
    """

    def __init__(self, entries: Mapping[str, T]) -> None:
        super().__init__(entries)
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> T:
        """An entry, which counts as asked for."""
        value = super().__getitem__(key)
        self.asked.add(key)
        return value


INPUTS = "inputs replayed"
"""How the quantity of `replayed` begins."""


def replayed(
    recorded: Iterable[str], asked: Container[str], excused: Mapping[str, str]
) -> Comparison:
    """How many of a recording's inputs went into its replay; others fail it.

    Args:
        recorded: Names of all its inputs.
        asked: Those that were read.
        excused: Inputs that cannot be replayed to the reason, which is printed.
    """
    names = sorted(recorded)
    left = [name for name in names if name not in asked]
    said = [f"{n} ({excused[n]})" if n in excused else n for n in left]
    count, total = len(names) - len(left), len(names)
    text = f"{INPUTS}: {count} of {total}"
    text += f"; not replayed: {', '.join(said)}" if left else ""
    missing = sum(name not in excused for name in left)
    return Comparison(text, float(count), float(total), float(missing), 0.0)


class Fixture(NamedTuple):
    """A recorded pre-training run."""

    meta: Read[Any]
    tensors: Read[Tensor]

    def get(self, name: str) -> Tensor:
        """A tensor that must be there."""
        if name not in self.tensors:
            raise DatasetNotFoundError(
                f"the tensor {name!r} in the fixture",
                f"{len(self.tensors)} others",
                "fetch the fixture again",
            )
        return self.tensors[name]


def read_fixture(folder: Path) -> Fixture:
    """Read a recorded training run.

    Raises:
        DatasetNotFoundError: If a file is missing, damaged or of another kind.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "tensors.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise DatasetNotFoundError(
            f"a fixture (meta.json, tensors.safetensors) in {folder}",
            f"{type(error).__name__}: {error}",
            "give a folder with a recorded ECAMP run",
        ) from error
    if not isinstance(meta, dict) or "losses" not in meta:
        raise DatasetNotFoundError(
            f"a pre-training fixture in {folder}",
            "a meta.json without losses",
            "give a folder with a recorded ECAMP pre-training run",
        )
    return Fixture(Read(meta), Read(tensors))


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

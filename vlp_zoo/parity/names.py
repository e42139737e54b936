"""Official parameters under our names: gradients, and where optimiser steps end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from torch import Tensor, nn

from vlp_zoo.parity.comparison import (
    FLOOR,
    RELATIVE_NORM,
    Comparison,
    magnitude,
    tensor,
    worst_norm,
)
from vlp_zoo.parity.replay import Recording

__all__ = ["Names"]

T = TypeVar("T")


def _allowed(recorded: Tensor) -> float:
    return RELATIVE_NORM * magnitude(recorded)


class Names(NamedTuple):
    """Our names of official parameters, and which of them say nothing.

    Attributes:
        ours: Our name of an official parameter; None where it has no counterpart.
        vanishing: Our names of those whose exact gradient is zero. What was recorded of
            it is rounding noise, which Adam scales up to full steps.
    """

    ours: Callable[[str], str | None]
    vanishing: frozenset[str]

    @classmethod
    def of(cls, recording: Recording, ours: Callable[[str], str | None]) -> Names:
        """Take the vanishing ones from ``expected.json``."""
        double = recording.facts("expected")["float64"]
        keys = double["params_with_vanishing_gradient"]
        return cls(ours, frozenset(ours(key) or "" for key in keys))

    def under(self, recorded: Mapping[str, T]) -> dict[str, T]:
        """Recorded entries by our names; without those that have no counterpart."""
        named = {self.ours(key): value for key, value in recorded.items()}
        return {name: value for name, value in named.items() if name is not None}

    def worst_norm(
        self,
        title: str,
        found: Mapping[str, Tensor | None],
        recorded: Mapping[str, float | None],
        tolerance: float,
        noise: float = 0.0,
    ) -> Comparison:
        """The parameter whose norm, or whose gradient's, is worst; see `worst_norm`.

        Args:
            title: Name of the comparison.
            found: Ours, by our names.
            recorded: Official norms, by official names.
            tolerance: Largest relative error allowed.
            noise: Share of the largest recorded norm below which both sides are
                rounding noise; 0 = below a fixed norm.
        """
        kept = {name: x for name, x in found.items() if name not in self.vanishing}
        floor = noise * max(value or 0.0 for value in recorded.values()) or FLOOR
        return worst_norm(title, kept, self.under(recorded), tolerance, floor)

    def worst_end(
        self,
        title: str,
        module: nn.Module,
        recorded: Mapping[str, float],
        tolerance: float,
    ) -> Comparison:
        """The parameter whose norm is farthest from the recorded one after the steps."""
        ends = {name: p.detach() for name, p in module.named_parameters()}
        return self.worst_norm(title, ends, recorded, tolerance)

    def gradients(
        self,
        found: Mapping[str, Tensor | None],
        recorded: Mapping[str, Tensor],
        allowed: Callable[[Tensor], float] = _allowed,
    ) -> Iterator[Comparison]:
        """Compare whole gradients.

        Args:
            found: Ours, by our names.
            recorded: Official ones by official names, with or without ``grad.``.
            allowed: Largest absolute error allowed, from the recorded gradient.
        """
        for key, official in recorded.items():
            key = key.removeprefix("grad.")
            name = self.ours(key) or ""
            if name not in self.vanishing:
                mine = found[name]
                mine = None if mine is None else mine.view(official.shape)
                yield tensor(f"grad.{key}", mine, official, allowed(official))

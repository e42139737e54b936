"""Weights that do not fit a network, said by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from vlp_zoo.errors import EncoderLoadError

__all__ = ["check_keys", "misfits"]


def misfits(kinds: Mapping[str, Sequence[str]]) -> list[str]:
    """For each kind of misfit that there is, how many and the first five names."""
    return [
        f"{len(names)} {kind} ({', '.join(names[:5])}{', ...' if names[5:] else ''})"
        for kind, names in kinds.items()
        if names
    ]


def check_keys(
    expected: Mapping[str, Tensor], state: Mapping[str, Tensor], origin: str
) -> None:
    """Refuse weights that do not fit exactly.

    Args:
        expected: ``state_dict`` of the network.
        state: Weights offered.
        origin: Where the weights come from, for the message.

    Raises:
        EncoderLoadError: With counts and the first five names of each kind.
    """
    parts = misfits(
        {
            "missing": [name for name in expected if name not in state],
            "unexpected": [name for name in state if name not in expected],
            "of another shape": [
                f"{name} {tuple(state[name].shape)} for {tuple(tensor.shape)}"
                for name, tensor in expected.items()
                if name in state and state[name].shape != tensor.shape
            ],
        }
    )
    if parts:
        raise EncoderLoadError(
            f"{len(expected)} tensors in {origin}",
            f"{len(state)} tensors: {'; '.join(parts)}",
            "check the architecture, or name the checkpoint's layout "
            "(official:LAYOUT:FILE)",
        )

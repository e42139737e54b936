"""What the replays of masked autoencoders that read reports share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.methods.base import parameter_groups
from vlp_zoo.parity.comparison import Comparison

__all__ = ["decay_groups", "outputs_of", "segments"]


@contextmanager
def segments(encoder: TextEncoder, types: Tensor) -> Iterator[None]:
    """Let a text encoder see recorded token types, which our reports never have."""

    def given(part: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, "token_type_ids": types}

    embeddings: nn.Module = encoder.bert.embeddings
    handle = embeddings.register_forward_pre_hook(given, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def outputs_of(parts: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Outputs of networks during a forward pass, by the name of each."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(part: nn.Module, inputs: Any, output: Tensor) -> None:
            seen[name] = output.detach()

        return hook

    handles = [part.register_forward_hook(keep(n)) for n, part in parts.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def decay_groups(module: nn.Module, decays: Mapping[str, bool]) -> Comparison:
    """Parameters that sit in another weight decay group than recorded.

    Args:
        module: The method.
        decays: Name of a parameter of ours to whether the official code decays it.
    """
    ours: dict[str, bool] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            group = parameter_groups([(name, parameter)], 1.0)
            ours[name] = group[0]["weight_decay"] > 0
    wrong = sum(decays.get(name) != decayed for name, decayed in ours.items())
    return Comparison(
        f"optimizer.groups ({len(ours)})", float(wrong), 0.0, float(wrong), 0.0
    )

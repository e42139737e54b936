"""What the replays of masked autoencoders that read reports share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.encoders.published.official import ecamp_name
from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.methods.base import parameter_groups
from vlp_zoo.methods.mae import MaskedImages
from vlp_zoo.modules import MLMHead
from vlp_zoo.parity.comparison import Comparison, tensor

__all__ = [
    "compare_positions",
    "decay_groups",
    "outputs_of",
    "recorded_images",
    "segments",
    "word_scores",
]


def recorded_images(
    tensors: Mapping[str, Tensor],
    name: str,
    meta: Mapping[str, Any],
    look: tuple[str, str],
    dtype: torch.dtype,
) -> Tensor:
    """The recorded batch, normalised.

    Args:
        tensors: Have it under ``NAME`` as it was read, or under ``NAME_u8`` in bytes.
        name: The name.
        meta: Has the mean and the deviation that bytes are normalised by.
        look: Their names.
        dtype: Arithmetic of the replay.
    """
    if f"{name}_u8" not in tensors:
        return tensors[name].to(dtype)
    mean, std = (meta[key] for key in look)
    images: Tensor = (tensors[f"{name}_u8"].to(dtype) / 255 - mean) / std
    return images


def compare_positions(
    fresh: MaskedImages[Any], state: Mapping[str, Tensor]
) -> Iterator[Comparison]:
    """The tables of positions that our constructor makes against the file's."""
    vit: Any = fresh.image_encoder.timm
    yield tensor("pos_embed", vit.pos_embed, state["pos_embed"], 1e-6)
    table = fresh.decoder.positions
    yield tensor("decoder_pos_embed", table, state["decoder_pos_embed"], 1e-6)


def word_scores(head: MLMHead, states: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What the head says of each token: ``logits``, and ``token_ce`` with the labels."""
    logits = functional.linear(head(states), head.output.weight, head.output.bias)
    ce = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return {"logits": logits, "token_ce": ce}


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


def decay_groups(
    module: nn.Module, groups: Sequence[Mapping[str, Any]], entry: str
) -> Comparison:
    """Parameters that sit in another weight decay group than recorded.

    Args:
        module: The method.
        groups: Official groups, with their ``weight_decay``.
        entry: Where a group has the official names of its parameters.
    """
    decays = {
        ecamp_name(key) or "": group["weight_decay"] > 0
        for group in groups
        for key in group[entry]
    }
    ours: dict[str, bool] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            group = parameter_groups([(name, parameter)], 1.0)
            ours[name] = group[0]["weight_decay"] > 0
    wrong = sum(decays.get(name) != decayed for name, decayed in ours.items())
    return Comparison(
        f"optimizer.groups ({len(ours)})", float(wrong), 0.0, float(wrong), 0.0
    )

"""Activation checkpointing: blocks whose activations are made again in backward.

Chen et al., Training Deep Nets with Sublinear Memory Cost, arXiv 1604.06174. Gradients are
the same; a block keeps its input alone, and its forward pass runs twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, cast

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from vlp_zoo.errors import ConfigError

__all__ = [
    "blocks_of",
    "in_its_way",
    "is_compiled",
    "recompute_blocks",
    "run_otherwise",
]

BACKEND = "inductor"
"""What torch.compile makes code with; the tests take one that needs no C compiler."""

LISTS = ("blocks", "layer")
"""Names of a network's list of blocks: timm's and ours, and that of a BERT."""


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """The transformer blocks of a module's networks, in their order."""
    return [
        block
        for name, part in module.named_modules()
        if name.rpartition(".")[2] in LISTS
        and isinstance(part, (nn.ModuleList, nn.Sequential))
        for block in part
    ]


def recompute_blocks(module: nn.Module) -> int:
    """Let every transformer block of a module forget what it can make again.

    Args:
        module: Networks with lists of blocks, such as a ViT's ``blocks``.

    Returns:
        How many blocks forget.

    Raises:
        ConfigError: If there are none, or if their batch norms would count each batch
            twice.
    """
    blocks = blocks_of(module)
    counting = any(
        isinstance(part, _BatchNorm) for block in blocks for part in block.modules()
    )
    if not blocks or counting:
        raise ConfigError(
            "transformer blocks to compute again (--model.checkpoint_activations)",
            "blocks with batch norm, which would count every batch twice"
            if counting
            else "a network without them",
            "choose a ViT as --model.image_encoder, or leave the option out",
        )
    for block in blocks:
        block.forward = partial(_again, block.forward)
    return len(blocks)


def is_compiled(module: nn.Module) -> bool:
    """Whether ``module.compile()`` was called."""
    return module._compiled_call_impl is not None


def in_its_way(block: nn.Module, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that does the work of a block: compiled, computed again, as the block is.

    Args:
        block: One that `recompute_blocks`, ``compile()`` or ``fully_shard`` may have
            changed.
        function: Takes the place of its forward; not made anew for each call.
    """
    if is_compiled(block):
        function = _compiled(function)
    forgets = getattr(block.forward, "func", None) is _again
    if forgets:
        function = partial(_again, function)
    if isinstance(block, FSDPModule):
        # Its weights are put together by hooks around its own methods only.
        function = partial(cast("Any", block).run_otherwise, function)
    return function


def run_otherwise(
    block: nn.Module, function: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """Run a function in a block's place: a method of blocks that are shared out."""
    return function(*args, **kwargs)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    made: Callable[..., Any] = torch.compile(function, backend=BACKEND)
    return made


def _again(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return function(*args, **kwargs)
    return checkpoint(function, *args, use_reentrant=False, **kwargs)

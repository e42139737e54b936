"""What a method needs of a run, its batches and its losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import (
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
)
from torch import Tensor

from vlp_zoo.errors import BatchFieldError, ConfigError, NonFiniteLossError
from vlp_zoo.methods.options import PretrainOptions
from vlp_zoo.methods.sharing import SharedOut, check_sharing

__all__ = [
    "PRECISIONS",
    "check_batch_size",
    "check_fields",
    "check_finite",
    "check_precision",
    "check_strategy",
]

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
"""Precisions of the Trainer that methods run in: their weights stay in float32."""


class _Reading(Protocol):
    batch_keys: ClassVar[frozenset[str]]
    field_sources: ClassVar[dict[str, str]]


class _Comparing(Protocol):
    least_batch: ClassVar[int]
    options: PretrainOptions


def check_precision(trainer: pl.Trainer) -> None:
    """Refuse a precision in which weights and images would be of different types.

    Args:
        trainer: The trainer of the run.

    Raises:
        ConfigError: If the trainer's precision is not one of `PRECISIONS`.
    """
    if str(trainer.precision) not in PRECISIONS:
        raise ConfigError(
            f"--trainer.precision among {', '.join(PRECISIONS)}",
            f"{trainer.precision}",
            "use bf16-mixed, whose weights stay in single precision, or 32-true",
        )


def check_strategy(trainer: pl.Trainer) -> None:
    """Refuse to share the weights out among processes in a way that is not known.

    Exports, pictures and warm starts read a network as a whole.

    Args:
        trainer: The trainer of the run.

    Raises:
        ConfigError: If a process would hold a part of the weights only, in another way
            than `SharedOut`.
    """
    strategy = trainer.strategy
    if isinstance(strategy, SharedOut):
        check_sharing(trainer)
    elif isinstance(strategy, FSDPStrategy | ModelParallelStrategy | DeepSpeedStrategy):
        raise ConfigError(
            "--trainer.strategy ddp, whose processes hold whole weights, or fsdp2",
            f"{type(strategy).__name__}, which shares them out",
            "use fsdp2, or ddp; --model.checkpoint_activations true saves memory",
        )


def check_batch_size(method: _Comparing, trainer: pl.Trainer) -> None:
    """Refuse batches with nothing to compare; loaders of one's own are not checked.

    Args:
        method: Says how many studies a step needs, and by its options whether the
            processes' count together.
        trainer: The trainer of the run, with its data module.

    Raises:
        ConfigError: If the studies of a step are fewer than the method needs.
    """
    run: Any = trainer  # Lightning sets the data module without declaring it
    size = getattr(run.datamodule, "batch_size", None)
    together = method.options.compares_processes
    processes = trainer.world_size if together else 1
    if size is None or size * processes >= method.least_batch:
        return
    alone = "" if together else ", which are not compared"
    raise ConfigError(
        f"{method.least_batch} studies or more that a step of "
        f"{type(method).__name__} can compare",
        f"batches of {size} on {trainer.world_size} process(es){alone}",
        f"set --data.batch_size {method.least_batch} or more",
    )


def check_fields(method: _Reading, batch: Mapping[str, Any]) -> None:
    """Refuse a batch that lacks a field which the method reads.

    Args:
        method: Says which fields it reads, and which option produces each.
        batch: The first one.

    Raises:
        BatchFieldError: Naming the field and the data option that would produce it.
    """
    for key in sorted(method.batch_keys - set(batch)):
        raise BatchFieldError(
            f"the field {key!r} in each batch ({type(method).__name__} reads it)",
            f"fields {sorted(batch)}",
            method.field_sources.get(key, "choose a data set that has it"),
        )


def check_finite(terms: Mapping[str, Tensor], place: str) -> None:
    """Refuse to go on from a loss that is not a number, which would spoil the weights.

    Args:
        terms: Loss terms by name.
        place: Epoch and batch, for the message.

    Raises:
        NonFiniteLossError: Naming the terms with their values.
    """
    total = torch.stack([term.detach().float() for term in terms.values()]).sum()
    if not bool(torch.isfinite(total)):
        found = {name: float(value.detach()) for name, value in terms.items()}
        raise NonFiniteLossError(
            "finite loss terms",
            f"{found} at {place}",
            "lower --model.learning_rate, set --trainer.gradient_clip_val 1.0, "
            "or use --trainer.precision 32-true",
        )

"""What a method needs of a run, checked before any data are read."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import lightning.pytorch as pl

from vlp_zoo.errors import ConfigError

__all__ = ["PRECISIONS", "check_batch_size", "check_precision"]

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
"""Precisions of the Trainer that methods run in: their weights stay in float32."""


class _Comparing(Protocol):
    least_batch: ClassVar[int]

    @property
    def compares_processes(self) -> bool: ...


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


def check_batch_size(method: _Comparing, trainer: pl.Trainer) -> None:
    """Refuse batches with nothing to compare; loaders of one's own are not checked.

    Args:
        method: Says how many studies a step needs, and whether the processes' count
            together.
        trainer: The trainer of the run, with its data module.

    Raises:
        ConfigError: If the studies of a step are fewer than the method needs.
    """
    run: Any = trainer  # Lightning sets the data module without declaring it
    size = getattr(run.datamodule, "batch_size", None)
    processes = trainer.world_size if method.compares_processes else 1
    if size is None or size * processes >= method.least_batch:
        return
    alone = "" if method.compares_processes else ", which are not compared"
    raise ConfigError(
        f"{method.least_batch} studies or more that a step of "
        f"{type(method).__name__} can compare",
        f"batches of {size} on {trainer.world_size} process(es){alone}",
        f"set --data.batch_size {method.least_batch} or more",
    )

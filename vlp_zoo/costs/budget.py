"""From a counted step to a whole run: memory, the largest batch, steps, hours, disk."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from vlp_zoo.costs.draft import Draft
from vlp_zoo.costs.gpus import GPU
from vlp_zoo.errors import ConfigError

__all__ = [
    "GIB",
    "MOST",
    "Memory",
    "Run",
    "largest_batch",
    "memory_of",
    "room",
    "store_bytes",
]

GIB = 2**30

USABLE = 0.9
"""Share of a GPU's memory that tensors may take; driver, libraries and gaps need some."""

MOST = 2048
"""Where `largest_batch` stops to look."""

STORE_BYTES = 0.3
"""What a store takes for each pixel of a square with the image's short side (`store_bytes`)."""


@dataclass(frozen=True)
class Run:
    """What decides how long a training is.

    Attributes:
        batch: Studies a device sees at once.
        devices: All of them, on all nodes.
        accumulate: Batches before the optimiser moves.
        epochs: None where the run is given in steps.
        most_steps: Optimiser steps at most; None has no limit.
        precision: The Trainer's.
        ema: Whether averaged weights are kept as well.
    """

    batch: int
    devices: int
    accumulate: int
    epochs: int | None
    most_steps: int | None
    precision: str
    ema: bool

    def batches(self, studies: int) -> int:
        """Batches of each device in an epoch; a short last one is dropped.

        Raises:
            ConfigError: If there is not one.
        """
        count = studies // (self.batch * self.devices)
        if not count:
            raise ConfigError(
                f"{self.batch * self.devices:,} training studies or more, one batch of "
                f"{self.batch} on each of {self.devices} device(s)",
                f"{studies:,}",
                "lower --data.batch_size or --trainer.devices, or give more data",
            )
        return count

    def steps(self, studies: int) -> int:
        """Optimiser steps of the whole run."""
        in_epoch = math.ceil(self.batches(studies) / self.accumulate)
        steps = [] if self.epochs is None else [in_epoch * self.epochs]
        steps += [] if self.most_steps is None else [self.most_steps]
        return min(steps)

    def hours(self, studies: int, flops: int, gpu: GPU, share: float) -> float | None:
        """Hours of training at a share of the GPU's peak; validation is not in them.

        Args:
            studies: In the training split.
            flops: Those of a batch of one device.
            gpu: One like each device.
            share: The part of the peak that is reached.

        Returns:
            None where the GPU has no peak in this precision.
        """
        if self.precision not in gpu.peaks:
            return None
        per_epoch = self.batches(studies)
        in_epoch = math.ceil(per_epoch / self.accumulate)
        batches = self.steps(studies) / in_epoch * per_epoch
        return batches * flops / (share * gpu.peaks[self.precision] * 1e12) / 3600


@dataclass(frozen=True)
class Memory:
    """Bytes on each device at the peak of a step.

    Attributes:
        weights: Parameters, in float32.
        gradients: Those of the trained parameters.
        optimiser: Two averages a trained weight, as AdamW keeps them.
        buckets: A second copy of the gradients, in which DDP exchanges them.
        average: Averaged weights, with ``--ema_decay``.
        rest: Activations kept for backward, and what operators make beside them.
    """

    weights: int
    gradients: int
    optimiser: int
    buckets: int
    average: int
    rest: int

    @property
    def total(self) -> int:
        """All of it."""
        kept = self.weights + self.gradients + self.optimiser
        return kept + self.buckets + self.average + self.rest

    def fits(self, gpu: GPU) -> bool:
        """Whether the GPU has room for it, and some to spare."""
        return self.total <= room(gpu)


def room(gpu: GPU) -> int:
    """Bytes that tensors may take."""
    return int(USABLE * gpu.memory * GIB)


def memory_of(draft: Draft, run: Run, peak: int) -> Memory:
    """What a device holds at the peak of a step.

    Args:
        draft: The method.
        run: Devices and averaged weights.
        peak: Bytes that were counted alive at once in the step.
    """
    weights, gradients = 4 * draft.parameters, 4 * draft.trained
    return Memory(
        weights,
        gradients,
        2 * gradients,
        gradients if run.devices > 1 else 0,
        weights if run.ema else 0,
        max(peak - weights - gradients, 0),
    )


def largest_batch(
    need: Callable[[int], int], counted: dict[int, int], limit: int
) -> int:
    """The largest batch that needs no more than a limit.

    It was counted itself. What is larger by one was not: the line through the two counts
    that are nearest says that it has no room.

    Args:
        need: Bytes for a batch, growing nearly in proportion.
        counted: What was counted before, batches to bytes: the weights alone as 0, and
            one batch at least.
        limit: Bytes.

    Returns:
        0 where not even one study has room; `MOST` where that many have.

    Example:
        >>> largest_batch(lambda batch: 100 + 7 * batch, {0: 90, 32: 324}, 1000)
        128
    """
    counted = dict(counted)
    low = max(batch for batch, size in counted.items() if size <= limit or not batch)
    high = min(
        (batch for batch, size in counted.items() if size > limit), default=MOST + 1
    )
    while high - low > 1:
        one, two = sorted(counted, key=lambda batch: abs(counted[batch] - limit))[:2]
        slope = (counted[two] - counted[one]) / (two - one)
        guess = min(int(one + (limit - counted[one]) / slope), high - 1)
        if guess <= low:
            break
        counted[guess] = need(guess)
        if counted[guess] <= limit:
            low = guess
        else:
            high = guess
    return low


def store_bytes(images: int, side: int) -> float:
    """About what a store of ``vlpzoo prepare --size SIDE`` takes on disk.

    2,524 real chest X-rays took 0.26 bytes for each pixel as squares of 224 pixels (JPEG
    of quality 95, as the store has it); larger ones take less, longer ones more.
    """
    return images * (STORE_BYTES * side**2 + 1500)

"""From a counted step to a run: each number by hand, or by what does it for real."""

from __future__ import annotations

import pytest

from vlp_zoo.costs.budget import GIB, MOST, Memory, Run, largest_batch, room
from vlp_zoo.costs.gpus import GPUS
from vlp_zoo.errors import ConfigError
from vlp_zoo.loading import EpochSampler


def run(**changes: object) -> Run:
    values: dict[str, object] = {
        "batch": 8,
        "devices": 3,
        "accumulate": 2,
        "epochs": 5,
        "most_steps": None,
        "precision": "bf16-mixed",
        "ema": False,
    }
    return Run(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("studies", [24, 25, 100, 479])
def test_batches_are_those_of_the_sampler(studies: int) -> None:
    sampler = EpochSampler(studies, batch_size=8, world_size=3, drop_last=True)
    assert run().batches(studies) == len(sampler) // 8


def test_steps_and_hours() -> None:
    # 100 studies: 4 batches of 24, 2 steps an epoch.
    assert run().steps(100) == 10
    # 75: 3 batches, of which the last makes a step of its own.
    assert run().steps(75) == 10
    assert run(most_steps=7).steps(100) == 7
    assert run(epochs=None, most_steps=7).steps(100) == 7
    gpu = GPUS["a100-80"]
    flops = int(0.5 * 312e12 * 3600 / 20)
    assert run().hours(100, flops, gpu, 0.5) == pytest.approx(1)
    assert run().hours(75, flops, gpu, 0.5) == pytest.approx(15 / 20)
    assert run(precision="bf16-mixed").hours(100, flops, GPUS["t4-16"], 0.5) is None
    with pytest.raises(ConfigError, match="24 training studies or more"):
        run().batches(23)


def test_memory_is_the_sum_of_its_parts() -> None:
    memory = Memory(1, 2, 4, 8, 16, 10 * GIB)
    assert memory.total == 31 + 10 * GIB
    assert memory.fits(GPUS["t4-16"])
    assert room(GPUS["t4-16"]) < 16 * GIB
    assert not Memory(0, 0, 0, 0, 0, 16 * GIB).fits(GPUS["t4-16"])


@pytest.mark.parametrize("limit", [50, 107, 900, 5000, 10**9])
@pytest.mark.parametrize("bend", [0.0, 0.01])
def test_the_largest_batch_is_found_with_few_counts(limit: int, bend: float) -> None:
    asked = []

    def need(batch: int) -> int:
        asked.append(batch)
        return int(100 + 7 * batch + bend * batch**2)

    known = {0: 90, 32: need(32)}
    found = largest_batch(need, known, limit)
    fitting = [batch for batch in range(1, MOST + 1) if need(batch) <= limit]
    assert found == max(fitting, default=0)
    assert len(asked) - MOST <= 8

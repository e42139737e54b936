"""Samples, order, collation and exact resume."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from tests.fakes.sources import NoisyTransform, RampSource
from vlp_zoo.errors import BatchFieldError, ConfigError
from vlp_zoo.loading import (
    Draw,
    EpochSampler,
    ResumableLoader,
    SampleKey,
    StudyDataset,
    collate_examples,
    start_worker,
)
from vlp_zoo.types import Study


def make_loader(
    n: int, *, workers: int = 0, seed: int = 3, **sampler: Any
) -> ResumableLoader:
    made = EpochSampler(n, **({"batch_size": 4, "seed": seed} | sampler))
    return ResumableLoader(
        StudyDataset(RampSource(n), NoisyTransform(), seed),
        batch_size=made.batch_size,
        sampler=made,
        num_workers=workers,
        collate_fn=collate_examples,
        worker_init_fn=start_worker,
    )


def indices(sampler: EpochSampler) -> list[int]:
    return [key.index for key in sampler]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 10, 16, 23, 31])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("batch", [1, 4])
def test_every_study_counts_once_and_ranks_stay_in_step(
    n: int, world: int, batch: int
) -> None:
    ranks = [
        EpochSampler(n, batch_size=batch, seed=1, rank=r, world_size=world)
        for r in range(world)
    ]
    drawn = [indices(sampler) for sampler in ranks]
    assert [len(d) for d in drawn] == [len(s) for s in ranks]
    assert len({-(-len(d) // batch) for d in drawn}) == 1
    seen = Counter(i for d in drawn for i in d)
    assert set(seen) == set(range(n))
    tail = n % (world * batch)
    assert sum(seen.values()) - n == (world - tail if 0 < tail < world else 0)


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("n", [16, 21])
def test_two_ranks_of_four_see_the_global_batches_of_one_of_eight(
    n: int, drop_last: bool
) -> None:
    one = EpochSampler(n, batch_size=8, seed=5, drop_last=drop_last)
    two = [
        EpochSampler(n, batch_size=4, seed=5, rank=r, world_size=2, drop_last=drop_last)
        for r in range(2)
    ]
    for epoch in (0, 3):
        for sampler in (one, *two):
            sampler.set_epoch(epoch)
        left, right = indices(two[0]), indices(two[1])
        whole = indices(one)
        joined: list[int] = []
        for first in range(0, n // 8 * 4, 4):
            joined += left[first : first + 4] + right[first : first + 4]
        assert joined == whole[: n // 8 * 8]
        tail = left[n // 8 * 4 :] + right[n // 8 * 4 :]
        assert tail == whole[n // 8 * 8 :]


def test_epochs_differ_and_repeat_from_the_seed() -> None:
    sampler = EpochSampler(50, batch_size=4, seed=1)
    first = indices(sampler)
    sampler.set_epoch(1)
    second = indices(sampler)
    sampler.set_epoch(0)
    assert indices(sampler) == first != second
    assert indices(EpochSampler(50, batch_size=4, seed=2)) != first


def test_without_shuffle_every_epoch_is_epoch_zero() -> None:
    sampler = EpochSampler(5, batch_size=2, shuffle=False)
    sampler.set_epoch(7)
    assert list(sampler) == [SampleKey(0, i) for i in range(5)]


def test_too_small_a_split_is_refused_with_the_numbers() -> None:
    with pytest.raises(ConfigError, match="global batch of 8") as caught:
        EpochSampler(7, batch_size=4, world_size=2, drop_last=True)
    assert "7 studies" in str(caught.value)
    with pytest.raises(ConfigError):
        EpochSampler(0, batch_size=4)


def test_a_sample_hangs_on_seed_epoch_and_index_only() -> None:
    data = StudyDataset(RampSource(9), NoisyTransform(), seed=4)
    again = StudyDataset(RampSource(9), NoisyTransform(), seed=4)
    _ = [again[SampleKey(0, i)] for i in (8, 1, 5)]
    here, there = data[SampleKey(2, 3)], again[SampleKey(2, 3)]
    assert (here["noise"] == there["noise"]).all()
    others = [data[SampleKey(1, 3)], data[SampleKey(2, 4)], data[SampleKey(3, 2)]]
    others.append(
        StudyDataset(RampSource(9), NoisyTransform(), seed=5)[SampleKey(2, 3)]
    )
    for other in others:
        assert (other["noise"] != here["noise"]).any()
    assert (data[3]["noise"] == data[SampleKey(0, 3)]["noise"]).all()


def test_two_workers_equal_none_bit_for_bit() -> None:
    alone = [b for epoch in range(2) for b in epoch_of(make_loader(22), epoch)]
    loader = make_loader(22, workers=2)
    shared = [b for epoch in range(2) for b in epoch_of(loader, epoch)]
    assert len(alone) == len(shared) == 12
    for left, right in zip(alone, shared, strict=True):
        assert left["uid"] == right["uid"]
        for name in ("image", "noise", "labels"):
            assert torch.equal(
                left[name].nan_to_num(nan=-1), right[name].nan_to_num(nan=-1)
            )


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_workers_start_after_cv2_has_made_threads() -> None:
    code = (
        "import cv2, numpy as np\n"
        "from tests.test_loading import make_loader\n"
        "cv2.setNumThreads(4)\n"
        "cv2.GaussianBlur(np.zeros((2000, 2000), np.float32), (0, 0), 5)\n"
        "print(len(list(make_loader(22, workers=2))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.stdout == "6\n", done.stderr


def epoch_of(loader: ResumableLoader, epoch: int) -> list[dict[str, Any]]:
    assert isinstance(loader.sampler, EpochSampler)
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_the_dataset_can_be_sent_to_a_spawned_process() -> None:
    data = StudyDataset(RampSource(3), NoisyTransform(), seed=1)
    key = SampleKey(1, 2)
    twin = pickle.loads(pickle.dumps(data))
    assert (twin[key]["noise"] == data[key]["noise"]).all()


def test_collate_stacks_lists_and_keeps_unknown_labels() -> None:
    data = StudyDataset(RampSource(3), NoisyTransform(), seed=1)
    batch = collate_examples([data[0], data[1]])
    assert batch["uid"] == ["ramp-0000", "ramp-0001"]
    assert batch["image"].shape == (2, 1, 4, 4)
    assert batch["image"].dtype == torch.uint8
    assert batch["labels"].isnan().tolist() == [[False, True], [False, True]]
    assert collate_examples([data[0]])["image"].shape == (1, 1, 4, 4)


def test_collate_takes_tensors_numbers_and_mirrored_arrays() -> None:
    rows = [
        {"t": torch.ones(2), "n": i, "f": 0.5, "m": np.arange(3)[::-1]}
        for i in range(2)
    ]
    batch = collate_examples(rows)
    assert batch["n"].tolist() == [0, 1]
    assert batch["m"].tolist() == [[2, 1, 0]] * 2
    assert batch["t"].shape == (2, 2)
    assert batch["f"].tolist() == [0.5, 0.5]


def test_collate_names_the_field_that_does_not_fit() -> None:
    with pytest.raises(BatchFieldError, match="'ids'"):
        collate_examples([{"ids": np.zeros(3)}, {"ids": np.zeros(4)}])
    with pytest.raises(BatchFieldError, match="boxes"):
        collate_examples([{"a": 1}, {"a": 1, "boxes": 2}])


@pytest.mark.parametrize("workers", [0, 2])
def test_state_names_batches_handed_out_not_prefetched(workers: int) -> None:
    whole = [b["uid"] for b in make_loader(22)]
    loader = make_loader(22, workers=workers)
    walk = iter(loader)
    seen = [next(walk)["uid"], next(walk)["uid"]]
    state = loader.state_dict()
    assert state["batches"] == 2
    fresh = make_loader(22, workers=workers)
    fresh.load_state_dict(state)
    assert seen + [b["uid"] for b in fresh] == whole
    assert [b["uid"] for b in fresh] == whole


def test_state_of_another_epoch_does_not_shorten_this_one() -> None:
    loader = make_loader(22)
    loader.load_state_dict(loader.state_dict() | {"epoch": 1, "batches": 3})
    assert len(epoch_of(loader, 2)) == 6


def test_resuming_inside_an_epoch_with_another_batch_size_is_refused() -> None:
    loader = make_loader(22)
    state = loader.state_dict() | {"batches": 2}
    other = make_loader(22, batch_size=2)
    with pytest.raises(ConfigError, match="global_batch 2 instead of 4"):
        other.load_state_dict(state)
    other.load_state_dict(state | {"batches": 0})


def test_kept_studies_are_read_once_and_transformed_anew() -> None:
    class Counting(RampSource):
        reads = 0

        def __getitem__(self, index: int) -> Study:
            Counting.reads += 1
            return super().__getitem__(index)

    source = Counting(6)
    plain = StudyDataset(source, NoisyTransform(), seed=3)
    kept = StudyDataset(source, NoisyTransform(), seed=3, keep=4)
    keys = [SampleKey(epoch, index) for epoch in range(3) for index in range(6)]
    expected = [plain[key] for key in keys]
    Counting.reads = 0
    for key, example in zip(keys, expected, strict=True):
        again = kept[key]
        assert again["uid"] == example["uid"]
        assert np.array_equal(again["noise"], example["noise"])
    assert Counting.reads == 4 + 2 * 3


def test_an_epoch_shows_what_is_drawn_for_it() -> None:
    groups = ["a"] * 6 + ["b"] * 2 + ["c"]
    draw = Draw.of([1, 3, 5, 7, 9, 11, 12, 13, 20], groups)
    assert draw.turns().tolist() == [0, 1, 2] * 3

    def keys(rank: int = 0, world: int = 1, epoch: int = 0) -> list[SampleKey]:
        made = EpochSampler(
            99, batch_size=4 // world, rank=rank, world_size=world, draw=draw, seed=3
        )
        made.set_epoch(epoch)
        return list(made)

    one = keys()
    assert len(one) == 9
    counts = [sum(k.index in part for k in one) for part in ((12, 13), (20,))]
    assert counts == [3, 3]
    # A study that is shown again is another sample.
    again = [key.repeat for key in one if key.index == 20]
    assert again == [0, 1, 2]
    data = StudyDataset(RampSource(21), NoisyTransform(), seed=3)
    first, second = data[SampleKey(0, 20)], data[SampleKey(0, 20, 1)]
    assert (first["noise"] != second["noise"]).any()
    # Two processes see together what one sees, epochs differ, and one group is all once.
    halves = [keys(rank, 2) for rank in range(2)]
    assert [*halves[0][:2], *halves[1][:2]] == one[:4]
    assert keys(epoch=1) != one
    plain = Draw.of([4, 2, 8], ["a"] * 3)
    assert sorted(plain(np.random.default_rng(0))) == [2, 4, 8]

"""From a source to batches: seeded samples, one global order, exact resume.

Two rules make runs repeatable. A sample depends on ``(seed, epoch, index)`` alone, so
worker count, rank and resume point cannot change it. The order of an epoch is one
permutation drawn from ``(seed, epoch)``, cut into global batches of
``world_size * batch_size`` studies; rank r takes the r-th contiguous part of each, so
two ranks of four see together what one process of eight sees.

The trainer must run with ``use_distributed_sampler=False``; Lightning would otherwise
replace the sampler by its own.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from vlp_zoo.errors import BatchFieldError, ConfigError
from vlp_zoo.types import Example, Study, StudySource, Transform

__all__ = [
    "Draw",
    "EpochSampler",
    "ResumableLoader",
    "SampleKey",
    "StudyDataset",
    "collate_examples",
    "start_worker",
]


class SampleKey(NamedTuple):
    """Which draw of which study: everything random about a sample hangs on it."""

    epoch: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    repeat: int = 0
    """How often the study came before in this epoch."""


Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Draw:
    """Which studies an epoch shows, where that is not each of them once.

    Attributes:
        indices: (n,) the studies that may be shown.
        groups: (n,) group of each, from 0 on; None shows each study once. Groups take
            turns, and each gives one of its studies, drawn with replacement, so that all
            have the same share of the n places.
    """

    indices: Indices
    groups: Indices | None = None

    @classmethod
    def of(cls, indices: Sequence[int], names: Sequence[str] = ()) -> Draw:
        """A draw with the groups by name, in the order of the names."""
        shown = np.asarray(indices, np.int64)
        if len(set(names)) < 2:
            return cls(shown)
        _, groups = np.unique(np.asarray(names), return_inverse=True)
        return cls(shown, groups.astype(np.int64))

    def __len__(self) -> int:
        return len(self.indices)

    def turns(self) -> Indices:
        """(n,) the group whose turn each place is, before shuffling."""
        groups = 1 if self.groups is None else int(self.groups.max()) + 1
        return np.arange(len(self)) % groups

    def __call__(self, rng: np.random.Generator) -> Indices:
        """(n,) studies in the order of an epoch."""
        if self.groups is None:
            return rng.permutation(self.indices)
        turns = rng.permutation(self.turns())
        order = np.empty_like(turns)
        for group in range(int(turns.max()) + 1):
            places = np.flatnonzero(turns == group)
            members = self.indices[self.groups == group]
            order[places] = rng.choice(members, len(places))
        return order


def _repeats(order: Indices) -> Indices:
    """How often each entry came before.

    Example:
        >>> _repeats(np.array([5, 6, 5, 5])).tolist()
        [0, 0, 1, 2]
    """
    places = order.argsort(kind="stable")
    ordered, count = order[places], np.arange(len(order))
    starts = np.append(True, ordered[1:] != ordered[:-1])[: len(order)]
    repeats = np.empty_like(order)
    repeats[places] = count - np.maximum.accumulate(np.where(starts, count, 0))
    return repeats


class StudyDataset(Dataset[Example]):
    """Examples of a source, each with a generator of its own.

    Args:
        source: Studies of one split.
        transform: Study to example; picklable, draws from its generator only.
        seed: Seed of the run.
        keep: Studies to keep in memory; the transform runs anew every time.
    """

    def __init__(
        self, source: StudySource, transform: Transform, seed: int, keep: int = 0
    ) -> None:
        self.source = source
        self.transform = transform
        self.seed = seed
        self.keep = keep
        self._kept: dict[int, Study] = {}

    def study(self, index: int) -> Study:
        """One study, from memory where it is kept."""
        found = self._kept.get(index)
        if found is None:
            found = self.source[index]
            if len(self._kept) < self.keep:
                self._kept[index] = found
        return found

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: SampleKey | int) -> Example:
        """The example of ``key``; a bare index means epoch 0.

        Bare indices come from ``Trainer(overfit_batches=...)``, which puts a
        sequential sampler in place of ours and wants the same samples every epoch.
        """
        epoch, index, repeat = key if isinstance(key, tuple) else (0, key, 0)
        place = (epoch, index, repeat) if repeat else (epoch, index)
        rng = np.random.default_rng((self.seed, *place))
        return self.transform(self.study(index), rng)


class EpochSampler(Sampler[SampleKey]):
    """The studies of one rank, in the global order of the epoch.

    The last global batch may be short, of ``m < world_size * batch_size`` studies.
    ``drop_last=True`` leaves it out. Otherwise it is spread over the ranks in parts
    that differ by one at most, so that every study counts exactly once; only where
    ``m < world_size`` do the ``world_size - m`` ranks without one repeat a study,
    because all ranks must run the same number of batches.

    Args:
        n: Number of studies.
        batch_size: Studies per batch and rank.
        seed: Seed of the run.
        shuffle: Draw a new permutation each epoch. Without it the order is the
            source's and every epoch counts as epoch 0, so that validation makes the
            same random draws each time and its values compare between epochs.
        rank: This process.
        world_size: Number of processes.
        drop_last: Leave out a short last global batch.
        draw: Which of the studies an epoch shows; None shows each once. Needs
            ``shuffle``, and has a number of its own in place of ``n``.

    Raises:
        ConfigError: If there is not a single full global batch and ``drop_last``.
    """

    def __init__(
        self,
        n: int,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        draw: Draw | None = None,
    ) -> None:
        n = n if draw is None else len(draw)
        self.draw = draw
        self.global_batch = batch_size * world_size
        if n == 0 or (drop_last and n < self.global_batch):
            raise ConfigError(
                f"at least one global batch of {self.global_batch} studies "
                f"(batch size {batch_size} on {world_size} process(es))",
                f"a split of {n} studies",
                "lower --data.batch_size or the number of devices, or give more data",
            )
        self.n = n
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.drop_last = drop_last
        self.epoch = 0
        self._skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration yields."""
        self.epoch = epoch

    def skip_batches(self, batches: int) -> None:
        """Leave out that many batches at the start of the next iteration only."""
        self._skip = batches

    def order(self) -> npt.NDArray[np.int64]:
        """The global order of this epoch, the same on every rank."""
        if not self.shuffle:
            return np.arange(self.n)
        rng = np.random.default_rng((self.seed, self.epoch))
        return rng.permutation(self.n) if self.draw is None else self.draw(rng)

    def __len__(self) -> int:
        full, tail = divmod(self.n, self.global_batch)
        return full * self.batch_size + (0 if self.drop_last else len(self._part(tail)))

    def __iter__(self) -> Iterator[SampleKey]:
        skip, self._skip = self._skip, 0
        epoch = self.epoch if self.shuffle else 0
        order = self.order()
        repeats = np.zeros_like(order) if self.draw is None else _repeats(order)
        full, tail = divmod(self.n, self.global_batch)
        for batch in range(skip, full):
            first = batch * self.global_batch + self.rank * self.batch_size
            for place in range(first, first + self.batch_size):
                yield SampleKey(epoch, int(order[place]), int(repeats[place]))
        if not self.drop_last and skip <= full:
            for offset in self._part(tail):
                place = full * self.global_batch + offset
                yield SampleKey(epoch, int(order[place]), int(repeats[place]))

    def _part(self, tail: int) -> list[int]:
        """Offsets of this rank inside a last global batch of ``tail`` studies."""
        if tail == 0:
            return []
        first = self.rank * tail // self.world_size
        last = (self.rank + 1) * tail // self.world_size
        return list(range(first, last)) or [first]


class ResumableLoader(DataLoader[Example]):
    """A loader that goes on, after a checkpoint, with the batches not yet learnt from.

    Lightning calls `state_dict` whenever it writes a checkpoint and `load_state_dict`
    before the first epoch of a resumed run, and it asks for an iterator *before* it
    tells the sampler the epoch. Hence the workers start with the first batch asked
    for and not with the iterator: what they prefetch is then of the right epoch, from
    the right place. Batches that workers have prefetched but the trainer has not been
    given do not count.

    Args:
        *args: Arguments of `torch.utils.data.DataLoader`; ``sampler`` is an
            `EpochSampler`.
        place: The trainer's own epoch and number of finished batches in it. Where
            given it decides the starting place, for two reasons: a checkpoint written
            in the middle of a step (Slurm's signal, an exception) was handed one batch
            more than it learnt from; and after resuming a run counted in steps from
            the end of an epoch, Lightning 2.6 tells samplers an epoch one too high.
        **kwargs: Arguments of `torch.utils.data.DataLoader`.
    """

    def __init__(
        self,
        *args: Any,
        place: Callable[[], tuple[int, int]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.place = place
        self._resume: tuple[int, int] | None = None
        self._handed_out = 0

    def __iter__(self) -> Iterator[Example]:  # type: ignore[override]
        # A generator: nothing below runs until the first batch is asked for.
        if self.num_workers > 0:
            start_worker()
        sampler = self.sampler
        start = 0
        if isinstance(sampler, EpochSampler):
            epoch, start = self._start(sampler.epoch)
            sampler.set_epoch(epoch)
            sampler.skip_batches(start)
        self._handed_out = start
        for batch in super().__iter__():
            self._handed_out += 1
            yield batch

    def _start(self, epoch: int) -> tuple[int, int]:
        resume, self._resume = self._resume, None
        if self.place is not None:
            return self.place()
        return resume if resume is not None and resume[0] == epoch else (epoch, 0)

    def state_dict(self) -> dict[str, int]:
        """The place in the data: the same numbers on every rank."""
        sampler = self.sampler
        if not isinstance(sampler, EpochSampler):
            return {}
        return {
            "epoch": sampler.epoch,
            "batches": self._handed_out,
            "global_batch": sampler.global_batch,
            "studies": sampler.n,
            "seed": sampler.seed,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to the place a state names.

        Raises:
            ConfigError: If the place is inside an epoch and the data, the seed or the
                global batch differ, so that nothing would tell seen from unseen.
        """
        sampler = self.sampler
        if not state or not isinstance(sampler, EpochSampler):
            return
        now = self.state_dict()
        changed = [
            f"{key} {now[key]} instead of {state[key]}"
            for key in ("global_batch", "studies", "seed")
            if now[key] != state[key]
        ]
        inside = 0 < state["batches"] < state["studies"] // state["global_batch"]
        if inside and changed:
            raise ConfigError(
                f"the data order of batch {state['batches']} of epoch {state['epoch']},"
                " where the checkpoint was written",
                ", ".join(changed),
                "resume with the settings of the checkpoint, or from one written at "
                "the end of an epoch",
            )
        sampler.set_epoch(state["epoch"])
        self._resume = (state["epoch"], state["batches"])
        self._handed_out = state["batches"]


def collate_examples(examples: Sequence[Example]) -> dict[str, Any]:
    """Stack the examples of a batch, field by field.

    Arrays, tensors and numbers become one tensor with the batch in front; strings and
    everything else become a list in batch order. Nothing is sorted, so the i-th entry
    of every field belongs to the i-th example. Where some images are grey and some in
    colour, the grey ones get three equal channels.

    Args:
        examples: At least one example; all with the same fields.

    Raises:
        BatchFieldError: If a field is missing in some examples or differs in shape.
    """
    fields = list(examples[0])
    for example in examples:
        if example.keys() != examples[0].keys():
            odd = sorted(example.keys() ^ examples[0].keys())
            raise BatchFieldError(
                f"the fields {fields} in every example of a batch",
                f"{odd} in some examples only",
                "let the transform return the same fields for every study",
            )
    return {name: _stack(name, [e[name] for e in examples]) for name in fields}


def _stack(name: str, values: list[Any]) -> Any:
    first = values[0]
    if not isinstance(first, np.ndarray | torch.Tensor | np.generic | int | float):
        return values
    shapes = {tuple(np.shape(value)) for value in values}
    if name.startswith("image") and {shape[:-2] for shape in shapes} == {(1,), (3,)}:
        values = [np.broadcast_to(v, (3, *np.shape(v)[1:])) for v in values]
        shapes = {tuple(np.shape(value)) for value in values}
    if len(shapes) > 1:
        raise BatchFieldError(
            f"one shape for the field {name!r} in all examples of a batch",
            f"shapes {', '.join(map(str, sorted(shapes)))}",
            "pad or crop in the transform, or give the method a collate of its own",
        )
    if isinstance(values[0], torch.Tensor):
        return torch.stack(values)
    # numpy does the copy: torch refuses the negative strides of a mirrored image.
    return torch.from_numpy(np.stack(values))


def start_worker(worker_id: int = 0) -> None:
    """Keep cv2 to one thread in this process; parallelism comes from the processes.

    Called in the parent before it forks as well: cv2's pool does not survive a fork,
    and a child that resized a pool it inherited would wait for its threads forever.
    (torch does the same for its own threads.)
    """
    import cv2

    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)
    if get_worker_info() is not None:
        # Looking for circles among what the parent had made would copy all of it.
        gc.freeze()

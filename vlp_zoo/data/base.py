"""What all data modules for pre-training share: loaders, and the check of files.

`PairsDataModule` turns three sources (train, val, test) into loaders that run the
method's own transform; a subclass only says where the studies come from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch.distributed as dist

from vlp_zoo.allocator import uncollected
from vlp_zoo.data import DATAMODULES
from vlp_zoo.data.contexts import join_contexts
from vlp_zoo.data.packed import Address, open_packed, pack
from vlp_zoo.data.precheck import usable
from vlp_zoo.data.studies import FileStudies
from vlp_zoo.errors import ConfigError, StoreError
from vlp_zoo.loading import (
    Draw,
    EpochSampler,
    ResumableLoader,
    StudyDataset,
    collate_examples,
    start_worker,
)
from vlp_zoo.reports.sections import READING
from vlp_zoo.types import StudySource, Transform

__all__ = ["OnDisk", "PairsDataModule"]

logger = logging.getLogger(__name__)


class PairsDataModule(L.LightningDataModule):
    """Serves studies with reports to whichever method the trainer runs.

    The trainer's module gives the transform (``make_transform(train=...)``) and, if it
    has one, ``collate``. Training drops a short last batch; validation, test and
    prediction count every study once.

    Args:
        batch_size: Studies per batch and device.
        num_workers: Loader processes per device; 0 loads in the training process.
        seed: Seed of the order and of every random draw in a transform.
        context: CSV or JSON-lines file of distilled contexts, joined by uid or image
            name; None leaves it to the method to distil them by rule.
        start_method: How loader processes start: fork, forkserver or spawn; None is
            the platform's own choice.
        keep_studies: Studies that each loader process keeps in memory once they are
            decoded or drawn; 0 keeps none. Pays for small sets that are costly to
            make, best with one loader process, which then sees every study.
    """

    has_reports = True
    """False for data sets of images and labels alone."""

    def __init__(
        self,
        *,
        batch_size: int = 32,
        num_workers: int = 2,
        seed: int = 0,
        context: str | None = None,
        start_method: Literal["fork", "forkserver", "spawn"] | None = None,
        keep_studies: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or num_workers < 0:
            raise ConfigError(
                "data.batch_size of 1 or more and data.num_workers of 0 or more",
                f"batch_size {batch_size}, num_workers {num_workers}",
                "correct the two options",
            )
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.context = context
        self.start_method = start_method
        self.keep_studies = keep_studies

    # What a data set writes -----------------------------------------------------

    def _sources(self) -> dict[str, StudySource]:
        """The splits by name: train, val and test; an empty one may be missing."""
        raise NotImplementedError

    # What everybody reads -------------------------------------------------------

    @cached_property
    def sources(self) -> dict[str, StudySource]:
        """Splits by name, with contexts from the side file if there is one."""
        sources = self._sources()
        if self.context is None:
            return sources
        return join_contexts(sources, Path(self.context))

    @property
    def pretraining_sources(self) -> list[str]:
        """Short names of the data sets that a training on it sees.

        As after ``--data``; a prepared store has the name of what it was made of, and a
        table of one's own that of its file, since nothing else tells what is in it.
        """
        place = f"{type(self).__module__}.{type(self).__qualname__}"
        names = {path: name for name, path in DATAMODULES.items()}
        name = names.get(place, type(self).__name__)
        if name == "prepared":
            description = getattr(self.sources["train"], "description", {})
            name = str(description.get("name", name))
        elif name == "pairs":
            name = f"pairs:{Path(getattr(self, 'path', '')).name}"
        return [name]

    @property
    def licence(self) -> str:
        """Terms of the data, as far as a card of the data set says them."""
        return "unknown"

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the label columns, in order; possibly none."""
        return next(iter(self.sources.values())).label_names

    def corpus(self) -> Iterator[str]:
        """Texts of the training split, to learn a vocabulary from."""
        if not self.has_reports:
            raise self._without_reports("a vocabulary")
        return (report.body for report in self.sources["train"].reports())

    @property
    def corpus_fingerprint(self) -> str:
        """SHA-256 that changes with the training studies and with how texts are read."""
        known = f"{READING} {self.sources['train'].fingerprint}"
        return sha256(known.encode()).hexdigest()

    def setup(self, stage: str | None = None) -> None:
        """Open the splits, so that errors show before any network is built."""
        _ = self.sources

    def make_loader(
        self,
        split: str,
        transform: Transform,
        *,
        train: bool = False,
        collate: Callable[[Any], Any] | None = None,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
        place: Callable[[], tuple[int, int]] | None = None,
        draw: Draw | None = None,
    ) -> ResumableLoader:
        """A loader of one split, also without a trainer.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            transform: Study to example.
            train: Shuffle, and drop a short last batch.
            collate: List of examples to batch; None = `collate_examples`.
            rank: This process.
            world_size: Number of processes.
            pin_memory: Copy batches to page-locked memory, for CUDA.
            place: Where in an epoch to go on, see `ResumableLoader`.
            draw: Which studies an epoch of training shows; None shows each once.

        Raises:
            ConfigError: If there is no such split, or less than a batch to train on.
        """
        if split not in self.sources:
            raise ConfigError(
                f"the split {split!r}",
                f"{type(self).__name__} has {', '.join(self.sources)}",
                "give the data a split of that name, or leave this stage out",
            )
        source = self.sources[split]
        workers = self.num_workers
        return ResumableLoader(
            StudyDataset(source, transform, self.seed, self.keep_studies),
            batch_size=self.batch_size,
            sampler=EpochSampler(
                len(source),
                batch_size=self.batch_size,
                seed=self.seed,
                shuffle=train,
                rank=rank,
                world_size=world_size,
                drop_last=train,
                draw=draw,
            ),
            num_workers=workers,
            collate_fn=collate or collate_examples,
            pin_memory=pin_memory,
            worker_init_fn=start_worker,
            persistent_workers=workers > 0,
            multiprocessing_context=self.start_method if workers > 0 else None,
            place=place,
        )

    # Lightning's hooks ----------------------------------------------------------

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Count the longest report while it is on the host: on a device it is a wait."""
        if "attention_mask" not in batch:
            return batch
        masks = [
            batch[name] for name in ("attention_mask", "second_mask") if name in batch
        ]
        return {**batch, "longest": max(int(mask.sum(1).max()) for mask in masks)}

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled training batches; resumes inside an epoch."""
        return self._trainer_loader("train", train=True)

    def val_dataloader(self) -> ResumableLoader | list[Any]:
        """Validation batches in fixed order; none if the split is empty."""
        return self._trainer_loader("val") if self._has("val") else []

    def test_dataloader(self) -> ResumableLoader:
        """Test batches in fixed order."""
        return self._trainer_loader("test")

    def predict_dataloader(self) -> ResumableLoader:
        """The test split again, for embeddings."""
        return self._trainer_loader("test")

    def _has(self, split: str) -> bool:
        return split in self.sources and len(self.sources[split]) > 0

    def _without_reports(self, who: str) -> ConfigError:
        return ConfigError(
            f"reports for {who} to learn from",
            f"{type(self).__name__} has images and labels only",
            "train on a data set with reports, or choose --model mae",
        )

    def _trainer_loader(self, split: str, train: bool = False) -> ResumableLoader:
        trainer = self.trainer
        module: Any = trainer.lightning_module if trainer is not None else None
        if trainer is None or not hasattr(module, "make_transform"):
            raise ConfigError(
                "a trainer whose module has make_transform(train=...)",
                "no trainer" if trainer is None else type(module).__name__,
                "use Trainer.fit(method, datamodule=...), or make_loader(...) directly",
            )
        if not self.has_reports and getattr(module, "reads_reports", True):
            raise self._without_reports(type(module).__name__)
        # Lightning has no public way to ask.
        own_sampler = not trainer._accelerator_connector.use_distributed_sampler
        if trainer.world_size > 1 and not own_sampler:
            raise ConfigError(
                "Trainer(use_distributed_sampler=False)",
                f"True on {trainer.world_size} processes, which would replace the "
                "sampler and with it the order and the resume point",
                "set --trainer.use_distributed_sampler false",
            )

        draw = None
        if train and hasattr(module, "training_draw"):
            draw = module.training_draw(self.sources[split])

        def place() -> tuple[int, int]:
            progress = trainer.fit_loop.epoch_loop.batch_progress
            return trainer.current_epoch, progress.current.ready

        return self.make_loader(
            split,
            module.make_transform(train=train),
            train=train,
            collate=getattr(module, "collate", None),
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            pin_memory=trainer.strategy.root_device.type == "cuda",
            place=place if train else None,
            draw=draw,
        )


class OnDisk(PairsDataModule):
    """Pairs in files: every row is checked before training, once.

    Args:
        on_error: "raise" to stop at unusable rows, "skip" to go on without them.
        rejects_path: CSV file that lists unusable rows; None is rejects.csv in the
            trainer's default root folder.
        precheck: False trusts the files, and stops at a bad one when it comes.
        **kwargs: Further options of `PairsDataModule`.
    """

    def __init__(
        self,
        *,
        on_error: Literal["raise", "skip"] = "raise",
        rejects_path: str | None = None,
        precheck: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not precheck and (on_error != "raise" or rejects_path is not None):
            given = "on_error" if on_error != "raise" else "rejects_path"
            raise ConfigError(
                f"--data.{given} with the check of all files, which reads it",
                "--data.precheck false",
                f"leave out --data.precheck false, or --data.{given}",
            )
        self.on_error = on_error
        self.rejects_path = rejects_path
        self.precheck = precheck
        self._packed: dict[str, Address] = {}

    def _read(self) -> tuple[FileStudies, list[str]]:
        """All rows of the data set, and the split of each."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Read and check the rows on one process per node; the others map the outcome."""
        _ = self.sources

    def setup(self, stage: str | None = None) -> None:
        """Open the splits: on other processes those that the first one of the node has."""
        trainer = self.trainer
        if trainer is not None and dist.is_available() and dist.is_initialized():
            told: list[Any] = [None] * trainer.world_size
            first = (
                (trainer.node_rank, self._packed) if trainer.local_rank == 0 else None
            )
            dist.all_gather_object(told, first)
            self._packed = dict(filter(None, told))[trainer.node_rank]
        super().setup(stage)

    def _sources(self) -> dict[str, StudySource]:
        try:
            taken = {
                s: open_packed(*place).studies() for s, place in self._packed.items()
            }
        except StoreError as error:
            # A cache that only the other process sees: slower, and the same studies.
            logger.warning("%s; the tables are read again", error.found)
            taken = {}
        return dict(taken or self._checked())

    def _checked(self) -> dict[str, FileStudies]:
        with uncollected():
            studies, splits = self._read()
        kept = list(range(len(studies)))
        if self.precheck:
            kept = usable(
                studies,
                on_error=self.on_error,
                need_report=self.has_reports,
                rejects_path=self._rejects_path(),
            )
        sources: dict[str, FileStudies] = {}
        places: dict[str, Address | None] = {}
        for split in ("train", "val", "test"):
            indices = [i for i in kept if splits[i] == split]
            if indices:
                part = studies.subset(indices, f"{studies.name} {split}")
                sources[split], places[split] = pack(part)
        # All or none: half of the splits would spare nobody the tables.
        if all(places.values()):
            self._packed = {s: place for s, place in places.items() if place}
        return sources

    def _rejects_path(self) -> Path | None:
        if self.rejects_path is not None:
            return Path(self.rejects_path)
        if self.trainer is not None:
            return Path(self.trainer.default_root_dir) / "rejects.csv"
        return None

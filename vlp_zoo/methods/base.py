"""VLPModule: everything about pre-training that is not a method's own idea.

A method implements four things: ``build`` (its networks), ``make_transform`` (study
to example, in the workers), ``losses`` (batch to named, weighted scalars) and
optionally ``pictures``. The base owns the tokenizer, the optimiser and schedule,
seeding, logging, and the alarms (missing field, non-finite loss, collapse).
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.errors import (
    BatchFieldError,
    ConfigError,
    NonFiniteLossError,
    UnknownNameError,
)
from vlp_zoo.methods import known_methods
from vlp_zoo.methods.needs import check_batch_size, check_precision
from vlp_zoo.methods.optimisation import parameter_groups, warmup_cosine
from vlp_zoo.methods.warm_start import normalisation, restore_normalisation
from vlp_zoo.types import Transform

__all__ = [
    "VLPModule",
    "load_method",
    "method_class",
    "parameter_groups",
    "warmup_cosine",
]

BatchT = TypeVar("BatchT", bound=Mapping[str, Any])


class VLPModule(pl.LightningModule, Generic[BatchT]):
    """Base of all pre-training methods.

    Networks are made in ``build``, which runs once the vocabulary is known: at the
    start of a fit, when a checkpoint is loaded, or by hand through
    ``configure_model()``.

    Args:
        learning_rate: Peak learning rate of AdamW (absolute, not scaled).
        weight_decay: Weight decay of matrices; vectors and biases have none.
        betas: AdamW's two averaging coefficients.
        warmup_epochs: Length of the linear warm-up, in epochs (fractions allowed).
        schedule_epochs: Epoch at which the cosine reaches 0; None = the last one.
        tokenizer: ``"corpus"`` trains a WordPiece vocabulary on the training reports
            (cached); else a vocab.txt, a tokenizer.json, a local folder or a hub name.
        vocab_size: Size of a corpus vocabulary; ignored with a ready tokenizer.
    """

    batch_keys: ClassVar[frozenset[str]] = frozenset()
    """Fields that ``losses`` reads; checked on the first batch."""
    reads_reports: ClassVar[bool] = True
    """Whether data sets without reports are of no use to the method."""
    field_sources: ClassVar[dict[str, str]] = {}
    """Field to the data option that produces it, for the error message."""

    least_batch: ClassVar[int] = 1
    """Studies that a step must see together; a contrast of one pair teaches nothing."""

    has_text_head: ClassVar[bool] = False
    """Whether images and texts meet in a joint space (`embed_images`, `embed_texts`)."""

    image_encoder: ImageEncoder
    """What the run is for: exported after every epoch."""

    def __init__(
        self,
        *,
        learning_rate: float,
        weight_decay: float,
        betas: list[float],
        warmup_epochs: float,
        schedule_epochs: float | None,
        tokenizer: str = "corpus",
        vocab_size: int = 30000,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if len(betas) != 2:
            raise ConfigError(
                "two values in --model.betas",
                f"{betas}",
                "give a list such as [0.9, 0.95]",
            )
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.betas = betas
        self.warmup_epochs = warmup_epochs
        self.schedule_epochs = schedule_epochs
        self.tokenizer_name = tokenizer
        self.vocab_size = vocab_size
        self.tokenizer: ReportTokenizer | None = None
        self._built = False
        self._checked = False
        self._watched: Tensor | None = None
        self._loaded_steps = 0

    # What a method writes -------------------------------------------------------

    def build(self) -> None:
        """Create the networks; ``vocab_size`` and ``tokenizer`` are set by now."""
        raise NotImplementedError

    def losses(self, batch: BatchT) -> dict[str, Tensor]:
        """Weighted scalar loss terms, named as in the paper."""
        raise NotImplementedError

    def make_transform(self, train: bool) -> Transform:
        """What the workers run on a study: augment, tokenize, mark spans."""
        raise NotImplementedError

    def card_facts(self) -> dict[str, Any]:
        """What the card of the exported encoder says about this run of the method."""
        return {}

    def pictures(self, batch: BatchT) -> dict[str, Tensor | str]:
        """Images ((3, H, W) in 0..1) and texts that explain the method on a batch."""
        return {}

    def embed_images(self, images: Tensor) -> Tensor:
        """Images, (B, 1 or 3, H, W) uint8, in the joint space: (B, E), unit length."""
        raise self._no_text_head()

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Reports or prompts in the joint space: (B, E), unit length."""
        raise self._no_text_head()

    def embed_patches(self, images: Tensor) -> Tensor | None:
        """Places of images in the joint space: (B, E, h, w) of unit length along E.

        None where a method aligns whole images only.
        """
        return None

    def embed_phrases(self, texts: Sequence[str]) -> Tensor:
        """Phrases beside places: (B, E), unit length, in the space of `embed_patches`.

        The same as `embed_texts` unless a method aligns parts in a space of their own.
        """
        return self.embed_texts(texts)

    def _no_text_head(self) -> ConfigError:
        return ConfigError(
            "a method that aligns images with texts",
            f"{type(self).__name__}, which has no joint space",
            "use its image encoder alone, or another method",
        )

    def watch(self, embeddings: Tensor) -> None:
        """Hand (B, D) image embeddings to the collapse alarm."""
        self._watched = embeddings.detach()

    @property
    def compares_processes(self) -> bool:
        """Whether the studies of a step are those of all processes together."""
        return True

    def configure_callbacks(self) -> list[pl.Callback]:
        """Refuse what cannot be trained (Lightning's first hook, before data)."""
        check_precision(self.trainer)
        if self.trainer.state.fn == TrainerFn.FITTING:
            check_batch_size(self, self.trainer)
        return []

    # Tokenizer and construction -------------------------------------------------

    def setup(self, stage: str) -> None:
        """Fix the tokenizer before the networks are built (Lightning's hook)."""
        if self.tokenizer is None:
            self._use_tokenizer(self._find_tokenizer())

    def continued(self, *options: str) -> Mapping[str, Any] | None:
        """The checkpoint that this run continues or looks at.

        Args:
            options: Hyper-parameters that must be what they were there.

        Returns:
            None where there is none, or an option was changed.
        """
        place = getattr(self._trainer, "ckpt_path", None)
        if place is None or not Path(place).is_file():
            return None
        # Mapped: only what is asked for is read.
        file = torch.load(place, map_location="cpu", weights_only=True, mmap=True)
        then = file.get("hyper_parameters", {})
        same = all(then.get(name) == self.hparams.get(name) for name in options)
        return file if same else None

    def _find_tokenizer(self) -> ReportTokenizer:
        if self.tokenizer_name != "corpus":
            stored = self.continued("tokenizer", "text_model") or {}
            if "tokenizer_json" in stored:
                return ReportTokenizer.from_json(stored["tokenizer_json"])
            return self.load_tokenizer(self.tokenizer_name)
        data = getattr(self.trainer, "datamodule", None)
        if data is None or not hasattr(data, "corpus"):
            raise ConfigError(
                "training reports to learn a vocabulary from (tokenizer='corpus')",
                "no data module with a corpus",
                "pass --model.tokenizer FILE (vocab.txt or tokenizer.json)",
            )
        return ReportTokenizer.for_corpus(
            data.corpus, data.corpus_fingerprint, self.vocab_size
        )

    def load_tokenizer(self, name: str) -> ReportTokenizer:
        """The tokenizer of that name: a WordPiece vocabulary."""
        return ReportTokenizer.load(name)

    def _use_tokenizer(self, tokenizer: ReportTokenizer) -> None:
        self.tokenizer = tokenizer
        self.vocab_size = tokenizer.vocab_size

    def configure_model(self) -> None:
        """Build the networks once, from the seed alone (Lightning's hook)."""
        if not self._built:
            torch.manual_seed(self.seed)
            self.build()
            self._built = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the class's name, and the vocabulary the weights were trained on."""
        checkpoint["method_class"] = f"{type(self).__module__}.{type(self).__name__}"
        checkpoint["normalisation"] = normalisation(
            getattr(self, "image_encoder", None)
        )
        if self.tokenizer is not None:
            checkpoint["tokenizer_json"] = self.tokenizer.to_json()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the vocabulary and the networks before the weights are copied."""
        self._loaded_steps = int(checkpoint.get("global_step", 0))
        stored = checkpoint.get("tokenizer_json")
        if stored is not None:
            tokenizer = ReportTokenizer.from_json(stored)
            if self._built and tokenizer.vocab_size != self.vocab_size:
                raise ConfigError(
                    f"the checkpoint's vocabulary ({tokenizer.vocab_size} tokens)",
                    f"networks built for {self.vocab_size} tokens",
                    "drop --model.tokenizer, or start a new run",
                )
            self._use_tokenizer(tokenizer)
        self.configure_model()
        restore_normalisation(getattr(self, "image_encoder", None), checkpoint)

    # One step -------------------------------------------------------------------

    @property
    def seed(self) -> int:
        """The run's seed, as Lightning's ``seed_everything`` recorded it."""
        return int(os.environ.get("PL_GLOBAL_SEED", "0"))

    @property
    def trained_steps(self) -> int:
        """Optimiser steps behind the weights, also where no fit is running."""
        return max(self.global_step, self._loaded_steps)

    def _reseed(self, stage: int, epoch: int, batch_idx: int) -> None:
        # Dropout and drop-path draw from torch's global generator. Seeding it from the
        # step's place in the run makes a resumed run draw what the first one would.
        place = (self.seed, stage, epoch, batch_idx, self.global_rank)
        words = np.random.SeedSequence(place).generate_state(2, np.uint32)
        torch.manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)

    def on_train_batch_start(self, batch: BatchT, batch_idx: int) -> None:
        """Make the step's randomness depend on its place in the run only."""
        self._reseed(0, self.current_epoch, batch_idx)

    def on_validation_batch_start(
        self, batch: BatchT, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """The same draws in every epoch, and in `vlpzoo validate`."""
        self._reseed(1, 0, batch_idx)

    def on_test_batch_start(
        self, batch: BatchT, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """As for validation."""
        self._reseed(2, 0, batch_idx)

    def training_step(self, batch: BatchT, batch_idx: int) -> Tensor:
        """Sum of the method's loss terms."""
        return self._step(batch, batch_idx, "train")

    def validation_step(self, batch: BatchT, batch_idx: int) -> None:
        """Log the same terms on the validation split."""
        self._step(batch, batch_idx, "val")

    def test_step(self, batch: BatchT, batch_idx: int) -> None:
        """Log the same terms on the test split."""
        self._step(batch, batch_idx, "test")

    def predict_step(self, batch: BatchT, batch_idx: int) -> dict[str, Any]:
        """Pooled image embeddings (B, D) of un-augmented images, with their uids."""
        images = self.image_encoder.prepare(batch["image"])
        return {"uid": batch["uid"], "embedding": self.image_encoder(images).pooled}

    def _step(self, batch: BatchT, batch_idx: int, stage: str) -> Tensor:
        if not self._checked:
            self._check_batch(batch)
        terms = self.losses(batch)
        total = torch.stack([term.float() for term in terms.values()]).sum()
        self._check_finite(terms, total, batch_idx)
        size = len(batch["uid"])
        values = {f"{stage}/loss": total.detach()}
        values |= {f"{stage}/loss_{name}": v.detach() for name, v in terms.items()}
        if self._watched is not None:
            unit = nn.functional.normalize(self._watched.float(), dim=-1)
            spread = unit.std(dim=0, correction=0).mean() * unit.shape[-1] ** 0.5
            values[f"{stage}/embedding_std"] = spread
            self._watched = None
        if stage == "train":
            # One small exchange for all values, instead of one for each.
            packed = torch.stack([value.float() for value in values.values()])
            if self.trainer.world_size > 1:
                packed = self.trainer.strategy.reduce(packed, reduce_op="mean")
            values = dict(zip(values, packed.unbind(), strict=True))
            self.log_dict(values, batch_size=size)
            self.log("loss", values["train/loss"], prog_bar=True, logger=False)
        else:
            self.log_dict(values, on_epoch=True, sync_dist=True, batch_size=size)
        return total

    def _check_batch(self, batch: BatchT) -> None:
        for key in sorted(self.batch_keys - set(batch)):
            raise BatchFieldError(
                f"the field {key!r} in each batch ({type(self).__name__} reads it)",
                f"fields {sorted(batch)}",
                self.field_sources.get(key, "choose a data set that has it"),
            )
        self._checked = True

    def _check_finite(
        self, terms: dict[str, Tensor], total: Tensor, batch_idx: int
    ) -> None:
        # Reading a CUDA scalar stalls the queue, so there only where logs do it anyway;
        # a NaN loss poisons the weights and is still there at the next look.
        run: Any = self.trainer
        every = 1 if total.device.type == "cpu" else run.log_every_n_steps
        if batch_idx % max(every, 1) == 0 and not bool(torch.isfinite(total)):
            found = {name: float(value.detach()) for name, value in terms.items()}
            raise NonFiniteLossError(
                "finite loss terms",
                f"{found} at epoch {self.current_epoch}, batch {batch_idx}",
                "lower --model.learning_rate, set --trainer.gradient_clip_val 1.0, "
                "or use --trainer.precision 32-true",
            )

    # Optimisation ---------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """AdamW with warm-up and cosine, stepped after every optimiser step."""
        groups = parameter_groups(self.named_parameters(), self.weight_decay)
        beta1, beta2 = self.betas
        # One kernel for all parameters; Lightning's autocast cannot clip with it.
        fused = "mixed" not in str(self.trainer.precision)
        optimizer = AdamW(
            groups, lr=self.learning_rate, betas=(beta1, beta2), fused=fused
        )
        total = float(self.trainer.estimated_stepping_batches)
        epochs = self.trainer.max_epochs
        if not epochs or epochs < 0:
            # A run given in steps has no epochs to count: one epoch is all of it.
            epochs = 1
        per_epoch = total / epochs
        warmup = min(self.warmup_epochs * per_epoch, total)
        last = (self.schedule_epochs or epochs) * per_epoch
        schedule = LambdaLR(optimizer, lambda step: warmup_cosine(step, warmup, last))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def method_class(class_path: str) -> type[VLPModule[Any]]:
    """The class that a checkpoint names, if it is one of the installed methods.

    A file never decides what is imported: its name only chooses among `METHODS` and
    the entry points of other packages.

    Args:
        class_path: Module and class.

    Raises:
        UnknownNameError: If no installed method has that class.
    """
    known = known_methods()
    last = class_path.rpartition(".")[2]
    for path in known.values():
        module_name, _, name = path.rpartition(".")
        if name == last:
            found = getattr(importlib.import_module(module_name), name)
            if class_path in (path, f"{found.__module__}.{found.__qualname__}"):
                return found  # type: ignore[no-any-return]
    raise UnknownNameError(
        f"the method {class_path} that wrote the checkpoint",
        f"the installed methods are {', '.join(known)}",
        "install the package that has it, with an entry point in the group "
        "vlp_zoo.methods",
    )


def load_method(path: str | Path) -> VLPModule[Any]:
    """Reload any installed method from its checkpoint, whichever class wrote it.

    Args:
        path: A ``.ckpt`` file written by ``vlpzoo fit``.

    Returns:
        The module in eval mode, on the CPU.

    Raises:
        ConfigError: If the file does not say which class wrote it.
        UnknownNameError: If no installed method has that class.
    """
    file = torch.load(path, map_location="cpu", weights_only=True)
    class_path = file.get("method_class")
    if class_path is None:
        raise ConfigError(
            f"the method's class in {path}",
            "a checkpoint without one",
            "use a checkpoint that vlpzoo fit wrote",
        )
    method: Any = method_class(str(class_path))
    takes, stored = inspect.signature(method).parameters, file["hyper_parameters"]
    module: VLPModule[Any] = method(**{k: v for k, v in stored.items() if k in takes})
    # Before the networks are built: vocabulary and text model come from the file.
    module.on_load_checkpoint(file)
    module.load_state_dict(file["state_dict"])
    return module.eval()

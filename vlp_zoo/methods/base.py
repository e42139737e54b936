"""VLPModule: everything about pre-training that is not a method's own idea.

A method implements four things: ``build`` (its networks), ``make_transform`` (study
to example, in the workers), ``losses`` (batch to named, weighted scalars) and
optionally ``pictures``. The base owns the tokenizer, the optimiser and schedule,
seeding, logging, and the alarms (missing field, non-finite loss, collapse).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Generic, TypeVar

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from vlp_zoo.encoders.frozen_text import FrozenText, frozen_text_from_state
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.errors import ConfigError
from vlp_zoo.gather import mean_over_processes
from vlp_zoo.loading import Draw
from vlp_zoo.methods.compiling import check_compiler, compile_networks
from vlp_zoo.methods.needs import (
    check_batch_size,
    check_fields,
    check_finite,
    check_precision,
    check_strategy,
)
from vlp_zoo.methods.online import PairsSeen, embedding_std, partner_gains
from vlp_zoo.methods.optimisation import adamw_cosine, parameter_groups
from vlp_zoo.methods.options import (
    PretrainedTextOptions,
    PretrainOptions,
    ReportOptions,
)
from vlp_zoo.methods.reading import find_tokenizer, stored_run, text_encoder
from vlp_zoo.methods.sharing import SharedOut, share_out
from vlp_zoo.methods.warm_start import normalisation, restore_normalisation, start_from
from vlp_zoo.recomputing import recompute_blocks
from vlp_zoo.types import StudySource, Transform

__all__ = [
    "VLPModule",
    "parameter_groups",
]

STAGES = ("train", "val", "test")
"""Kinds of steps, as logs name them."""

BatchT = TypeVar("BatchT", bound=Mapping[str, Any])


class VLPModule(pl.LightningModule, Generic[BatchT]):
    """Base of all pre-training methods.

    Networks are made in ``build``, which runs once the vocabulary is known: at the
    start of a fit, when a checkpoint is loaded, or by hand through
    ``configure_model()``.

    A method takes its options as keywords and hands them on as one dataclass:
    ``def __init__(self, **kwargs: Any): super().__init__(MyOptions(**kwargs))``. The
    command line, checkpoints and help follow that call to the fields of the dataclass.

    Args:
        options: What was chosen, see `vlp_zoo.methods.options`.
    """

    batch_keys: ClassVar[frozenset[str]] = frozenset()
    """Fields that ``losses`` reads; checked on the first batch."""
    reads_reports: bool = True
    """Whether data sets without reports are of no use to the method."""
    field_sources: ClassVar[dict[str, str]] = {
        "image": "choose a paired data set (--data pairs, mimic_cxr, ...)",
        "input_ids": "choose a data set with reports (--data pairs, mimic_cxr, ...)",
        "findings_text": "choose a data set with reports (--data pairs, mimic_cxr)",
    }
    """Field to the data option that produces it, for the error message."""

    least_batch: ClassVar[int] = 1
    """Studies that a step must see together; a contrast of one pair teaches nothing."""

    image_fields: ClassVar[tuple[str, ...]] = ("image",)
    """Fields of a batch that show a study's image; some come with options only."""
    pair_gains: ClassVar[Mapping[str, str]] = {}
    """Loss terms of image and text together, to what a wrong partner adds: the term's
    ``"image_gain"``, or its ``"text_gain"`` where the text helps to predict the image."""

    has_text_head: ClassVar[bool] = False
    """Whether images and texts meet in a joint space (`embed_images`, `embed_texts`)."""

    image_encoder: ImageEncoder
    """What the run is for: exported after every epoch."""

    options: PretrainOptions
    tokenizer: ReportTokenizer | None = None
    text_spec: Mapping[str, Any] | None = None
    """Architecture of a checkpoint's text encoder, whose weights it then brings."""
    frozen_text: FrozenText | None = None
    """Text features that are not trained, where a method uses some."""
    pairs_seen: PairsSeen
    """Takes the joint embeddings that ``losses`` makes (`PairsSeen.hand`)."""

    def __init__(self, options: PretrainOptions) -> None:
        super().__init__()
        # All of them, and what the command line adds: checkpoints keep both.
        self.save_hyperparameters(asdict(options))
        self.save_hyperparameters(ignore="options")
        self.options = options
        self.vocab_size = 0
        if isinstance(options, ReportOptions):
            self.vocab_size = options.vocab_size
        self._built = False
        self._checked = False
        self._watched: Tensor | None = None
        self.pairs_seen = PairsSeen()
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

    def training_draw(self, source: StudySource) -> Draw | None:
        """Which studies of a training split an epoch shows; None shows each once."""
        return None

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

    def configure_callbacks(self) -> list[pl.Callback]:
        """Refuse what cannot be trained (Lightning's first hook, before data)."""
        check_precision(self.trainer)
        check_strategy(self.trainer)
        if self.trainer.state.fn == TrainerFn.FITTING:
            check_batch_size(self, self.trainer)
        return []

    # Texts -----------------------------------------------------------------------

    @property
    def data(self) -> Any:
        """The data module of the run; None without one."""
        return getattr(self._trainer, "datamodule", None)

    def setup(self, stage: str) -> None:
        """Fix the tokenizer before the networks are built (Lightning's hook)."""
        if self.tokenizer is None and isinstance(self.options, ReportOptions):
            self.use_tokenizer(find_tokenizer(self, self.options))
        if isinstance(self.options, PretrainedTextOptions):
            stored = self.continued("text_model") or {}
            self.text_spec = stored.get("text_encoder")

    def continued(self, *options: str) -> Mapping[str, Any] | None:
        """The checkpoint of the run, with the same options; see `stored_run`."""
        place = getattr(self._trainer, "ckpt_path", None)
        return stored_run(place, self.hparams, *options)

    def corpus_of(self, data: Any) -> tuple[Callable[[], Iterable[str]], str]:
        """Texts of a data module to learn a vocabulary from, and what names them."""
        return data.corpus, data.corpus_fingerprint

    def load_tokenizer(self, name: str) -> ReportTokenizer:
        """The tokenizer of that name: a WordPiece vocabulary."""
        return ReportTokenizer.load(name)

    def use_tokenizer(self, tokenizer: ReportTokenizer) -> None:
        """Read texts by this vocabulary; networks that exist have its size already."""
        self.tokenizer = tokenizer
        self.vocab_size = tokenizer.vocab_size

    def known_tokenizer(self) -> ReportTokenizer:
        """The tokenizer, which a method has once it is set up; else a `ConfigError`."""
        if self.tokenizer is None:
            raise ConfigError(
                "a tokenizer", "none yet", "call setup() or set module.tokenizer first"
            )
        return self.tokenizer

    @property
    def mask_id(self) -> int:
        """Id of [MASK]; 3, as in the authors' vocabularies, before there is a tokenizer."""
        return 3 if self.tokenizer is None else self.tokenizer.mask_id

    @property
    def trained_text(self) -> TextEncoder | None:
        """The text encoder that is trained, once it is built."""
        return getattr(self, "text_encoder", None)

    def make_text_encoder(
        self, options: ReportOptions, name: str | None = None, **kind: Any
    ) -> TextEncoder:
        """The text encoder of the options, pretrained where it has a name."""
        spec, size = self.text_spec, self.vocab_size
        return text_encoder(options, self.tokenizer, spec, size, name, **kind)

    # Construction ----------------------------------------------------------------

    def make_image_encoder(self, **look: Any) -> ImageEncoder:
        """The image encoder of the options.

        Args:
            **look: Pooling, mean and deviation, as for `ImageEncoder`.
        """
        return ImageEncoder(
            self.options.image_encoder,
            self.options.image_size,
            timm_arguments=self.options.encoder_sizes,
            **look,
        )

    def configure_model(self) -> None:
        """Build the networks once, from the seed alone (Lightning's hook)."""
        if not self._built:
            torch.manual_seed(self.seed)
            self.build()
            if self.options.checkpoint_activations:
                recompute_blocks(self)
            self._built = True
            strategy = getattr(self._trainer, "strategy", None)
            if isinstance(strategy, SharedOut):
                # Whole weights can no longer be read into the networks after that.
                if self.trainer.state.fn == TrainerFn.FITTING:
                    self._start_warm()
                share_out(self, strategy.device_mesh)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the class's name, and the vocabulary the weights were trained on."""
        checkpoint["method_class"] = f"{type(self).__module__}.{type(self).__name__}"
        checkpoint["normalisation"] = normalisation(
            getattr(self, "image_encoder", None)
        )
        if self.tokenizer is not None:
            checkpoint["tokenizer_json"] = self.tokenizer.to_json()
        if self.trained_text is not None:
            checkpoint["text_encoder"] = self.trained_text.spec
        if self.frozen_text is not None:
            # No state dict holds it.
            checkpoint["frozen_text"] = self.frozen_text.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the vocabulary and the networks before the weights are copied."""
        self._loaded_steps = int(checkpoint.get("global_step", 0))
        self.text_spec = checkpoint.get("text_encoder")
        stored = checkpoint.get("tokenizer_json")
        if stored is not None:
            tokenizer = ReportTokenizer.from_json(stored)
            if self._built and tokenizer.vocab_size != self.vocab_size:
                raise ConfigError(
                    f"the checkpoint's vocabulary ({tokenizer.vocab_size} tokens)",
                    f"networks built for {self.vocab_size} tokens",
                    "drop --model.tokenizer, or start a new run",
                )
            self.use_tokenizer(tokenizer)
        frozen = checkpoint.get("frozen_text")
        if frozen is not None:
            self.frozen_text = self.restore_text(frozen)
        self.configure_model()
        restore_normalisation(getattr(self, "image_encoder", None), checkpoint)

    def restore_text(self, stored: dict[str, Any]) -> FrozenText:
        """The frozen text features of a checkpoint, from what it holds of them."""
        return frozen_text_from_state(stored)

    def on_fit_start(self) -> None:
        """Compile; take over ``warm_start``'s weights unless a checkpoint is resumed."""
        if self.options.compile:
            check_compiler(self.device)
            compile_networks(self)
        if not isinstance(self, FSDPModule):
            self._start_warm()

    def _start_warm(self) -> None:
        """Take over another encoder's weights, if a run begins that asks for them."""
        spec, keep = self.options.warm_start, self.options.keep_normalisation
        if spec and self.trainer.ckpt_path is None:
            start_from(self.image_encoder, spec, keep, self.trainer.is_global_zero)

    # One step -------------------------------------------------------------------

    @property
    def seed(self) -> int:
        """The run's seed, as Lightning's ``seed_everything`` recorded it."""
        return int(os.environ.get("PL_GLOBAL_SEED", "0"))

    @property
    def trained_steps(self) -> int:
        """Optimiser steps behind the weights, also where no fit is running."""
        return max(self.global_step, self._loaded_steps)

    def _reseed(self, stage: str, batch_idx: int) -> None:
        # Dropout and drop-path draw from torch's global generator. Seeding it from the
        # step's place in the run makes a resumed run draw what the first one would;
        # other splits are seen with the same draws in every epoch.
        epoch = self.current_epoch if stage == "train" else 0
        place = (self.seed, STAGES.index(stage), epoch, batch_idx, self.global_rank)
        words = np.random.SeedSequence(place).generate_state(2, np.uint32)
        torch.manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)

    def training_step(self, batch: BatchT, batch_idx: int) -> Tensor:
        """Sum of the method's loss terms."""
        return _total(self._step(batch, batch_idx, "train"))

    def validation_step(self, batch: BatchT, batch_idx: int) -> None:
        """Log the same terms on the validation split, and what wrong partners add."""
        terms = self._step(batch, batch_idx, "val")
        # The same draws, so that nothing but the partner differs.
        self._reseed("val", batch_idx)
        gains = {
            f"val/{name}": value for name, value in self.gains(batch, terms).items()
        }
        self.log_dict(gains, on_epoch=True, sync_dist=True, batch_size=_size(batch))

    def test_step(self, batch: BatchT, batch_idx: int) -> None:
        """Log the same terms on the test split."""
        self._step(batch, batch_idx, "test")

    def on_validation_epoch_end(self) -> None:
        """Log the recall of the pairs that were seen."""
        self.pairs_seen.log_recall(self, "val")

    def on_test_epoch_end(self) -> None:
        """Log the recall of the pairs that were seen."""
        self.pairs_seen.log_recall(self, "test")

    def predict_step(self, batch: BatchT, batch_idx: int) -> dict[str, Any]:
        """Pooled image embeddings (B, D) of un-augmented images, with their uids."""
        pooled = self.image_encoder.encode(batch["image"]).pooled
        return {"uid": batch["uid"], "embedding": pooled}

    def gains(self, batch: BatchT, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What wrong images add to each term of image and text: `partner_gains`."""
        losses: Any = self.losses
        found = partner_gains(losses, batch, terms, self.pair_gains, self.image_fields)
        # What that handed over was not the batch as it is.
        self._watched = None
        self.pairs_seen.drop()
        return found

    def _step(self, batch: BatchT, batch_idx: int, stage: str) -> dict[str, Tensor]:
        if not self._checked:
            check_fields(self, batch)
            self._checked = True
        self._reseed(stage, batch_idx)
        terms = self.losses(batch)
        total = _total(terms)
        # Reading a CUDA scalar stalls the queue, so there only where logs do it anyway;
        # a NaN loss poisons the weights and is still there at the next look.
        run: Any = self.trainer
        every = 1 if total.device.type == "cpu" else run.log_every_n_steps
        if batch_idx % max(every, 1) == 0:
            check_finite(terms, f"epoch {self.current_epoch}, batch {batch_idx}")
        size = _size(batch)
        values = {f"{stage}/loss": total.detach()}
        values |= {f"{stage}/loss_{name}": v.detach() for name, v in terms.items()}
        if self._watched is not None:
            values[f"{stage}/embedding_std"] = embedding_std(self._watched)
            self._watched = None
        if stage == "train":
            # One small exchange for all values, instead of one for each.
            packed = torch.stack([value.float() for value in values.values()])
            packed = mean_over_processes(packed)
            values = dict(zip(values, packed.unbind(), strict=True))
            self.log_dict(values, batch_size=size)
            self.log("loss", values["train/loss"], prog_bar=True, logger=False)
        else:
            self.log_dict(values, on_epoch=True, sync_dist=True, batch_size=size)
            self.pairs_seen.log(self, stage, batch["uid"])
        return terms

    # Optimisation ---------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """AdamW with warm-up and cosine, stepped after every optimiser step."""
        return adamw_cosine(self.named_parameters(), self.options, self.trainer)


def _size(batch: Mapping[str, Any]) -> int:
    return len(batch["uid"])


def _total(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([term.float() for term in terms.values()]).sum()

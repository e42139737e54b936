"""A method whose texts come from a frozen encoder, each embedded once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from vlp_zoo.encoders.frozen_text import (
    CorpusText,
    FrozenText,
    frozen_text_from_state,
    load_frozen_text,
    text_for,
)
from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.base import BatchT, VLPModule
from vlp_zoo.methods.optimisation import cosine_restarts
from vlp_zoo.methods.paired.options import FrozenTextOptions
from vlp_zoo.types import Report

__all__ = ["FrozenTextMethod", "joint_projection"]


def joint_projection(width: int, inner: int, joint: int) -> nn.Sequential:
    """Linear, batch norm, ReLU, linear, batch norm without scale and shift."""
    return nn.Sequential(
        nn.Linear(width, inner),
        nn.BatchNorm1d(inner),
        nn.ReLU(),
        nn.Linear(inner, joint),
        nn.BatchNorm1d(joint, affine=False),
    )


class FrozenTextMethod(VLPModule[BatchT]):
    """Frozen text features: where they come from, are kept, and travel.

    The encoder is no sub-module: it is never trained, put into training mode, copied
    into checkpoints or handed to DDP. A method builds ``text_head``, from the features
    into the joint space, and says in ``texts_of`` what it reads of a report.
    """

    options: FrozenTextOptions
    has_text_head: ClassVar[bool] = True
    least_batch: ClassVar[int] = 2
    restart_growth: ClassVar[int] = 1
    """How many times longer each period of a cosine that restarts is."""
    text_head: nn.Module

    def texts_of(self, report: Report) -> Sequence[str]:
        """The texts of a report that batches hold, to be embedded before training."""
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        """Load or learn the frozen text encoder; there is no tokenizer of our own."""
        if self.frozen_text is None:
            self.frozen_text = self._stored_text()
        if self.frozen_text is None:
            options = self.options
            self.frozen_text = text_for(
                self.data, options.text_model, options.text_width, options.max_tokens
            )

    def _stored_text(self) -> FrozenText | None:
        """The text model in the checkpoint that the run continues.

        Features of a corpus are learnt again, to see that the data are the same.
        """
        stored = self.continued("text_model", "max_tokens")
        if stored is None or self.options.text_model == "corpus":
            return None
        state = stored["frozen_text"]
        return frozen_text_from_state(state) if "weights" in state else None

    def find_text_width(self) -> int:
        """F of the features, for `build`, which may come before `setup`."""
        if self.frozen_text is None and self.options.text_model == "corpus":
            return self.options.text_width
        if self.frozen_text is None:
            self.frozen_text = load_frozen_text(
                self.options.text_model, max_tokens=self.options.max_tokens
            )
        return self.frozen_text.width

    def frozen(self) -> FrozenText:
        """The frozen text encoder, once there is one."""
        if self.frozen_text is None:
            raise ConfigError(
                "text features of the training reports (text_model: corpus)",
                "none yet",
                "call setup() with a data module, or set module.frozen_text first",
            )
        return self.frozen_text

    def on_fit_start(self) -> None:
        """Take over ``warm_start``'s weights, and embed the texts of the data set."""
        super().on_fit_start()
        sources: Any = getattr(self.data, "sources", {})
        frozen = self.frozen().to(self.device)
        if not self.options.cache_text:
            return
        texts = [
            text
            for split in ("train", "val")
            for report in (sources[split].reports() if split in sources else ())
            for text in self.texts_of(report)
        ]
        frozen.fill(texts, self.global_rank, self.trainer.world_size)
        # What is still missing later, such as a test report, is rare.
        frozen.to("cpu")
        self.trainer.strategy.barrier("texts embedded")

    def on_fit_end(self) -> None:
        """Store embeddings of texts that were not in the data set's list."""
        if self.options.cache_text:
            self.frozen().flush()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Never without the text encoder that the projections were trained with."""
        self.frozen()
        super().on_save_checkpoint(checkpoint)

    def restore_text(self, stored: dict[str, Any]) -> FrozenText:
        """The text encoder of a checkpoint, or ours where it is the same."""
        ours = self.frozen_text
        # Features of a corpus, learnt on another kind of CPU, have other last digits:
        # those of the checkpoint count.
        learnt = isinstance(ours, CorpusText) and ours.same_corpus(stored)
        if ours is None or learnt:
            return frozen_text_from_state(stored)
        if stored["fingerprint"] != ours.fingerprint:
            raise ConfigError(
                "the text features that the checkpoint was trained with",
                "others, of another text model or of other training reports",
                "resume on the same data and text model, or start a new run",
            )
        return ours

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Frozen features (N, F) on this module's device."""
        frozen = self.frozen()
        found = (
            frozen.cached(texts) if self.options.cache_text else frozen.encode(texts)
        )
        return found.to(self.device, non_blocking=True)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Reports or prompts in the joint space: (B, E), unit length."""
        features = self.text_features(texts).to(self.dtype)
        return functional.normalize(self.text_head(features).float(), dim=1)

    def configure_optimizers(self) -> Any:
        """AdamW, decaying everything, with a cosine that restarts."""
        found = super().configure_optimizers()
        options = self.options
        if options.decay_vectors:
            for group in found["optimizer"].param_groups:
                group["weight_decay"] = options.weight_decay
        if options.restart_steps is not None:
            period, floor = options.restart_steps, 1e-8 / options.learning_rate
            growth = self.restart_growth
            found["lr_scheduler"]["scheduler"] = LambdaLR(
                found["optimizer"],
                lambda step: cosine_restarts(step, period, floor, growth),
            )
        return found

"""An encoder and the decoder that learns to write reports from its tokens."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.augment import Augment
from vlp_zoo.evaluation.features.encoder_input import EachOnce, encoder_input
from vlp_zoo.evaluation.reports.decoder import ReportDecoder
from vlp_zoo.evaluation.reports.pieces import BEGIN, PAD, ReportPieces
from vlp_zoo.evaluation.training.learner import Batch, Learner
from vlp_zoo.transforms import planes
from vlp_zoo.types import Example, Study, Transform

if TYPE_CHECKING:
    from vlp_zoo.evaluation.reports.settings import WritingSettings

__all__ = ["Writer"]


class Writer(Learner):
    """Encoder and decoder.

    Args:
        encoder: Copied; the caller's weights stay as they are.
        pieces: Sub-words learnt from the training reports.
        protocol: Settings.
        mean_length: Mean length of the training reports in sub-words.

    Attributes:
        beams: Beams of the next predictions; validation is greedy.
    """

    def __init__(
        self,
        encoder: nn.Module,
        pieces: ReportPieces,
        protocol: WritingSettings,
        mean_length: float,
    ) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        self.encoder.requires_grad_(not protocol.frozen).eval()
        self.preprocessing = dict(cast(Any, encoder).preprocessing)
        self.pieces = pieces
        self.protocol = protocol
        self.mean_length = mean_length
        self.beams = 1
        side = int(self.preprocessing["image_size"])
        with torch.enable_grad():
            blank = torch.zeros(1, 1, side, side, dtype=torch.uint8)
            (tokens,) = self._tokens(blank)
            if tokens.requires_grad:
                torch.autograd.backward(tokens.sum())
        for weight in self.encoder.parameters():
            # What no token hangs on, such as a head for the pooled vector, is not
            # trained, and several processes would wait for its gradient.
            weight.requires_grad_(weight.grad is not None)
            weight.grad = None
        self.decoder = ReportDecoder(
            int(tokens.shape[2]),
            int(tokens.shape[1]),
            len(pieces),
            protocol.length,
            width=protocol.width,
            heads=protocol.heads,
            layers=protocol.layers,
            feedforward=protocol.feedforward,
            dropout=protocol.dropout,
        )
        same = protocol.frozen and protocol.augment == "none"
        self.each_once = EachOnce() if same else None
        self.train()

    def train(self, mode: bool = True) -> Writer:
        """A frozen encoder stays as it is, its batch statistics too."""
        super().train(mode)
        if self.protocol.frozen:
            self.encoder.eval()
        return self

    def make_transform(self, train: bool) -> Transform:
        """Fit into the square; in training augment, and spell the report."""
        return _Pairs(
            Augment(
                self.protocol.augment if train else "none",
                int(self.preprocessing["image_size"]),
                resize=str(self.preprocessing.get("resize", "pad")),
            ),
            self.pieces if train else None,
            self.protocol,
        )

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Decoder and encoder at their own rates, no decay of vectors and positions."""
        rates = (
            (self.decoder, learning_rate),
            (self.encoder, self.protocol.encoder_learning_rate),
        )
        return [
            {
                "params": parameters,
                "lr": rate,
                "weight_decay": self.protocol.weight_decay if decayed else 0.0,
            }
            for module, rate in rates
            for decayed in (True, False)
            if (parameters := list(_trained(module, decayed)))
        ]

    def memory(self, images: Tensor) -> Tensor:
        """uint8 (B, 1 or 3, S, S) to what the decoder looks at, (B, P, W)."""
        if self.each_once is None:
            (tokens,) = self._tokens(images)
        else:
            (tokens,) = self.each_once(images, self._tokens)
        return self.decoder.memory(tokens)

    def _tokens(self, images: Tensor) -> list[Tensor]:
        return [self.encoder(encoder_input(images, self.preprocessing)).tokens]

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the next piece; every piece of every report weighs alike.

        Divided by the mean length of all training reports, not of those in the batch,
        so that several processes learn what one learns.
        """
        ids = batch["ids"]
        ids = ids[:, : int((ids != PAD).sum(1).max())]
        before = torch.cat([torch.full_like(ids[:, :1], BEGIN), ids[:, :-1]], 1)
        logits = self.decoder(self.memory(batch["image"]), before)
        total = functional.cross_entropy(
            logits.float().flatten(0, 1),
            ids.flatten(),
            ignore_index=PAD,
            reduction="sum",
        )
        return total / (len(ids) * self.mean_length)

    def predict(self, batch: Batch) -> Mapping[str, Any]:
        """A text for each image."""
        ids = self.decoder.generate(
            self.memory(batch["image"]), self.beams, self.protocol.length_penalty
        )
        return {"text": [self.pieces.decode(row) for row in ids.tolist()]}


@dataclass(frozen=True)
class _Pairs:
    augment: Augment
    pieces: ReportPieces | None
    protocol: WritingSettings

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        image = self.augment(replace(study, masks={}, boxes=()), rng).image
        example: Example = {"image": torch.from_numpy(planes(image))}
        if self.pieces is not None:
            text = self.protocol.said(study.report)
            ids = self.pieces.encode(text, self.protocol.length)
            example["ids"] = torch.from_numpy(ids)
        return example


def _trained(module: nn.Module, decayed: bool) -> Iterator[nn.Parameter]:
    """Matrices and kernels that are trained, or vectors, positions and words."""
    for name, parameter in module.named_parameters():
        table = name in ("places", "positions", "words.weight") or "pos_embed" in name
        if parameter.requires_grad and (parameter.ndim > 1 and not table) == decayed:
            yield parameter

"""A network for masks that is trained from random weights, as a baseline of encoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vlp_zoo.encoders.references import ReferenceNetwork
from vlp_zoo.evaluation.features.encoder_input import encoder_input
from vlp_zoo.evaluation.segmentation.mask_truth import MaskRule
from vlp_zoo.evaluation.segmentation.segmenter import Learnt, decayed
from vlp_zoo.evaluation.segmentation.settings import SegmentationSettings
from vlp_zoo.evaluation.training.decoders import freeze_unused
from vlp_zoo.types import StudySource

__all__ = ["FromScratch"]

MOST = 512
"""Side of the input where the preset takes every encoder's own: that of the first
training image, but no more than this."""


class FromScratch(Learnt):
    """The whole network is learnt, at the rate of the preset's decoders.

    Args:
        reference: Which network.
        rule: Structures.
        protocol: Settings; those of decoders and frozen encoders say nothing here.
        train: Training cases; the first decides on one channel or three, as all
            images of a data set are grey or all are in colour.
    """

    def __init__(
        self,
        reference: ReferenceNetwork,
        rule: MaskRule,
        protocol: SegmentationSettings,
        train: StudySource,
    ) -> None:
        image = train[0].image
        channels = 3 if image.ndim == 3 else 1
        side = reference.side(protocol.size or min(MOST, max(image.shape[:2])))
        super().__init__(rule, protocol, side)
        self.preprocessing = {**reference.preprocessing, "channels": channels}
        self.network = reference.make(channels, len(rule.structures), side).eval()
        # UNETR's blocks have a norm for a cross-attention that it does not have.
        freeze_unused(
            self.network, [self.network(torch.zeros(1, channels, side, side))]
        )

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 1 or 3, S, S) to logits (B, K, S, S)."""
        logits: Tensor = self.network(encoder_input(images, self.preprocessing))
        return logits

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """All weights at the full rate, no decay of vectors."""
        return decayed(p for p in self.network.parameters() if p.requires_grad)

    def details(self) -> dict[str, Any]:
        """See `Learnt.details`."""
        return {
            **super().details(),
            "input_channels": self.preprocessing["channels"],
            "weights_at_first": "random",
        }

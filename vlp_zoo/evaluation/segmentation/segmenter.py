"""What is learnt for segmentation: encoder and decoder, and counts of pixels.

Predictions are compared with the masks in the frame in which these were drawn: padding
is cut away and the logits are enlarged to the original image, case by case. A case is
then a few counts of pixels, which do not depend on the cases beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.augment import Augment
from vlp_zoo.evaluation.segmentation.losses import mask_loss
from vlp_zoo.evaluation.segmentation.mask_truth import MaskRule
from vlp_zoo.evaluation.segmentation.metrics import (
    Overlap,
    count_overlap,
    pixel_histograms,
)
from vlp_zoo.evaluation.segmentation.surfaces import Spacing, outline_agreement
from vlp_zoo.evaluation.training.decoders import DenseEncoder, make_decoder
from vlp_zoo.evaluation.training.groups import layer_decay_groups
from vlp_zoo.evaluation.training.learner import Learner, Predictions
from vlp_zoo.evaluation.training.settings import require
from vlp_zoo.loading import collate_examples
from vlp_zoo.monai import load_monai
from vlp_zoo.transforms import content_box, planes
from vlp_zoo.types import Example, Study, Transform

if TYPE_CHECKING:
    from vlp_zoo.evaluation.segmentation.settings import SegmentationSettings

__all__ = [
    "OVERLAP",
    "THRESHOLD",
    "AlwaysEmpty",
    "Learnt",
    "Masked",
    "Segmenter",
    "decayed",
    "histograms_of",
    "outlines_of",
    "overlap_of",
]

THRESHOLD = 0.5
"""Probability above which a pixel is marked; not tuned: Dice is a number of one mask."""

OVERLAP = 0.25
"""Share of a window that the next one sees too; its middle counts most."""


class Masked(Learner):
    """A learner whose predictions are masks; subclasses give the logits.

    Args:
        rule: Structures, and which of them a study was annotated for.
        size: Side S of the input.
        resize: ``"pad"`` or ``"squash"``.
        crop_content: Cut away a dark surround first.

    Attributes:
        full: Keep all that the test split is judged by: beside the counts histograms of
            probabilities, for `histograms_of`, and `outlines_of`.
        spacings: Spacing of the pixels of each study by uid; a study without one is measured in
            pixels.
    """

    def __init__(
        self, rule: MaskRule, size: int, resize: str = "pad", crop_content: bool = False
    ) -> None:
        super().__init__()
        self.rule = rule
        self.size = size
        self.resize = resize
        self.crop_content = crop_content
        self.full = False
        self.spacings: dict[str, Spacing] = {}

    def make_transform(self, train: bool) -> Transform:
        """Fit into the square; masks in the original frame ride along."""
        return _Judged(
            Augment(
                "none", self.size, resize=self.resize, crop_content=self.crop_content
            ),
            self.rule,
            self.spacings,
        )

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Examples to a batch: original masks stay a list, they differ in size."""
        lists = {
            name: [example.pop(name) for example in examples]
            for name in ("truth", "spacing")
            if name in examples[0]
        }
        return collate_examples(examples) | lists

    def whole(self, images: Tensor) -> Tensor:
        """uint8 (B, 1 or 3, S, S) of fitted images to logits (B, K, S, S)."""
        logits: Tensor = self(images)
        return logits

    def predict(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """Counts of pixels in the original frame, and the rest where `full`."""
        logits = self.whole(batch["image"]).float()
        rows = [
            self._judge(logits[i], *case)
            for i, case in enumerate(
                zip(
                    batch["content"].tolist(),
                    batch["frame"].tolist(),
                    batch["truth"],
                    batch["known"].cpu().numpy(),
                    batch["spacing"],
                    strict=True,
                )
            )
        ]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _judge(
        self,
        logits: Tensor,
        content: Sequence[int],
        frame: Sequence[int],
        truth: npt.NDArray[np.bool_],
        known: npt.NDArray[np.bool_],
        spacing: Spacing | None,
    ) -> dict[str, Any]:
        """One case: logits (K, S, S) against masks (K, H, W)."""
        x1, y1, x2, y2 = content
        left, top, right, bottom = frame
        enlarged = functional.interpolate(
            logits[None, :, y1:y2, x1:x2],
            (bottom - top, right - left),
            mode="bilinear",
            align_corners=False,
        )[0]
        probabilities = np.zeros(truth.shape, np.float32)
        probabilities[:, top:bottom, left:right] = enlarged.sigmoid().cpu().numpy()
        marked = probabilities > THRESHOLD
        counts = count_overlap(marked[None], truth[None], known[None])
        row = {name: getattr(counts, name)[0] for name in COUNTS}
        if self.full:
            # One structure at a time: the places of all pixels are held meanwhile.
            parts = [
                pixel_histograms(probabilities[None, k : k + 1], truth[None, k : k + 1])
                for k in range(len(known))
            ]
            histograms = np.concatenate(parts, 1)[0]
            row["histograms"] = histograms * known[:, None, None]
            row["outlines"] = np.stack(
                [
                    outline_agreement(marked[k], truth[k], spacing)
                    if known[k]
                    else np.full(3, np.nan)
                    for k in range(len(known))
                ]
            )
        return row


class AlwaysEmpty(Masked):
    """The baseline that never marks anything: what empty masks alone are worth."""

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """Nothing is learnt."""
        return torch.zeros(())

    def forward(self, images: Tensor) -> Tensor:
        """(B, K, S, S) of logits whose sigmoid is 0 in float32."""
        shape = (len(images), len(self.rule.structures), *images.shape[-2:])
        # Not minus infinity: times a weight of 0 it would be no number.
        return images.new_full(shape, -1e4, dtype=torch.float32)


class Learnt(Masked):
    """What is trained on images and masks; subclasses give network and logits.

    Args:
        rule: Structures.
        protocol: Settings.
        seen: Side of what the network sees at once.
        resize: ``"pad"`` or ``"squash"``.

    Raises:
        ConfigError: If images are fitted to less than the network sees.
    """

    def __init__(
        self,
        rule: MaskRule,
        protocol: SegmentationSettings,
        seen: int,
        resize: str = "pad",
    ) -> None:
        fit = protocol.fit or seen
        require(fit >= seen, f"fit: 0, or the side {seen} of a crop or more", fit)
        super().__init__(rule, fit, resize, protocol.crop_content)
        self.protocol = protocol
        self.seen = seen

    def make_transform(self, train: bool) -> Transform:
        """Fit into the square; in training augment image and masks alike."""
        if not train:
            return super().make_transform(train)
        return _Drawn(
            Augment(
                self.protocol.augment,
                self.seen,
                resize=self.resize,
                crop_content=self.crop_content,
                flip=self.protocol.flip,
                fit=self.size,
            ),
            self.rule,
        )

    def whole(self, images: Tensor) -> Tensor:
        """Logits of fitted images: at once, or window by window of what is seen."""
        if self.size == self.seen:
            return super().whole(images)
        windows = load_monai("windows over large images").inferers
        # MONAI adds up in the type of what it is given; bytes would run over.
        found: Tensor = windows.sliding_window_inference(
            images.float(),
            self.seen,
            len(images),
            lambda seen: self(seen).float(),
            overlap=OVERLAP,
            mode="gaussian",
        )
        return found

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """Loss over the structures that were annotated; others count for nothing."""
        logits = self(batch["image"]).float()
        return mask_loss(
            self.protocol.loss, logits, batch["masks"].float(), batch["known"]
        )

    def details(self) -> dict[str, Any]:
        """For the record: what it takes."""
        side = {"input_size": self.seen}
        return side if self.size == self.seen else {**side, "fitted_to": self.size}


class Segmenter(Learnt):
    """Encoder and decoder.

    Args:
        encoder: Copied; the caller's weights stay as they are.
        rule: Structures.
        protocol: Settings.
    """

    def __init__(
        self, encoder: nn.Module, rule: MaskRule, protocol: SegmentationSettings
    ) -> None:
        again = protocol.augment == "none"
        dense = DenseEncoder(encoder, protocol.size, protocol.frozen, again=again)
        resize = str(dense.preprocessing.get("resize", "pad"))
        super().__init__(rule, protocol, dense.size, resize)
        self.dense = dense
        self.decoder = make_decoder(
            protocol.decoder,
            dense.channels,
            dense.strides,
            protocol.decoder_width,
            len(rule.structures),
        )

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Decoder at the full rate, encoder at its own, no decay of vectors."""
        groups = decayed(self.decoder.parameters())
        if not self.protocol.frozen:
            groups += layer_decay_groups(
                self.dense.encoder,
                self.protocol.encoder_learning_rate,
                self.protocol.weight_decay,
                self.protocol.layer_decay,
            )
        return groups

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 1 or 3, S, S) to logits (B, K, S, S)."""
        logits = self.decoder(self.dense(images))
        return functional.interpolate(
            logits, images.shape[-2:], mode="bilinear", align_corners=False
        )

    def details(self) -> dict[str, Any]:
        """See `Learnt.details`."""
        return {
            **super().details(),
            "input_size_note": self.dense.note,
            "encoder_parameters_trained": sum(
                p.numel() for p in self.dense.parameters() if p.requires_grad
            ),
        }


def decayed(parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """Groups of an optimiser: matrices and kernels, and vectors without decay."""
    weights = list(parameters)
    return [
        {"params": [p for p in weights if p.ndim > 1]},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]


COUNTS = ("predicted", "actual", "both", "pixels")


def overlap_of(predictions: Predictions) -> Overlap:
    """Counts of all cases, in order."""
    return Overlap(*(np.stack([p[name] for p in predictions]) for name in COUNTS))


def histograms_of(predictions: Predictions) -> npt.NDArray[np.int32]:
    """(N, K, 2, bins) of all cases, of a learner that is ``full``."""
    return np.stack([p["histograms"] for p in predictions]).astype(np.int32)


def outlines_of(predictions: Predictions) -> npt.NDArray[np.float64]:
    """(N, K, 3) `outline_agreement` of all cases, of a learner that is ``full``."""
    return np.stack([p["outlines"] for p in predictions])


@dataclass(frozen=True)
class _Drawn:
    """A training example."""

    augment: Augment
    rule: MaskRule

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        used = {k: m for k, m in study.masks.items() if k in self.rule.structures}
        made = self.augment(replace(study, masks=used, boxes=()), rng)
        nothing = np.zeros(made.image.shape[:2], np.bool_)
        names = self.rule.structures
        masks = np.stack([made.masks.get(name, nothing) for name in names])
        known = self.rule.known(study.masks, study.labels, study.facts)
        return {
            "image": torch.from_numpy(planes(made.image)),
            "masks": torch.from_numpy(masks),
            "known": torch.from_numpy(known),
        }


@dataclass(frozen=True)
class _Judged:
    """A case to be judged: image as the encoder sees it, masks as they were drawn."""

    augment: Augment
    rule: MaskRule
    spacings: Mapping[str, Spacing]

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        height, width = study.image.shape[:2]
        # A mask of everything shows where the image went, whatever was rounded.
        whole = {"": np.ones((height, width), np.bool_)}
        made = self.augment(replace(study, masks=whole, boxes=()), rng)
        rows = np.nonzero(made.masks[""].any(1))[0]
        columns = np.nonzero(made.masks[""].any(0))[0]
        content = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        frame = (0, 0, width, height)
        if self.augment.crop_content:
            frame = content_box(study.image)
        known = self.rule.known(study.masks, study.labels, study.facts)
        return {
            "image": torch.from_numpy(planes(made.image)),
            "content": np.array(content, np.int64),
            "frame": np.array(frame, np.int64),
            "known": torch.from_numpy(known),
            "truth": self.rule.masks(study),
            "spacing": self.spacings.get(study.uid),
        }

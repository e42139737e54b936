"""Image and caption of one study as fields of a batch, for methods that read words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from torch import Tensor

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.methods.paired.captions import (
    caption_pieces,
    official_sentences,
    report_sentences,
    words_of,
)
from vlp_zoo.methods.paired.square import Placement, square_crop
from vlp_zoo.transforms import CropGeometry, planes
from vlp_zoo.types import Example, Report, Study

__all__ = ["WordBatch", "WordTransform"]


class WordBatch(TypedDict):
    """What `WordTransform` returns, collated. S is the side of the crops."""

    uid: list[str]
    image: Tensor  # (B, 1 or 3, S, S) uint8
    input_ids: Tensor  # (B, T) int64
    attention_mask: Tensor  # (B, T) bool
    continuation_mask: Tensor  # (B, T) bool, ## pieces
    report_text: list[str]


@dataclass(frozen=True, kw_only=True)
class WordTransform:
    """Study to example: what the workers run.

    Args:
        tokenizer: The vocabulary.
        max_tokens: T.
        resize: Side of the square that is cropped from.
        image_px: Side S of the crop.
        train: Crop at random; else at the centre.
        antialias: Shrink by area averaging; False is plain bilinear, as ASG does.
        crop_scale: Smallest share of the image that a crop of any size shows; None
            crops out of the resized image.
        official: Sentences and sizes as MGCA's released code cuts them.
    """

    tokenizer: ReportTokenizer
    max_tokens: int
    resize: int
    image_px: int
    train: bool
    antialias: bool = True
    crop_scale: float | None = None
    official: bool = False

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Fields of one example."""
        pixels, _ = self.crop(study.image, rng)
        fields, _ = self.read_caption(self.sentences(study.report))
        return {"uid": study.uid, "image": planes(pixels), **fields}

    def sentences(self, report: Report) -> list[str]:
        """Sentences of a report, impression first."""
        if not self.official:
            return report_sentences(report)
        text = f"{report.impression} {report.findings}"
        return [
            s for s in official_sentences(text if text.strip() else report.body) if s
        ]

    def read_caption(self, sentences: Sequence[str]) -> tuple[Example, list[range]]:
        """Token fields of a caption, and the numbers of each sentence's words."""
        plain = sentences if self.official else [words_of(s) for s in sentences]
        ids, present, continues, words = caption_pieces(
            self.tokenizer, plain, self.max_tokens
        )
        return {
            "input_ids": ids,
            "attention_mask": present,
            "continuation_mask": continues,
            "report_text": " ".join(sentences),
        }, words

    def crop(
        self, image: npt.NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], Placement | CropGeometry]:
        """The square crop (S, S), and where it came from."""
        return square_crop(
            image,
            rng,
            self.image_px,
            self.resize,
            self.train,
            self.antialias,
            self.official,
            self.crop_scale,
        )

"""FLAIR in the workers: the whole image on a canvas, a caption of its words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.methods.flair.options import FLAIROptions
from vlp_zoo.methods.paired.fields import PairedBatch
from vlp_zoo.methods.text_keys import exact_key, text_key
from vlp_zoo.reports.captions import Lexicon
from vlp_zoo.transforms import planes, training_view
from vlp_zoo.types import Example, Study
from vlp_zoo.variation import canvas

__all__ = ["FLAIRBatch", "FLAIRTransform"]

MOST_WORDS = 32
"""Categories of an image that are compared; its drawn one always is."""


class FLAIRBatch(PairedBatch):
    """The fields of `PairedBatch`; ``report_text`` is the caption.

    ``report_key`` is the class, the drawn category.
    """

    word_keys: Tensor  # (B, MOST_WORDS) int64, all categories of an image, 0 = none


@dataclass(frozen=True)
class FLAIRTransform:
    """Study to example: what the workers run.

    Args:
        lexicon: What becomes of words.
        options: Those of the method.
        tokenizer: Vocabulary of the text encoder.
        train: Draw crops, if crops are wanted.
    """

    lexicon: Lexicon
    options: FLAIROptions
    tokenizer: ReportTokenizer
    train: bool

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Fields of one example."""
        flags = self.options.flags
        lesions = [name for name, mask in study.masks.items() if mask.any()]
        words = self.lexicon.words(
            study.facts, study.labels.tolist(), lesions, study.report.body
        )
        caption, own, plain = self.lexicon.caption(words, rng)
        if not own and flags.wordless == "caption":
            own = plain
        key = text_key if flags.aliases else exact_key
        keys = [key(word) for word in dict.fromkeys((own, *words.categories))]
        keys = keys[:MOST_WORDS]
        ids, mask = self.tokenizer.encode_padded(
            caption, self.options.max_tokens, sep=True
        )
        return {
            "uid": study.uid,
            "image": self._pixels(study, rng),
            "noise_key": np.int64(rng.integers(0, 2**63 - 1)),
            "report_key": np.int64(keys[0]),
            "word_keys": np.array([*keys, *[0] * (MOST_WORDS - len(keys))], np.int64),
            "report_text": caption,
            "input_ids": ids,
            "attention_mask": mask,
        }

    def _pixels(self, study: Study, rng: np.random.Generator) -> Any:
        size, share = self.options.image_size, self.options.crop_scale
        if share is None:
            return canvas(torch.from_numpy(planes(study.image)), size)
        pixels, _ = training_view(
            study.image, rng, size, train=self.train, crop_scale=share
        )
        return planes(pixels)

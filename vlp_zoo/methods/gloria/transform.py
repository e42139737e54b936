"""GLoRIA in the workers: a square of the image, a sentence of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.methods.gloria.options import GLoRIAOptions
from vlp_zoo.methods.paired.captions import (
    caption_pieces,
    official_sentences,
    words_of,
)
from vlp_zoo.methods.paired.square import square_crop
from vlp_zoo.methods.text_keys import text_key
from vlp_zoo.transforms import planes
from vlp_zoo.types import Example, Study

__all__ = ["GLoRIATransform", "caption_sentences"]

CUT = 5
"""Words at which the released code takes a report for complete: the number of captions of
an image stands in for the limit, which is asked for exactly."""


def caption_sentences(text: str, official: bool = False) -> list[str]:
    """The sentences of a text; one of a single word if there is no other.

    Args:
        text: Impression, report or prompt.
        official: None after a sentence with which the words are exactly `CUT`; empty
            sentences stay, and a text may have none.

    >>> caption_sentences("Lungs are clear. Stable. Mild edema. No effusion.")
    ['lungs are clear', 'mild edema', 'no effusion']
    >>> caption_sentences("Lungs are clear. Mild edema. No effusion.", official=True)
    ['lungs are clear', 'mild edema']
    """
    found = official_sentences(text)
    if not official:
        return [sentence for sentence in found if sentence] or [words_of(text)]
    read = 0
    for number, sentence in enumerate(found):
        read += len(sentence.split())
        if read == CUT:
            return found[: number + 1]
    return found


@dataclass(frozen=True)
class GLoRIATransform:
    """Study to example: what the workers run.

    Args:
        tokenizer: The vocabulary.
        options: Those of the method.
        train: Crop at random; else at the centre.
    """

    tokenizer: ReportTokenizer
    options: GLoRIAOptions
    train: bool

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Fields of one example; see `GLoRIABatch`."""
        size = self.options.crop_side
        pixels, _ = square_crop(
            study.image,
            rng,
            size,
            # 256 for 224, as released.
            round(size * 8 / 7),
            self.train,
            official=True,
            crop_scale=self.options.crop_scale,
        )
        report, official = study.report, self.options.sentences == "official"
        concludes = self.options.report_text == "impression" and report.impression
        sentences = caption_sentences(concludes or report.body, official)
        if self.options.caption == "sentence" and sentences:
            sentences = [sentences[int(rng.integers(len(sentences)))]]
        text = " ".join(sentences)
        return {
            "uid": study.uid,
            "image": planes(pixels),
            "report_text": text,
            "report_key": np.int64(text_key(text)),
            **self.tokens(sentences),
        }

    def tokens(self, sentences: Sequence[str]) -> Example:
        """Token fields of one text."""
        ids, present, continues, _ = caption_pieces(
            self.tokenizer, sentences, self.options.max_tokens
        )
        words = present & ~continues
        if not self.options.count_unknown:
            words &= ids != self.tokenizer.unk_id
        return {
            "input_ids": ids,
            "attention_mask": present,
            "continuation_mask": continues,
            # All but the last, [SEP].
            "word_count": np.int64(words.sum() - 1),
        }

"""Image and report of one study as fields of a batch; shared by contrastive methods.

`PairedTransform` is what loader processes run: crop the image, tokenise the report,
mark its sentences. `ReportTokens` alone serves prompts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from torch import Tensor

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.methods.text_keys import text_key
from vlp_zoo.reports.sections import clean, split_sentences
from vlp_zoo.transforms import planes, training_view
from vlp_zoo.types import Example, Study

__all__ = [
    "PairedBatch",
    "PairedTransform",
    "ReportTokens",
    "SentenceBatch",
    "observations",
]

Grey = npt.NDArray[np.uint8]


class PairedBatch(TypedDict):
    """What `PairedTransform` returns, collated. S is the encoder's image side."""

    uid: list[str]
    image: Tensor  # (B, 1 or 3, S, S) uint8
    noise_key: Tensor  # (B,) int64, for draws on the device
    report_key: Tensor  # (B,) int64, equal for equal reports
    report_text: list[str]
    input_ids: Tensor  # (B, T) int64
    attention_mask: Tensor  # (B, T) bool


class SentenceBatch(PairedBatch):
    """The same with the sentences marked. S stands for the sentences kept at most."""

    span_ids: Tensor  # (B, T) int64, number of the sentence, -1 = none
    sentence_mask: Tensor  # (B, S) bool
    sentence_key: Tensor  # (B, S) int64, equal for equal sentences
    sentence_weight: Tensor  # (B, S) float32, 0 for padding
    sentences: list[list[str]]  # the texts, S a study, "" for padding


def observations(text: str, min_words: int = 2) -> list[str]:
    """The statements of a report: sentences and their parts between semicolons.

    Args:
        text: Report without de-identified spans.
        min_words: Shorter ones are left out; "clear lung" has two.

    Returns:
        In order, each once.

    Example:
        >>> observations("Lungs are clear; no edema. Stable. LUNGS ARE CLEAR.")
        ['Lungs are clear', 'no edema.']
    """
    found: dict[int, str] = {}
    for sentence in split_sentences(text):
        for part in sentence.split(";"):
            if len(re.findall(r"[^\W_]+", part)) >= min_words:
                found.setdefault(text_key(part), part.strip())
    return list(found.values())


@dataclass(frozen=True)
class ReportTokens:
    """A report's text to token fields, sentence by sentence.

    Args:
        tokenizer: Vocabulary of the text encoder.
        max_tokens: T; longer texts are cut, shorter ones padded.
        sentences: Sentences S marked at most; 0 leaves their fields out.
        min_words: Sentences with fewer words are read but not marked.
        weights: Weight by `text_key` of a sentence; others count 1.
    """

    tokenizer: ReportTokenizer
    max_tokens: int
    sentences: int = 0
    min_words: int = 2
    weights: Mapping[int, float] | None = None

    def __call__(
        self, text: str, rng: np.random.Generator | None = None
    ) -> dict[str, Any]:
        """Fields of one text; see `PairedBatch` and `SentenceBatch`.

        Args:
            text: Cleaned report.
            rng: Draws which sentences are marked where there are too many; None
                marks the first ones.
        """
        if not self.sentences:
            ids, mask = self.tokenizer.encode_padded(text, self.max_tokens)
            return {"input_ids": ids, "attention_mask": mask}
        marked = observations(text, self.min_words)
        if rng is not None and len(marked) > self.sentences:
            chosen = rng.choice(len(marked), self.sentences, replace=False)
            marked = [marked[i] for i in sorted(chosen)]
        numbers = {text_key(s): i for i, s in enumerate(marked[: self.sentences])}
        ids = np.full(self.max_tokens, self.tokenizer.pad_id, np.int64)
        spans = np.full(self.max_tokens, -1, np.int64)
        ids[0], end = self.tokenizer.cls_id, 1
        for sentence in split_sentences(text):
            for part in re.split(r"(?<=;)", sentence):
                # Some vocabularies have other tokens for words behind a space.
                words = part if end == 1 else f" {part.lstrip()}"
                pieces = self.tokenizer.pieces(words)[: self.max_tokens - end]
                ids[end : end + len(pieces)] = pieces
                # A repeated sentence is one observation; all its tokens count.
                spans[end : end + len(pieces)] = numbers.get(text_key(part), -1)
                end += len(pieces)
        mask = np.arange(self.max_tokens) < end
        # A sentence beyond the cut has no tokens to be made of.
        kept = np.isin(np.arange(self.sentences), spans)
        keys = np.zeros(self.sentences, np.int64)
        keys[: len(numbers)] = list(numbers)
        weights = kept.astype(np.float32)
        if self.weights is not None:
            weights *= [self.weights.get(int(key), 1.0) for key in keys]
        shown = [*marked[: self.sentences], *[""] * (self.sentences - len(numbers))]
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "span_ids": spans,
            "sentence_mask": kept,
            "sentence_key": np.where(kept, keys, 0),
            "sentence_weight": weights.astype(np.float32),
            "sentences": [s if k else "" for s, k in zip(shown, kept, strict=True)],
        }


@dataclass(frozen=True)
class PairedTransform:
    """Study to example: what the workers run.

    Args:
        report: Text part.
        image_size: Side S of the square images.
        train: Crop and vary; else the whole image is resized.
        crop_scale: Smallest share of the image that a training crop shows.
        jitter: Largest relative change of contrast, and of brightness.
        sentence_dropout: Chance to leave out each sentence of a training report;
            one always stays.
    """

    report: ReportTokens
    image_size: int
    train: bool
    crop_scale: float = 0.6
    jitter: float = 0.0
    sentence_dropout: float = 0.0

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Fields of one example."""
        # Never mirrored: reports name sides, and the heart has one.
        pixels, _ = training_view(
            study.image,
            rng,
            self.image_size,
            train=self.train,
            crop_scale=self.crop_scale,
        )
        text = clean(study.report.body)
        key = text_key(text)
        if self.train:
            pixels = self._vary(pixels, rng)
            text = self._shorten(text, rng)
        return {
            "uid": study.uid,
            "image": planes(pixels),
            "noise_key": np.int64(rng.integers(0, 2**63 - 1)),
            "report_key": np.int64(key),
            "report_text": text,
            **self.report(text, rng if self.train else None),
        }

    def _vary(self, pixels: Grey, rng: np.random.Generator) -> Grey:
        if not self.jitter:
            return pixels
        contrast, brightness = 1 + rng.uniform(-self.jitter, self.jitter, 2)
        # One curve for all channels, so that none drifts against the others.
        levels = np.arange(256, dtype=np.float32) * brightness
        middle = float(pixels.mean()) * brightness
        levels = (levels - middle) * contrast + middle
        table = np.rint(levels.clip(0, 255)).astype(np.uint8)
        return np.asarray(table[pixels], np.uint8)

    def _shorten(self, text: str, rng: np.random.Generator) -> str:
        if not self.sentence_dropout:
            return text
        sentences = split_sentences(text)
        if len(sentences) < 2:
            return text
        draws = rng.random(len(sentences))
        draws[draws.argmax()] = 1.0
        chosen = zip(sentences, draws >= self.sentence_dropout, strict=True)
        return " ".join(sentence for sentence, stays in chosen if stays)

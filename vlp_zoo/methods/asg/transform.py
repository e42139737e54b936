"""ASG in the workers: crop, caption, regions with their sentences, tags.

Captions follow MGCA (Wang et al., arXiv 2210.06044), on which ASG builds: impression
before findings, words only, lower case, no punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.reports.regions import RegionBoxes
from vlp_zoo.reports.sections import clean, split_sentences
from vlp_zoo.reports.triplets import Reader, align, statements, tag_vector
from vlp_zoo.reports.words.tags import TAGS
from vlp_zoo.transforms import CropGeometry, planes, training_view
from vlp_zoo.types import Box, Example, Report, Study

__all__ = [
    "ASGBatch",
    "ASGTransform",
    "Placement",
    "caption",
    "caption_pieces",
    "fit_square",
    "report_sentences",
    "sentence_counts",
    "tokenize_texts",
]

Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_WORD = re.compile(r"[a-z0-9]+")


def report_sentences(report: Report) -> list[str]:
    """Sentences of a report, impression first; of the whole text without sections."""
    parts = [report.impression, report.findings]
    text = "\n\n".join(part for part in parts if part.strip()) or report.body
    return [clean(sentence) for sentence in split_sentences(text)]


def caption(text: str) -> list[str]:
    """A text's sentences as the report encoder reads them.

    >>> caption("No effusion. 3.5 cm mass.")
    ['no effusion', '3 5 cm mass']
    """
    return [_words(clean(sentence)) for sentence in split_sentences(text)]


def _words(sentence: str) -> str:
    return " ".join(_WORD.findall(sentence.lower()))


def caption_pieces(
    tokenizer: ReportTokenizer, sentences: Sequence[str], max_tokens: int
) -> tuple[Ids, Mask, Mask, list[range]]:
    """Tokens of a caption, and the words of each sentence in it.

    Args:
        tokenizer: The vocabulary.
        sentences: Sentences of the report, from `caption`.
        max_tokens: T, special tokens included.

    Returns:
        ids (T,), attention mask (T,), continuation mask (T,), and for each sentence
        the numbers of its words (the first word after [CLS] is 0), cut where the
        caption is cut.
    """
    pieces: list[int] = []
    spans: list[tuple[int, int]] = []
    for sentence in sentences:
        start = len(pieces)
        pieces += tokenizer.pieces(sentence)
        spans.append((start, len(pieces)))
    pieces = pieces[: max_tokens - 2]
    ids = np.full(max_tokens, tokenizer.pad_id, np.int64)
    row = [tokenizer.cls_id, *pieces, tokenizer.sep_id]
    ids[: len(row)] = row
    present = np.arange(max_tokens) < len(row)
    continues = tokenizer.continuation[ids] & present
    # Words opened before each piece: the number of the word that starts there.
    opened = np.concatenate([[0], np.cumsum(~continues[1 : len(pieces) + 1])])
    words = [
        range(int(opened[min(a, len(pieces))]), int(opened[min(b, len(pieces))]))
        for a, b in spans
    ]
    return ids, present, continues, words


def tokenize_texts(
    tokenizer: ReportTokenizer, texts: Sequence[str], max_tokens: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Texts as the report encoder reads them, padded.

    Returns:
        ids (N, T) int64, attention mask (N, T), continuation mask (N, T).
    """
    rows = [caption_pieces(tokenizer, caption(text), max_tokens) for text in texts]
    ids, present, continues = (
        torch.from_numpy(np.stack([row[field] for row in rows])) for field in (0, 1, 2)
    )
    return ids, present, continues


def sentence_counts(
    word_indices: Sequence[Sequence[int]], slots: int, words: int
) -> npt.NDArray[np.uint8]:
    """(slots, words): how often each word stands in each list of word numbers."""
    counts = np.zeros((slots, words), np.uint8)
    for row, indices in enumerate(word_indices):
        np.add.at(counts[row], np.asarray(indices, np.int64), 1)
    return counts


class ASGBatch(TypedDict):
    """What ``ASG.make_transform`` returns, collated. S is the image side."""

    uid: list[str]
    image: Tensor  # (B, 1 or 3, S, S) uint8
    input_ids: Tensor  # (B, T) int64
    attention_mask: Tensor  # (B, T) bool
    continuation_mask: Tensor  # (B, T) bool, ## pieces
    tags: Tensor  # (B, 40) float32, 1 = the report states it
    region_boxes: Tensor  # (B, R, 4) float32, x1 y1 x2 y2 in pixels of the image
    region_groups: Tensor  # (B, R) int64, equal = same sentences, -1 = no region
    sentence_words: Tensor  # (B, R, T - 1) uint8, words of the region's sentences
    report_text: list[str]


@dataclass(frozen=True)
class Placement:
    """Where an image went: scaled by its longer side, centred in a square, cropped.

    Attributes:
        across: Factor on x.
        down: Factor on y.
        left: Columns added on the left, less the crop's first column.
        top: Rows added at the top, less the crop's first row.
        size: Side of the crop.
    """

    across: float
    down: float
    left: int
    top: int
    size: int

    def apply(self, box: Box) -> Box | None:
        """A box in pixels of the crop, cut at its border; None if nothing is left."""
        x1, y1, x2, y2 = box.xyxy
        x1, x2 = (
            min(max(x * self.across + self.left, 0.0), self.size) for x in (x1, x2)
        )
        y1, y2 = (min(max(y * self.down + self.top, 0.0), self.size) for y in (y1, y2))
        if x2 <= x1 or y2 <= y1:
            return None
        return replace(box, xyxy=(x1, y1, x2, y2))


def fit_square(
    image: npt.NDArray[np.uint8], side: int, antialias: bool
) -> tuple[npt.NDArray[np.uint8], Placement]:
    """Scale the longer side to ``side`` and centre the image on a black square.

    Args:
        image: (H, W) or (H, W, 3).
        side: Side of the square in pixels.
        antialias: Shrink by area averaging; False is plain bilinear, as released.
    """
    height, width = image.shape[:2]
    factor = side / max(height, width)
    w, h = max(round(width * factor), 1), max(round(height * factor), 1)
    shrinks = antialias and factor < 1
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled = image
    if (h, w) != (height, width):
        scaled = np.asarray(cv2.resize(image, (w, h), interpolation=how), np.uint8)
    top, left = (side - h) // 2, (side - w) // 2
    square = np.zeros((side, side, *image.shape[2:]), np.uint8)
    square[top : top + h, left : left + w] = scaled
    return square, Placement(w / width, h / height, left, top, side)


@dataclass(frozen=True)
class ASGTransform:
    """Study to example: what the workers run.

    Args:
        tokenizer: The vocabulary.
        boxes: Looks up region boxes.
        max_tokens: T.
        max_regions: R.
        resize: Side of the square that is cropped from.
        image_px: Side S of the crop.
        train: Crop at random; else at the centre.
        antialias: Shrink by area averaging; False is plain bilinear, as released.
        shared_positives: Give regions with the same sentences the same group.
        crop_scale: Smallest share of the image that a crop of any size shows; None
            crops out of the resized image.
        read: Finds the statements of a sentence.
    """

    tokenizer: ReportTokenizer
    boxes: RegionBoxes
    max_tokens: int
    max_regions: int
    resize: int
    image_px: int
    train: bool
    antialias: bool = True
    shared_positives: bool = True
    crop_scale: float | None = None
    read: Reader = statements

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Fields of one example; see the batch of `vlp_zoo.methods.asg`."""
        pixels, placement = self.crop(study.image, rng)
        sentences = report_sentences(study.report)
        ids, present, continues, words = caption_pieces(
            self.tokenizer, [_words(s) for s in sentences], self.max_tokens
        )
        values = tag_vector(sentences, self.read)
        return {
            "uid": study.uid,
            "image": planes(pixels),
            "input_ids": ids,
            "attention_mask": present,
            "continuation_mask": continues,
            "tags": np.array([values[tag] == 1 for tag in TAGS], np.float32),
            **self.regions(study, placement, sentences, words),
            "report_text": " ".join(sentences),
        }

    def crop(
        self, image: npt.NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], Placement | CropGeometry]:
        """The square crop (S, S), and where it came from."""
        if self.crop_scale is not None:
            return training_view(
                image,
                rng,
                self.image_px,
                train=self.train,
                crop_scale=self.crop_scale,
            )
        square, fitted = fit_square(image, self.resize, self.antialias)
        free = self.resize - self.image_px
        x, y = free // 2, free // 2
        if self.train:
            x, y = (int(offset) for offset in rng.integers(0, free + 1, 2))
        return cut_out(square, fitted, x, y, self.image_px)

    def regions(
        self,
        study: Study,
        placement: Placement | CropGeometry,
        sentences: Sequence[str],
        words: Sequence[range],
    ) -> Example:
        """Boxes, groups and words of the regions that the report speaks of."""
        about = align(sentences, self.read)
        found = self.boxes.find(study, about)
        rows: list[tuple[Box, tuple[int, ...]]] = []
        for name, box in found.items():
            seen = placement.apply(box)
            # Sentences beyond the cut have no words left to learn from.
            spoken = tuple(i for i in about[name] if len(words[i]))
            if seen is not None and spoken:
                rows.append((seen, spoken))
        rows = rows[: self.max_regions]
        boxes = np.full((self.max_regions, 4), -1, np.float32)
        groups = np.full(self.max_regions, -1, np.int64)
        known: dict[tuple[int, ...], int] = {}
        for slot, (box, spoken) in enumerate(rows):
            boxes[slot] = box.xyxy
            shared = known.setdefault(spoken, slot)
            groups[slot] = shared if self.shared_positives else slot
        indices = [[w for i in spoken for w in words[i]] for _, spoken in rows]
        return {
            "region_boxes": boxes,
            "region_groups": groups,
            "sentence_words": sentence_counts(
                indices, self.max_regions, self.max_tokens - 1
            ),
        }


def cut_out(
    square: npt.NDArray[np.uint8], fitted: Placement, x: int, y: int, size: int
) -> tuple[npt.NDArray[np.uint8], Placement]:
    """Crop (size, size) at (x, y) of a square from `fit_square`."""
    part = np.ascontiguousarray(square[y : y + size, x : x + size])
    return part, replace(fitted, left=fitted.left - x, top=fitted.top - y, size=size)

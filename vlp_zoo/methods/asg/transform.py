"""ASG in the workers: crop, caption, regions with their sentences, tags.

Captions and crops are those of MGCA, on which ASG builds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from vlp_zoo.methods.paired.captions import report_sentences
from vlp_zoo.methods.paired.square import Placement
from vlp_zoo.methods.paired.word_fields import WordBatch, WordTransform
from vlp_zoo.reports.regions import RegionBoxes
from vlp_zoo.reports.triplets import Reader, align, statements, tag_vector
from vlp_zoo.reports.words.tags import TAGS
from vlp_zoo.transforms import CropGeometry, planes
from vlp_zoo.types import Box, Example, Study

__all__ = [
    "ASGBatch",
    "ASGTransform",
    "sentence_counts",
]


def sentence_counts(
    word_indices: Sequence[Sequence[int]], slots: int, words: int
) -> npt.NDArray[np.uint8]:
    """(slots, words): how often each word stands in each list of word numbers."""
    counts = np.zeros((slots, words), np.uint8)
    for row, indices in enumerate(word_indices):
        np.add.at(counts[row], np.asarray(indices, np.int64), 1)
    return counts


class ASGBatch(WordBatch):
    """What ``ASG.make_transform`` returns, collated."""

    tags: Tensor  # (B, 40) float32, 1 = the report states it
    region_boxes: Tensor  # (B, R, 4) float32, x1 y1 x2 y2 in pixels of the image
    region_groups: Tensor  # (B, R) int64, equal = same sentences, -1 = no region
    sentence_words: Tensor  # (B, R, T - 1) uint8, words of the region's sentences


@dataclass(frozen=True, kw_only=True)
class ASGTransform(WordTransform):
    """Study to example: what the workers run.

    Args:
        boxes: Looks up region boxes.
        max_regions: R.
        shared_positives: Give regions with the same sentences the same group.
        read: Finds the statements of a sentence.
    """

    boxes: RegionBoxes
    max_regions: int
    shared_positives: bool = True
    read: Reader = statements

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Fields of one example; see the batch of `vlp_zoo.methods.asg`."""
        pixels, placement = self.crop(study.image, rng)
        sentences = report_sentences(study.report)
        caption, words = self.read_caption(sentences)
        values = tag_vector(sentences, self.read)
        return {
            "uid": study.uid,
            "image": planes(pixels),
            **caption,
            "tags": np.array([values[tag] == 1 for tag in TAGS], np.float32),
            **self.regions(study, placement, sentences, words),
        }

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

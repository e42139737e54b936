"""A second look at a study: another view of its image, the other half of its report.

You et al., CXR-CLIP: toward large scale chest X-ray language-image pre-training, MICCAI
2023, arXiv 2310.13292, compares the two looks with each other as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from vlp_zoo.methods.paired.fields import PairedBatch, PairedTransform
from vlp_zoo.methods.text_keys import text_key
from vlp_zoo.reports.sections import clean
from vlp_zoo.types import Example, Report, Study

__all__ = ["SecondLook", "TwiceSeen", "halves"]


class TwiceSeen(PairedBatch, total=False):
    """A paired batch with what `SecondLook` adds."""

    second_image: Tensor  # (B, 1 or 3, S, S) uint8
    second_text: list[str]
    second_ids: Tensor  # (B, T) int64
    second_mask: Tensor  # (B, T) bool


def halves(report: Report) -> tuple[str, str]:
    """Findings and impression; a report without both stands for either.

    Example:
        >>> halves(Report("", findings="Clear lungs.", impression="Normal."))
        ('Clear lungs.', 'Normal.')
        >>> halves(Report("", findings="Clear lungs."))
        ('Clear lungs.', 'Clear lungs.')
    """
    if report.findings.strip() and report.impression.strip():
        return report.findings, report.impression
    return report.body, report.body


@dataclass(frozen=True)
class SecondLook:
    """Looks at a study twice, each time with draws of its own.

    Args:
        look: What makes the fields of one look.
        image: Crop and vary the image once more.
        text: Read the report in two parts: findings and impression where it has both,
            else the same text, from which sentences are left out independently.
    """

    look: PairedTransform
    image: bool
    text: bool

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Fields of one example."""
        first, second = (
            self.look(replace(study, report=Report(part)) if self.text else study, rng)
            for part in halves(study.report)
        )
        # Equal reports are equal in both halves.
        first["report_key"] = np.int64(text_key(clean(study.report.body)))
        if self.image:
            first["second_image"] = second["image"]
        if self.text:
            first["second_text"] = second["report_text"]
            first["second_ids"] = second["input_ids"]
            first["second_mask"] = second["attention_mask"]
        return first

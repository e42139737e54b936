"""IMITATE's side of the workers: two views of an image, two sections of a report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlp_zoo.methods.paired.views import RandomView, cut_border
from vlp_zoo.reports.sections import clean
from vlp_zoo.transforms import planes
from vlp_zoo.types import Example, Report, Study

__all__ = ["IMITATETransform", "Sections", "sections_of"]


@dataclass(frozen=True)
class Sections:
    """What the two branches read.

    Attributes:
        findings: Text; the impression where there are no findings.
        impression: Text; the findings where there is no impression.
        has_findings: Whether the findings count in the loss.
        has_impression: Whether the impression counts in the loss.
    """

    findings: str
    impression: str
    has_findings: bool
    has_impression: bool


def sections_of(report: Report) -> Sections:
    """Findings and impression of a report, ready to be embedded.

    A missing section borrows the other's text, so that batch norm sees texts like the
    others; it has no weight in the loss. A report without sections, such as one
    sentence in a table, is read as both. An empty report counts for nothing.

    Example:
        >>> sections_of(Report("FINDINGS: Clear.", findings="Clear."))
        Sections(findings='Clear.', impression='Clear.', has_findings=True, \
has_impression=False)
    """
    findings, impression = clean(report.findings), clean(report.impression)
    if not findings and not impression:
        whole = clean(report.body)
        return Sections(whole, whole, bool(whole), bool(whole))
    return Sections(
        findings or impression,
        impression or findings,
        bool(findings),
        bool(impression),
    )


@dataclass(frozen=True)
class IMITATETransform:
    """Study to example: what the workers run.

    Args:
        image_size: Side S of the square views.
        train: Two different views; else the one without chance, twice.
        variation: How training views differ.
    """

    image_size: int
    train: bool
    variation: RandomView

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Fields of one example; see the batch of `vlp_zoo.methods.imitate`."""
        pixels = self.variation.prepare(cut_border(study.image), self.image_size)
        if self.train:
            first = self.variation(pixels, rng, self.image_size)
            second = self.variation(pixels, rng, self.image_size)
        else:
            first = second = self.variation.whole(pixels, self.image_size)
        read = sections_of(study.report)
        return {
            "uid": study.uid,
            "image": planes(first),
            "image_view2": planes(second),
            # Channels are drawn on the device from this key, not from the worker.
            "noise_key": np.int64(rng.integers(0, 2**63 - 1)),
            "findings_text": read.findings,
            "impression_text": read.impression,
            "has_findings": np.bool_(read.has_findings),
            "has_impression": np.bool_(read.has_impression),
        }

"""What can be chosen where reports are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vlp_zoo.evaluation.reports.judging import HEADLINE
from vlp_zoo.evaluation.reports.scorers import scorer_names
from vlp_zoo.evaluation.training.learner import Plan
from vlp_zoo.evaluation.training.settings import Trained, require
from vlp_zoo.reports.blank import stated
from vlp_zoo.types import Report

__all__ = ["WritingSettings"]

SECTIONS = ("body", "findings", "impression")

LEAST = {
    "beams": 1,
    "length": 2,
    "layers": 1,
    "validation_cases": 2,
    "reference_words": 0,
    "reference_count": 0,
}
"""The least value of each setting that is a count."""


@dataclass(frozen=True)
class WritingSettings(Trained):
    """Settings of ``vlp-rrg`` and its relatives, beside those of `Trained`.

    Attributes:
        section: ``"body"`` (findings, then impression), ``"findings"`` or
            ``"impression"``; studies without it are left out and counted.
        steps: Optimiser steps at label fractions up to 1 %, up to 10 % and above.
        learning_rate: Peak, of the decoder.
        encoder_learning_rate: Peak, of the encoder.
        validation_cases: Most cases of each look.
        select: ``"cider_d"`` or ``"bleu_4"`` of greedy texts chooses the step.
        vocabulary: Most sub-words, learnt from the training reports of the fraction.
        length: Most sub-words of a report, in training and when writing.
        beams: Beams of the search on the test split; 1 is greedy.
        length_penalty: Power of a text's length that its log-likelihood is divided by
            in ranking: 1 is the mean over sub-words, 0 the sum.
        width: Width of the decoder.
        heads: Attention heads of the decoder.
        layers: Layers of the decoder.
        feedforward: Inner width of the decoder's feed-forward parts.
        dropout: Dropout rate of the decoder.
        scorers: Scorers of other packages, names of
            `vlp_zoo.evaluation.reports.scorers.scorer_names`, beside our own.
        reference_words: Cut both texts to this many words before counting overlaps, as
            old code does; 0 does not.
        reference_count: Words seen less often in training become one and the same
            unknown word on both sides before counting overlaps; 0 keeps all.
    """

    section: str = "body"
    steps: tuple[int, int, int] = (1500, 5000, 20000)
    batch_size: int = 32
    learning_rate: float = 1e-4
    encoder_learning_rate: float = 1e-5
    validation_cases: int = 500
    select: str = "cider_d"
    augment: str = "finetune"
    vocabulary: int = 5000
    length: int = 128
    beams: int = 3
    length_penalty: float = 1.0
    width: int = 512
    heads: int = 8
    layers: int = 3
    feedforward: int = 512
    dropout: float = 0.1
    scorers: tuple[str, ...] = ()
    reference_words: int = 0
    reference_count: int = 0
    name: str = "vlp-rrg"

    needs: ClassVar[frozenset[str]] = frozenset({"reports"})
    headline: ClassVar[str] = HEADLINE

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.section in SECTIONS,
            f"a section among {', '.join(SECTIONS)}",
            self.section,
        )
        require(
            self.select in ("cider_d", "bleu_4"),
            "select cider_d or bleu_4",
            self.select,
        )
        require(len(self.steps) == 3, "three numbers of steps", self.steps)
        require(
            self.heads >= 1 and self.width % self.heads == 0,
            "a width that the heads divide",
            f"width {self.width}, heads {self.heads}",
        )
        unknown = sorted(set(self.scorers) - set(scorer_names()))
        require(
            not unknown,
            f"scorers among {', '.join(scorer_names())} (our own scores need no name)",
            ", ".join(unknown),
        )
        for name, least in LEAST.items():
            value = getattr(self, name)
            require(value >= least, f"{name} of {least} or more", value)

    def plan(self) -> Plan:
        """How long and how fast is trained at the protocol's label fraction."""
        return self.plan_of(self.of_fraction(self.steps), self.learning_rate)

    def said(self, report: Report) -> str:
        """The part of a report that is written; "" where it is missing."""
        text = report.body if self.section == "body" else getattr(report, self.section)
        return stated(str(text))

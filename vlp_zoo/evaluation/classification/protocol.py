"""What all protocols share that judge labels: how two candidates differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vlp_zoo.evaluation.classification.classes import HEADLINE, class_statistic
from vlp_zoo.evaluation.protocol import ByLabel
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import (
    Interval,
    Statistic,
    label_statistic,
)

__all__ = ["Classification"]


@dataclass(frozen=True)
class Classification(ByLabel):
    """A protocol whose cases are labels with scores."""

    def statistic(self, cases: Cases, used: Sequence[int]) -> Statistic:
        """Balanced accuracy where classes exclude each other, else the headline."""
        if "class" in cases.columns:
            return class_statistic(HEADLINE, cases.columns["class"], cases.scores)
        labels, scores = cases.labels[:, used], cases.scores[:, used]
        return label_statistic(self.headline, labels, scores)

    def difference(
        self, one: Cases, two: Cases, undefined: Mapping[str, str], seed: int
    ) -> tuple[Interval, dict[str, float | None]]:
        """Classes that exclude each other all count."""
        counted = {} if "class" in one.columns else undefined
        return super().difference(one, two, counted, seed)

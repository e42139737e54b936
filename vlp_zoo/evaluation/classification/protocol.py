"""What all protocols share that judge labels: how two candidates differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vlp_zoo.evaluation.classification.classes import HEADLINE, class_statistic
from vlp_zoo.evaluation.protocol import Protocol
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import (
    Interval,
    paired_difference,
    paired_interval,
)
from vlp_zoo.evaluation.statistics.metrics import label_values

__all__ = ["Classification"]


@dataclass(frozen=True)
class Classification(Protocol):
    """A protocol whose cases are labels with scores."""

    def difference(
        self, one: Cases, two: Cases, undefined: Mapping[str, str], seed: int
    ) -> tuple[Interval, dict[str, float | None]]:
        """Balanced accuracy where classes exclude each other, else the headline."""
        if "class" in one.columns:
            return self._class_difference(one, two, seed)
        used = [k for k, label in enumerate(one.label_names) if label not in undefined]
        labels = one.labels[:, used]
        mine, other = one.scores[:, used], two.scores[:, used]
        interval = paired_difference(
            self.headline,
            labels,
            mine,
            other,
            one.patient_ids,
            replicates=self.replicates,
            seed=seed,
        )
        gaps = np.subtract(
            *(label_values(self.headline, labels, s) for s in (mine, other))
        )
        per_label: dict[str, float | None] = dict.fromkeys(one.label_names, None)
        for k, gap in zip(used, gaps, strict=True):
            per_label[one.label_names[k]] = float(gap[0])
        return interval, per_label

    def _class_difference(
        self, one: Cases, two: Cases, seed: int
    ) -> tuple[Interval, dict[str, float | None]]:
        truth = one.columns["class"]
        mine, other = (class_statistic(HEADLINE, truth, c.scores) for c in (one, two))
        found = paired_interval(
            mine, other, one.patient_ids, replicates=self.replicates, seed=seed
        )
        once = np.ones((len(truth), 1), np.float32)
        gaps = (mine(once) - other(once))[:, 0]
        return found, {
            name: None if np.isnan(gap) else float(gap)
            for name, gap in zip(one.label_names, gaps, strict=True)
        }

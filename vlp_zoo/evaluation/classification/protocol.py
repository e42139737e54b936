"""What all protocols share that judge labels: how two candidates differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vlp_zoo.evaluation.classification.kinds import stored_kind
from vlp_zoo.evaluation.protocol import ByLabel
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import Interval, Statistic

__all__ = ["Classification"]


@dataclass(frozen=True)
class Classification(ByLabel):
    """A protocol whose cases are labels with scores."""

    def statistic(self, cases: Cases, used: Sequence[int]) -> Statistic:
        """The headline of the kind of labels that the cases have."""
        return stored_kind(cases).stored(cases, used)

    def difference(
        self, one: Cases, two: Cases, undefined: Mapping[str, str], seed: int
    ) -> tuple[Interval, dict[str, float | None]]:
        """The difference over the labels that their kind counts."""
        used = stored_kind(one).counted(one.label_names, undefined)
        names = {one.label_names[k] for k in used}
        left_out = {name: why for name, why in undefined.items() if name not in names}
        return super().difference(one, two, left_out, seed)

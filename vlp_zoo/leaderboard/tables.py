"""Metrics of the runs of a board, made again from the predictions of every case."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import Replicated, Statistic, replicate
from vlp_zoo.leaderboard.remade import statistic_of
from vlp_zoo.leaderboard.replicates import Estimate, combine
from vlp_zoo.leaderboard.runs import Draw, Identity, Run, same_draws

__all__ = ["Tables"]

TOLERANCE = 1e-6
"""By how much a value made again from its cases may differ from the stored one."""


class Tables:
    """Replicated metrics of the runs of a board, the same patients for all.

    Args:
        drawn: Encoder or baseline to its runs by draw.
        headline: The metric that ranks.
        left_out: Labels that do not count on the board.
        replicates: Number of bootstrap replicates; 0 for the values alone.

    Only what gives the stored value again is used: a difference or an interval of
    something else would stand beside a number that it does not belong to.

    Attributes:
        strange: Key of a run to what is wrong with its test cases.
        disagreeing: Key of a run to how a stored value differs from the one that its
            cases give.
    """

    def __init__(
        self,
        drawn: Mapping[Identity, Mapping[Draw, Run]],
        headline: str,
        left_out: Collection[str],
        replicates: int,
    ) -> None:
        self.headline = headline
        self.left_out = tuple(sorted(left_out))
        self.strange: dict[str, str] = {}
        self.disagreeing: dict[str, str] = {}
        first: Cases | None = None
        statistics = {}
        for each in drawn.values():
            for run in each.values():
                cases = run.cases()
                if cases is None:
                    continue
                first = first or cases
                if not _same_cases(cases, first):
                    self.strange[run.head.key] = (
                        "its test cases are not those of the other runs"
                    )
                    continue
                # Beside the headline only what no stored interval covers.
                alone = len(each) == 1 and self.counts_its_own(run)
                for metric in (headline,) if alone else run.rows:
                    found = self._statistic(run, metric, cases)
                    if found is not None:
                        statistics[f"{run.head.key} {metric}"] = found
        patients = first.patient_ids if first else []
        made = replicate(list(statistics.values()), patients, replicates, seed=0)
        self._found = dict(zip(statistics, made, strict=True))

    def counts_its_own(self, run: Run) -> bool:
        """Whether the labels that a run's stored values count are those of the board."""
        return set(run.head.undefined) == set(self.left_out)

    def get(self, run: Run, metric: str) -> Replicated | None:
        """A metric of a run over the labels of the board."""
        return self._found.get(f"{run.head.key} {metric}")

    def value(self, run: Run, metric: str) -> float | None:
        """A metric of a run, as stored or, for other labels, made again; None without."""
        if metric not in run.rows:
            return None
        if self.counts_its_own(run):
            return run.rows[metric].value
        made = self.get(run, metric)
        return None if made is None else made.value

    def difference(
        self, one: Sequence[Run], two: Sequence[Run], *, test: bool
    ) -> Estimate | None:
        """The headline of one minus another, over the draws that both have."""
        gaps = []
        for run, other in same_draws(one, two):
            a, b = self.get(run, self.headline), self.get(other, self.headline)
            if a is not None and b is not None:
                gaps.append(a - b)
        return combine(gaps, test=test) if gaps else None

    def _statistic(self, run: Run, metric: str, cases: Cases) -> Statistic | None:
        """Over the labels of the board, if over its own it gives what is stored."""
        own = run.head.undefined
        stored = statistic_of(metric, cases, own)
        if stored is None:
            return None
        made = stored.value
        value = run.rows[metric].value
        if value is None and np.isnan(made):
            return None
        if value is None or not abs(made - value) <= TOLERANCE:
            told = "none" if value is None else f"{value:.6f}"
            self.disagreeing.setdefault(
                run.head.key,
                f"its predictions give a {metric} of {made:.6f}, the stored value is "
                f"{told}: nothing is compared by them",
            )
            return None
        return statistic_of(metric, cases, self.left_out, own)


def _same_cases(one: Cases, two: Cases) -> bool:
    return (
        one.uids == two.uids
        and one.patient_ids == two.patient_ids
        and one.label_names == two.label_names
        and np.array_equal(one.labels, two.labels, equal_nan=True)
    )

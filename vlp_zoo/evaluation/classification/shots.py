"""What every evaluation on a handful of labelled patients shares.

A draw takes k patients of each class, one image of each; of labels that may occur together
k patients with each label, and k known to have none of them. A study that is drawn shows
all its labels, so that a label may have more positives than k. Smaller numbers of shots lie
inside larger ones of the same draw. One draw says little, so the mean over draws is
reported with an interval over draws and test patients. Where a published split has
patients on two sides, these give no shots.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.classification.classes import per_class
from vlp_zoo.evaluation.classification.kinds import (
    Exclusive,
    Kind,
    kind_of,
    stored_kind,
)
from vlp_zoo.evaluation.classification.protocol import Classification
from vlp_zoo.evaluation.classification.repeated import (
    as_stored,
    score_columns,
    stored_statistics,
)
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate, Measure, Outcome, by_label
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import (
    Interval,
    Statistic,
    hierarchical_interval,
)
from vlp_zoo.evaluation.subject import Subject
from vlp_zoo.evaluation.tasks import Task

__all__ = [
    "Learnt",
    "Shots",
    "difference_of_draws",
    "draw_shots",
]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]
NONE = "none of the labels"
"""Name of the group of studies that are known to have no label."""


@dataclass(frozen=True)
class Learnt:
    """What one draw of shots has taught.

    Attributes:
        test: (N, K) scores of the test cases.
        validation: (M, K) scores of the validation cases.
        chosen: What was chosen for this draw, by name.
    """

    test: Array
    validation: Array
    chosen: Mapping[str, float]


@dataclass(frozen=True)
class Shots(Classification):
    """Settings that every such protocol has.

    Attributes:
        shots: Patients per class or label, ascending; the largest number gives the
            headline.
        draws: How often they are drawn.
    """

    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    draws: int = 10

    # Draws are inside a run: fractions and seeds would repeat it.
    learns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            not self.shots
            or list(self.shots) != sorted(set(self.shots))
            or min(self.shots) < 1
            or self.draws < 1
        ):
            raise ConfigError(
                "ascending shots of 1 or more, 1 draw or more",
                f"{self.shots}, {self.draws}",
                "correct the preset",
            )

    @abstractmethod
    def learner(
        self, candidate: Candidate, task: Task, extraction: Extraction
    ) -> Callable[[Sequence[int], int], Learnt]:
        """What learns from training cases (their indices) that were drawn as k shots."""

    def untaught(self, task: Task, drawn: Sequence[Sequence[int]]) -> dict[str, str]:
        """Labels that some draw cannot teach, which then count in no mean.

        Args:
            task: Names and labels.
            drawn: Indices of training cases, for each draw of each number of shots.
        """
        return {}

    def settings(self, subject: Subject, task: Task) -> dict[str, Any]:
        """Also that shots were taken from nobody in another split, if some are there."""
        own = {"shared_patients": "left out"} if task.shared_patients else {}
        return {**super().settings(subject, task), **own}

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Learn from every draw of every number of shots, then score the test split."""
        kind, names, most = kind_of(task), task.label_names, max(self.shots)
        groups, group_names = _groups(kind, task)
        order = draw_shots(groups, task.splits["train"].patient_ids, self.draws, seed)
        learn = self.learner(candidate, task, extraction)
        rows = {k: [_shown(draw, k) for draw in order] for k in self.shots}
        missing = {
            **self.untaught(task, [each for drawn in rows.values() for each in drawn]),
            **task.excluded,
        }
        used = kind.counted(names, missing)
        truth = task.splits["val"].labels[:, used]
        source = task.splits["test"]
        cases = Cases(
            list(source.uids),
            list(source.patient_ids),
            names,
            source.labels,
            np.empty((0, 0)),
        )
        measures: list[Measure] = []
        judged: list[float] = []
        chosen: dict[str, list[float]] = {}
        for k in sorted(self.shots, reverse=True):
            learnt = [learn(each, k) for each in rows[k]]
            scores = [as_stored(kind, each.test) for each in learnt]
            for number, each in enumerate(scores):
                # Scores of labels are large: those of the headline alone are kept.
                if isinstance(kind, Exclusive) or k == most:
                    named = f"{k} {number}"
                    cases.columns.update(score_columns(kind, names, each, named))
            if k == most:
                cases = _with_scores(kind, cases, np.mean(scores, axis=0))
                judged = [
                    kind.value(truth, each.validation[:, used]) for each in learnt
                ]
                for name in learnt[0].chosen:
                    chosen[name] = [each.chosen[name] for each in learnt]
            measures += self._measures(k, scores, cases, kind, missing, seed)
        measures.append(
            Measure.validation(
                f"{kind.headline}@{most}", float(np.mean(judged)), shots=most
            )
        )
        details: dict[str, Any] = {
            "shots": most,
            "draws": self.draws,
            "labels_used": len(names) - len(missing),
            **chosen,
        }
        found = {g: len(each) for g, each in zip(group_names, order[0], strict=True)}
        if few := {name: n for name, n in found.items() if n < most}:
            details["patients_of_small_classes"] = few
        if not isinstance(kind, Exclusive):
            labels = task.splits["train"].labels
            positives = np.mean([(labels[each] == 1).sum(0) for each in rows[most]], 0)
            details["positives_shown"] = dict(zip(names, positives, strict=True))
        return Outcome(measures, cases, len(rows[most][0]), missing, details)

    def _measures(
        self,
        shots: int,
        scores: Sequence[Array],
        cases: Cases,
        kind: Kind,
        left_out: Collection[str],
        seed: int,
    ) -> list[Measure]:
        metrics = [kind.headline, "macro_auprc"]
        if isinstance(kind, Exclusive):
            metrics = [kind.headline, "macro_auroc"]
            metrics += ["quadratic_kappa"] if kind.ordinal else []
        names, used = cases.label_names, kind.counted(cases.label_names, left_out)
        measures = []
        for metric in metrics:
            statistics = [
                kind.statistic(metric, cases.labels[:, used], each[:, used])
                for each in scores
            ]
            found = hierarchical_interval(
                statistics, cases.patient_ids, replicates=self.replicates, seed=seed
            )
            values = np.stack([each.values for each in statistics])
            details: dict[str, Any] = {
                "shots": shots,
                "of_each_draw": [float(each.value) for each in statistics],
            }
            if isinstance(kind, Exclusive):
                label = per_class(metric, values.mean(0), names, left_out)
                if metric == kind.headline:
                    details["chance"] = 1 / len(names)
            else:
                label = by_label(names, used, values.mean(0))
            measures.append(Measure.of(f"{metric}@{shots}", found, label, **details))
        return measures

    def difference(
        self, one: Cases, two: Cases, undefined: Mapping[str, str], seed: int
    ) -> tuple[Interval, dict[str, float | None]]:
        """The headline at the most shots, paired by draw and test patient."""
        kind = stored_kind(one)
        metric = f"{kind.headline}@{max(self.shots)}"
        mine, other = (stored_statistics(metric, c, undefined) for c in (one, two))
        return difference_of_draws(
            mine, other, one, kind.counted(one.label_names, undefined), self, seed
        )


def difference_of_draws(
    mine: Sequence[Statistic],
    other: Sequence[Statistic],
    cases: Cases,
    used: Sequence[int],
    protocol: Shots,
    seed: int,
) -> tuple[Interval, dict[str, float | None]]:
    """Mean over draws of one statistic minus another of the same cases.

    Args:
        mine: One for each draw, with a row for each label that is used.
        other: What is subtracted, draw by draw.
        cases: Names of labels and patients.
        used: Indices of the labels.
        protocol: Says how many replicates.
        seed: Seed of the bootstrap replicates.
    """
    gaps = [_minus(a, b) for a, b in zip(mine, other, strict=True)]
    found = hierarchical_interval(
        gaps, cases.patient_ids, replicates=protocol.replicates, seed=seed
    )
    mean = np.mean([each.values for each in gaps], axis=0)
    return found, by_label(cases.label_names, used, mean)


def _minus(one: Statistic, two: Statistic) -> Statistic:
    return Statistic(lambda weights: one(weights) - two(weights), one.cases)


def draw_shots(
    groups: Labels | npt.NDArray[np.bool_],
    patient_ids: Sequence[str],
    draws: int,
    seed: int,
) -> list[list[list[int]]]:
    """For each draw and group cases in the order in which shots take them.

    Args:
        groups: (N, G), 1 for the members of a group; what is not known is not drawn.
        patient_ids: (N,); a patient gives one case to a group.
        draws: How many.
        seed: Seed of the random draws.

    Returns:
        ``[draw][group]`` to indices, one for each patient of the group.
    """
    patients, members = np.asarray(patient_ids), groups == 1
    result = []
    for draw in range(draws):
        rng = np.random.default_rng((seed, 83, draw))
        order = rng.permutation(len(members))
        drawn: list[list[int]] = []
        for k in range(members.shape[1]):
            mine = order[members[order, k]]
            _, first = np.unique(patients[mine], return_index=True)
            drawn.append([int(i) for i in mine[np.sort(first)]])
        result.append(drawn)
    return result


def _groups(kind: Kind, task: Task) -> tuple[npt.NDArray[np.bool_], tuple[str, ...]]:
    """Who can be a shot of what: (N, G), and the names of the groups."""
    train = task.splits["train"]
    groups, names = train.labels == 1, task.label_names
    if not isinstance(kind, Exclusive):
        healthy = (train.labels == 0).all(1)
        groups, names = np.column_stack([groups, healthy]), (*names, NONE)
    elsewhere = {p for shared in task.shared_patients.values() for p in shared}
    inside = np.array([patient not in elsewhere for patient in train.patient_ids])
    return groups & inside[:, None], names


def _shown(draw: Sequence[Sequence[int]], shots: int) -> list[int]:
    """Cases of the first k shots of every group, each once."""
    return list(dict.fromkeys(index for each in draw for index in each[:shots]))


def _with_scores(kind: Kind, cases: Cases, scores: Array) -> Cases:
    """The cases with scores, and what kinds store beside them."""
    stored = kind.columns(cases.labels, scores)
    # Which class it is called hangs on the draw, and is stored for each.
    stored.pop("predicted", None)
    return Cases(
        cases.uids,
        cases.patient_ids,
        cases.label_names,
        cases.labels,
        scores,
        {**stored, **cases.columns},
    )

"""``vlp-fewshot``: what a handful of labelled patients per class is enough for.

A draw takes patients of each class, one image of each, and fits the probe of
`vlp_zoo.evaluation.classification.linear_probe` on them; smaller numbers of shots lie inside larger
ones of the same draw. Nothing is chosen on validation labels, which would be more labels
than the shots: C is fixed. Features are standardised by all training images, whose
labels are not needed for that. One draw says little, so the mean over draws is reported
with an interval over draws and test patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.classification.classes import (
    HEADLINE,
    class_statistic,
    decision_statistic,
    per_class,
    predicted_of,
    truth_of,
)
from vlp_zoo.evaluation.classification.kinds import Exclusive, kind_of
from vlp_zoo.evaluation.classification.linear_probe import standardisation
from vlp_zoo.evaluation.classification.protocol import Classification
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate, Measure, Outcome, by_label
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import (
    Interval,
    Statistic,
    hierarchical_interval,
)
from vlp_zoo.evaluation.tasks import SPLITS, Task

__all__ = ["FewShot", "draw_shots"]

Array = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FewShot(Classification):
    """Settings of the preset.

    Attributes:
        shots: Patients per class, ascending; the largest number gives the headline.
        draws: How often they are drawn.
        c: Inverse strength of regularisation, scikit-learn's convention.
        class_weight: ``"none"`` or ``"balanced"``; shots are balanced, unless a class
            has fewer patients.
        standardise: Scale features by the training images.
    """

    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    draws: int = 10
    c: float = 0.316
    class_weight: str = "none"
    standardise: bool = True
    name: str = "vlp-fewshot"

    # Draws are inside a run: fractions and seeds would repeat it.
    learns: ClassVar[bool] = False
    headline: ClassVar[str] = HEADLINE

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            not self.shots
            or list(self.shots) != sorted(set(self.shots))
            or min(self.shots) < 1
            or self.draws < 1
            or self.c <= 0
            or self.class_weight not in ("none", "balanced")
        ):
            raise ConfigError(
                "ascending shots of 1 or more, 1 draw or more, C above 0, class_weight "
                "none or balanced",
                f"{self.shots}, {self.draws}, {self.c}, {self.class_weight!r}",
                "correct the preset",
            )

    def refusal(self, candidate: Candidate, task: Task) -> str | None:
        """Shots are counted by class."""
        if not isinstance(kind_of(task), Exclusive):
            return f"{task.name} has labels that may occur together, not classes"
        return super().refusal(candidate, task)

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Fit every draw of every number of shots, then score the test split."""
        train, val, test = (
            extraction.get(candidate.module, task.splits[s]).astype(np.float64)
            for s in SPLITS
        )
        labels, patients = (
            task.splits["train"].labels,
            task.splits["train"].patient_ids,
        )
        mean, scale = standardisation(train, self.standardise)
        train, val, test = ((each - mean) * scale for each in (train, val, test))
        truth = truth_of(task.splits["test"].labels)
        order = draw_shots(labels, patients, self.draws, seed)
        measures: list[Measure] = []
        columns: dict[str, npt.NDArray[Any]] = {"class": truth}
        scores = np.empty((0, 0))
        for shots in sorted(self.shots, reverse=True):
            drawn = [
                self._scores(train, labels, test, [each[:shots] for each in draw])
                for draw in order
            ]
            for number, each in enumerate(drawn):
                columns[f"predicted {shots} {number}"] = predicted_of(each)
            if shots == max(self.shots):
                scores = np.mean(drawn, axis=0)
            measures += self._measures(shots, drawn, truth, task, seed)
        most = max(self.shots)
        named = task.splits["val"].labels
        judged = [
            kind_of(task).value(
                named, self._scores(train, labels, val, [each[:most] for each in draw])
            )
            for draw in order
        ]
        measures.append(
            Measure.validation(f"{HEADLINE}@{most}", float(np.mean(judged)), shots=most)
        )
        fewest = {
            name: len(order[0][k])
            for k, name in enumerate(task.label_names)
            if len(order[0][k]) < max(self.shots)
        }
        source = task.splits["test"]
        cases = Cases(
            list(source.uids),
            list(source.patient_ids),
            task.label_names,
            source.labels,
            scores,
            columns,
        )
        details: dict[str, Any] = {
            "shots": max(self.shots),
            "draws": self.draws,
            "labels_used": len(task.label_names) - len(task.excluded),
        }
        if fewest:
            details["patients_of_small_classes"] = fewest
        n_train = sum(min(max(self.shots), len(each)) for each in order[0])
        return Outcome(measures, cases, n_train, task.excluded, details)

    def _scores(
        self,
        train: Array,
        labels: npt.NDArray[np.float32],
        test: Array,
        chosen: Sequence[Sequence[int]],
    ) -> Array:
        """Probabilities (N, C) of the test cases, 0 for classes without a case."""
        rows = [index for each in chosen for index in each]
        learnable = np.array([bool(len(each)) for each in chosen])
        kind, balanced = Exclusive(), self.class_weight == "balanced"
        shown = labels[rows][:, learnable]
        (fit,) = kind.fit(train[rows], shown, [self.c], balanced=balanced)
        return kind.probabilities(fit.logits(test), learnable)

    def _measures(
        self, shots: int, drawn: Sequence[Array], truth: Classes, task: Task, seed: int
    ) -> list[Measure]:
        names = [HEADLINE, "macro_auroc"]
        names += ["quadratic_kappa"] if task.ordinal else []
        measures = []
        for metric in names:
            statistics = [class_statistic(metric, truth, each) for each in drawn]
            found = hierarchical_interval(
                statistics,
                task.splits["test"].patient_ids,
                replicates=self.replicates,
                seed=seed,
            )
            values = np.stack([each.values for each in statistics])
            each_draw = [float(np.nanmean(value)) for value in values]
            details: dict[str, Any] = {"shots": shots, "of_each_draw": each_draw}
            if metric == HEADLINE:
                details["chance"] = 1 / len(task.label_names)
            label = per_class(metric, values.mean(0), task.label_names, task.excluded)
            measures.append(Measure.of(f"{metric}@{shots}", found, label, **details))
        return measures

    def difference(
        self, one: Cases, two: Cases, undefined: Mapping[str, str], seed: int
    ) -> tuple[Interval, dict[str, float | None]]:
        """Balanced accuracy at the most shots, paired by draw and test patient."""
        truth, classes = one.columns["class"], len(one.label_names)

        def statistic(number: int) -> Statistic:
            mine, other = (
                decision_statistic(
                    HEADLINE,
                    truth,
                    cases.columns[f"predicted {max(self.shots)} {number}"],
                    classes,
                )
                for cases in (one, two)
            )
            return Statistic(lambda w: mine(w) - other(w), len(truth))

        statistics = [statistic(number) for number in range(self.draws)]
        found = hierarchical_interval(
            statistics, one.patient_ids, replicates=self.replicates, seed=seed
        )
        gaps = np.mean([each.values for each in statistics], axis=0)
        return found, by_label(one.label_names, range(classes), gaps)


def draw_shots(
    labels: npt.NDArray[np.float32], patient_ids: Sequence[str], draws: int, seed: int
) -> list[list[list[int]]]:
    """For each draw and class cases in the order in which shots take them.

    Args:
        labels: (N, C), one-hot; what is not known is not drawn.
        patient_ids: (N,); a patient gives one case to a class.
        draws: How many.
        seed: Seed of the random draws.

    Returns:
        ``[draw][class]`` to indices, one for each patient of the class.
    """
    patients, truth = np.asarray(patient_ids), truth_of(labels)
    result = []
    for draw in range(draws):
        rng = np.random.default_rng((seed, 83, draw))
        order = rng.permutation(len(truth))
        drawn: list[list[int]] = []
        for k in range(labels.shape[1]):
            mine = order[truth[order] == k]
            _, first = np.unique(patients[mine], return_index=True)
            drawn.append([int(i) for i in mine[np.sort(first)]])
        result.append(drawn)
    return result

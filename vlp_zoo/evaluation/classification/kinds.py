"""Two kinds of labels: those that may occur together, and classes that exclude each other.

Labels that may occur together are learnt, judged and calibrated one by one, and averaged;
classes are one decision. All that differs between the two is said here, and protocols do
not ask which one they have.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.evaluation.classification.classes import (
    HEADLINE,
    class_statistic,
    per_class,
    predicted_of,
    truth_of,
)
from vlp_zoo.evaluation.classification.metrics.beyond_ranking import point_measures
from vlp_zoo.evaluation.classification.metrics.calibration import (
    fit_class_temperature,
    fit_platt,
    platt,
    rescale_classes,
)
from vlp_zoo.evaluation.classification.online import ClassScores, LabelScores
from vlp_zoo.evaluation.classification.solvers.logistic import LogisticFit, fit_path
from vlp_zoo.evaluation.classification.solvers.softmax import (
    class_weights,
    fit_softmax_path,
    softmax,
)
from vlp_zoo.evaluation.protocol import Measure, by_label
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import (
    Statistic,
    interval,
    label_statistic,
)
from vlp_zoo.evaluation.statistics.metrics import BINNED, calibration_error
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.evaluation.training.online import Online
from vlp_zoo.losses import rank_mean

__all__ = ["Exclusive", "Kind", "MultiLabel", "kind_of", "stored_kind"]

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Kind:
    """How labels are learnt from, predicted and judged: here each by itself."""

    headline: ClassVar[str] = "macro_auroc"
    """Metric that settings are chosen by and that leads the table."""
    calibrated: ClassVar[tuple[str, ...]] = ("macro_brier", *BINNED)
    """Metrics that are also given after `recalibrated`."""
    recalibration: ClassVar[str] = "platt"
    """What `recalibrated` does, in the names of those."""
    online: ClassVar[type[Online]] = LabelScores
    """Scores to watch a training by, of validation labels (N, K) and of which are learnt."""

    # Learning -------------------------------------------------------------------------

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over what is known, to all processes where several train.

        Args:
            logits: (B, K).
            labels: (B, K) with 1, 0 and NaN = unknown.
        """
        known = ~torch.isnan(labels)
        each = functional.binary_cross_entropy_with_logits(
            logits, torch.nan_to_num(labels), reduction="none"
        )
        # Perhaps less than one for each process.
        return (each * known).sum() / rank_mean(int(known.sum()), each).clamp(min=1e-3)

    def fit(
        self,
        features: Array,
        labels: Labels,
        strengths: Sequence[float],
        *,
        balanced: bool,
        max_iterations: int = 1000,
    ) -> list[LogisticFit]:
        """Logistic regressions, one for each C.

        Args:
            features: (N, D).
            labels: (N, T) of labels with both classes, or classes that occur.
            strengths: Values of C.
            balanced: Let classes weigh alike.
            max_iterations: Iterations of the solver at most.
        """
        return fit_path(features, labels, strengths, max_iterations, balanced=balanced)

    def probabilities(self, logits: Array, trained: Flags) -> Array:
        """Logits (N, T) of what was trained to probabilities (N, K).

        Args:
            logits: Those of the trained labels or classes.
            trained: (K,) which of them.

        Returns:
            NaN for labels that could not be trained; 0 for classes that did not occur.
        """
        result = np.full((len(logits), len(trained)), np.nan)
        result[:, trained] = np.exp(-np.logaddexp(0.0, -logits))
        return result

    def chosen_by(
        self,
        labels: Labels,
        logits: Array,
        trained: Flags,
        metrics: Sequence[str] = (),
    ) -> float:
        """What a setting is chosen by on validation cases; larger is better.

        Args:
            labels: (N, K).
            logits: (N, T) of what was trained.
            trained: (K,) which of them.
            metrics: What counts by its mean instead of the headline, for classes.
        """
        return self.value(labels[:, trained], logits)

    def unlearnt(
        self, names: Sequence[str], trained: Sequence[bool] | Flags, cases: int
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """What becomes of labels without both classes in training.

        Args:
            names: K names.
            trained: (K,) which had both.
            cases: Number of training cases.

        Returns:
            Labels to leave out of means, with the reason, and details to store.
        """
        return dict.fromkeys(
            _untrained(names, trained), f"one class only in {cases} training cases"
        ), {}

    # Judging --------------------------------------------------------------------------

    def metrics(self, probabilities: bool) -> tuple[str, ...]:
        """What is reported, the headline first.

        Args:
            probabilities: Whether scores are probabilities, which can be calibrated.
        """
        return (self.headline, "macro_auprc", *(self.calibrated * probabilities))

    def statistic(self, metric: str, labels: Labels, scores: Array) -> Statistic:
        """A metric with a row for each label, or for each class where it has one.

        Args:
            metric: Name of the metric.
            labels: (N, K) with 1, 0 and NaN = unknown.
            scores: (N, K), larger = more likely.
        """
        return label_statistic(metric, labels, scores)

    def counted(self, names: Sequence[str], left_out: Collection[str]) -> list[int]:
        """Indices of the labels that count if some are left out."""
        return [k for k, name in enumerate(names) if name not in left_out]

    def stored(self, cases: Cases, used: Sequence[int]) -> Statistic:
        """The headline of stored cases, a row for each label that is used."""
        return self.statistic(
            self.headline, cases.labels[:, used], cases.scores[:, used]
        )

    def measure(
        self, metric: str, cases: Cases, left_out: Collection[str], **how: int
    ) -> Measure:
        """A metric of the test cases with its interval.

        Args:
            metric: One of `metrics`.
            cases: Labels, scores and `columns` of the test split.
            left_out: Labels that count for nothing.
            **how: ``replicates`` of the interval and their ``seed``.
        """
        used = self.counted(cases.label_names, left_out)
        made = self.statistic(metric, cases.labels[:, used], cases.scores[:, used])
        extra: dict[str, Any] = {"labels_defined": made.defined}
        # Bins of probabilities take no weights.
        how |= {"replicates": 0} if metric in BINNED else {}
        found = interval(made, cases.patient_ids, **how)
        if how["replicates"]:
            extra["undefined_in_replicates"] = found.undefined
        each = by_label(cases.label_names, used, made.values)
        return Measure.of(metric, found, each, **extra)

    def recalibrated(
        self, scores: Array, labels: Labels, validation: Array
    ) -> tuple[Array, dict[str, Any]]:
        """Test probabilities as validation cases ask for, by Platt's method.

        Args:
            scores: (N, K) of the test cases; a NaN column stays as it is.
            labels: (M, K) of the validation cases.
            validation: (M, K) their probabilities.

        Returns:
            (N, K), and for the results slope and offset of each label; NaN where
            validation cannot say.
        """
        mended, lines = scores.copy(), []
        for k in range(labels.shape[1]):
            known = ~np.isnan(labels[:, k])
            theirs = validation[known, k]
            line = (float("nan"), float("nan"))
            if len(theirs) and not np.isnan(theirs).any():
                line = fit_platt(labels[known, k] > 0.5, theirs)
            if not np.isnan(line[0]):
                mended[:, k] = platt(scores[:, k], *line)
            lines.append(line)
        return mended, {"platt": lines}

    def judged(self, labels: Labels, least: int) -> bool:
        """Whether cases (N,) of one label are enough, if ``least`` of a class are."""
        enough = max(1, least)
        return bool(min((labels == 1).sum(), (labels == 0).sum()) >= enough)

    def value(self, labels: Labels, scores: Array) -> float:
        """The headline as one number; NaN if no label can be judged."""
        return self.statistic(self.headline, labels, scores).value

    def columns(self, labels: Labels, scores: Array) -> dict[str, npt.NDArray[Any]]:
        """What is stored of each case beside labels and scores."""
        return {}

    def points(
        self,
        cases: Cases,
        labels: Labels,
        validation: Array,
        left_out: Collection[str],
        **how: int,
    ) -> list[Measure]:
        """What labels are worth at thresholds, where each is cut at its own.

        Args:
            cases: Labels and scores of the test split.
            labels: (M, K) of the validation cases, which choose the thresholds.
            validation: (M, K) scores of the validation cases.
            left_out: Labels that count for nothing.
            **how: ``replicates`` of the intervals and their ``seed``.
        """
        used = self.counted(cases.label_names, left_out)
        return point_measures(cases, used, labels, validation, **how)

    def sides(self, affirmed: Array, denied: Array) -> tuple[Array, Array]:
        """What sentences that affirm and deny a label add to its zero-shot score."""
        return affirmed, denied

    def relative(self, scores: Array) -> Array:
        """Zero-shot scores (N, K) that can be ranked over images."""
        return scores


@dataclass(frozen=True)
class MultiLabel(Kind):
    """Labels that may occur together: each is judged by itself, and the mean counts."""


@dataclass(frozen=True)
class Exclusive(Kind):
    """Classes that exclude each other: one decision per case, and all classes count.

    Balanced accuracy is the headline, because accuracy hides that most cases share a
    class; grades get the quadratic kappa beside it.

    Attributes:
        ordinal: Classes are grades, in the order of the columns.
    """

    ordinal: bool = False

    headline: ClassVar[str] = HEADLINE
    calibrated: ClassVar[tuple[str, ...]] = ("brier", "ece", "ece_width")
    recalibration: ClassVar[str] = "scaled"
    online: ClassVar[type[Online]] = ClassScores

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of a softmax, over the cases whose class is known."""
        whole = (~torch.isnan(labels)).all(1)
        target = torch.nan_to_num(labels)
        each = functional.cross_entropy(logits, target, reduction="none")
        # Perhaps less than one for each process.
        return (each * whole).sum() / rank_mean(int(whole.sum()), each).clamp(min=1e-3)

    def fit(
        self,
        features: Array,
        labels: Labels,
        strengths: Sequence[float],
        *,
        balanced: bool,
        max_iterations: int = 1000,
    ) -> list[LogisticFit]:
        """A softmax over the classes."""
        truth, classes = truth_of(labels), labels.shape[1]
        known = truth >= 0
        return fit_softmax_path(
            features[known],
            truth[known],
            classes,
            strengths,
            weights=class_weights(truth[known], classes) if balanced else None,
            max_iterations=max_iterations,
        )

    def probabilities(self, logits: Array, trained: Flags) -> Array:
        """Those of a softmax over the classes that occurred."""
        result = np.zeros((len(logits), len(trained)))
        result[:, trained] = softmax(logits)
        return result

    def chosen_by(
        self,
        labels: Labels,
        logits: Array,
        trained: Flags,
        metrics: Sequence[str] = (),
    ) -> float:
        """The mean of the metrics over all classes."""
        scores = self.probabilities(logits, trained)
        return float(
            np.mean(
                [
                    self.statistic(metric, labels, scores).value
                    for metric in metrics or (self.headline,)
                ]
            )
        )

    def unlearnt(
        self, names: Sequence[str], trained: Sequence[bool] | Flags, cases: int
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """A class that was never shown counts: its cases are called something else."""
        missing = _untrained(names, trained)
        return {}, {"classes_not_learnt": missing} if missing else {}

    def metrics(self, probabilities: bool) -> tuple[str, ...]:
        """Metrics of decisions, of ranking, and of probabilities."""
        return (
            self.headline,
            *(("quadratic_kappa",) if self.ordinal else ()),
            *("macro_auroc", "accuracy", "macro_f1"),
            *(self.calibrated * probabilities),
        )

    def statistic(self, metric: str, labels: Labels, scores: Array) -> Statistic:
        """A row for each class, or one for all of them."""
        return class_statistic(metric, truth_of(labels), scores)

    def counted(self, names: Sequence[str], left_out: Collection[str]) -> list[int]:
        """All: what lacks cases is undefined, and nothing can be taken out of a decision."""
        return list(range(len(names)))

    def stored(self, cases: Cases, used: Sequence[int]) -> Statistic:
        """Recall of these classes, all of them to be confused with."""
        whole = class_statistic(self.headline, cases.columns["class"], cases.scores)
        return Statistic(lambda weights: whole(weights)[list(used)], whole.cases)

    def measure(
        self, metric: str, cases: Cases, left_out: Collection[str], **how: int
    ) -> Measure:
        """A metric of the decisions."""
        truth, names = cases.columns["class"], cases.label_names
        if metric in ("ece", "ece_width"):
            known = truth >= 0
            right = (cases.columns["predicted"] == truth)[known]
            surest, wide = cases.scores[known].max(1), metric == "ece_width"
            return Measure(metric, calibration_error(right, surest, equal_width=wide))
        made = class_statistic(metric, truth, cases.scores)
        found = interval(made, cases.patient_ids, **how)
        extra: dict[str, Any] = {}
        if len(made.values) > 1:
            extra["labels_defined"] = made.defined
            extra["undefined_in_replicates"] = found.undefined
        if metric in (self.headline, "macro_auroc"):
            extra["chance"] = 1 / len(names) if metric == self.headline else 0.5
        each = per_class(metric, made.values, names, left_out)
        return Measure.of(metric, found, each, **extra)

    def recalibrated(
        self, scores: Array, labels: Labels, validation: Array
    ) -> tuple[Array, dict[str, Any]]:
        """One temperature for the softmax."""
        temperature = fit_class_temperature(truth_of(labels), validation)
        return rescale_classes(scores, temperature), {"temperatures": [temperature]}

    def judged(self, labels: Labels, least: int) -> bool:
        """Recall of a class needs its cases."""
        return bool((labels == 1).sum() >= max(1, least))

    def columns(self, labels: Labels, scores: Array) -> dict[str, npt.NDArray[Any]]:
        """The class, and what the case is called."""
        return {"class": truth_of(labels), "predicted": predicted_of(scores)}

    def points(
        self,
        cases: Cases,
        labels: Labels,
        validation: Array,
        left_out: Collection[str],
        **how: int,
    ) -> list[Measure]:
        """None: the highest score is the answer, and nothing is cut."""
        return []

    def sides(self, affirmed: Array, denied: Array) -> tuple[Array, Array]:
        """The class that is named best; what an image lacks is not asked."""
        return affirmed, np.zeros_like(denied)

    def relative(self, scores: Array) -> Array:
        """Relative to the other classes."""
        return np.asarray(scores - scores.mean(1, keepdims=True))


def kind_of(task: Task) -> Kind:
    """The kind of a task's labels."""
    return Exclusive(task.ordinal) if task.single_label else MultiLabel()


def stored_kind(cases: Cases) -> Kind:
    """The kind of the labels of stored cases."""
    return Exclusive() if "class" in cases.columns else MultiLabel()


def _untrained(names: Sequence[str], trained: Sequence[bool] | Flags) -> list[str]:
    return [name for name, usable in zip(names, trained, strict=True) if not usable]

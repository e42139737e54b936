"""What every evaluation protocol is: who may take it, its key, and its rows.

A protocol is a frozen dataclass of settings with one method, `Protocol.measure`, which
looks at a candidate on a task and says what it found (`Outcome`). Everything around it
is the same for all and lives here and in `vlp_zoo.bench.suite`: keys under which
finished runs are found again, provenance, paired differences to the baselines, failures
that stop one cell and not the rest.

Rules that every protocol keeps: settings (thresholds, C, checkpoints, learning rates)
are chosen on the validation split; the test split is read once, after all choices;
nothing is averaged over batches; every case has its row, so that intervals and paired
tests can be made again without the encoder.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import nn

from vlp_zoo.encoders.identity import provenance
from vlp_zoo.encoders.references import ReferenceNetwork
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.baselines import Described
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.features.joint import JointEncoder
from vlp_zoo.evaluation.results import Cases, Result, result_key
from vlp_zoo.evaluation.statistics.intervals import (
    Interval,
    Statistic,
    paired_interval,
)
from vlp_zoo.evaluation.statistics.metric_names import on_validation
from vlp_zoo.evaluation.subject import Subject
from vlp_zoo.evaluation.tasks import SPLITS, Task
from vlp_zoo.overlaps import Contamination, contamination

__all__ = ["ByLabel", "Candidate", "Measure", "Outcome", "Protocol", "by_label"]


@dataclass(frozen=True)
class Candidate:
    """An encoder or baseline to be evaluated.

    Attributes:
        subject: Who it is: name, weights, preprocessing.
        module: The image encoder: ``preprocessing``, and outputs ``pooled`` (B, D),
            ``tokens`` (B, P, D), ``grid`` and ``levels``.
        baselines: `Subject.identity` of the baselines that it is compared with.
        joint: The space shared by images and texts; None where it has none.
        sources: Names of the data sets it was pre-trained on, as far as known.
    """

    subject: Subject
    module: nn.Module
    baselines: tuple[str, ...] = ()
    joint: JointEncoder | None = None
    sources: tuple[str, ...] = ()

    def seen(self, task: Task) -> list[Contamination]:
        """Which of its sources share images with the task's data set."""
        return contamination(self.sources, task.dataset) if task.dataset else []


@dataclass(frozen=True)
class Measure:
    """One number, on the test split unless it says otherwise.

    Attributes:
        metric: ``"macro_auroc"``, ``"dice_positive"``, ...
        value: NaN where it is undefined.
        low: Lower bound of the 95 % interval over patients; None without.
        high: Upper bound.
        per_label: Value per label; None where undefined.
        details: What belongs to this number alone.
        split: The split that was scored.
    """

    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    per_label: Mapping[str, float | None] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    split: str = "test"

    @classmethod
    def of(
        cls,
        metric: str,
        interval: Interval,
        per_label: Mapping[str, float | None] | None = None,
        **details: Any,
    ) -> Measure:
        """A value of the test split with its interval, as far as there is one.

        Args:
            metric: Name of the metric.
            interval: The value and its bounds.
            per_label: Value per label.
            **details: What belongs to this number alone.
        """
        low, high = (None if np.isnan(v) else v for v in (interval.low, interval.high))
        return cls(metric, interval.value, low, high, per_label or {}, details)

    @classmethod
    def validation(cls, metric: str, value: float, **details: Any) -> Measure:
        """The headline on validation cases: what a search may choose by.

        Whatever the protocol chose on the same cases flatters it, and all alike.

        Args:
            metric: Name of the metric on the test split.
            value: NaN where it is undefined.
            **details: What belongs to this number alone.
        """
        return cls(on_validation(metric), value, details=details, split="val")


@dataclass(frozen=True)
class Outcome:
    """What a protocol found.

    Attributes:
        measures: The headline first; that of the validation split is among them.
        cases: One row per test case, for intervals and paired tests.
        n_train: Training cases used.
        undefined: Labels left out of every mean, each with the reason.
        details: What the protocol chose and saw: C, epochs, trainable parameters, ...
    """

    measures: Sequence[Measure]
    cases: Cases
    n_train: int = 0
    undefined: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol(ABC):
    """Settings of an evaluation; subclasses add theirs and `measure`.

    Attributes:
        fraction: Share of training patients whose labels are used.
        replicates: Number of bootstrap replicates over test patients; 0 gives no
            intervals.
        name: Name of the preset.
        known_issues: Known issues of the preset, printed and stored with every number.
    """

    fraction: float = 1.0
    replicates: int = 1000
    name: str = ""
    known_issues: tuple[str, ...] = ()

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    """What the task must have: ``labels``, ``reports``, ``boxes``, ``masks``, ``questions``."""
    needs_text: ClassVar[bool] = False
    """Whether only candidates with a joint space can take it."""
    reads_pixels: ClassVar[bool] = False
    """Whether it needs the encoder itself, so that baselines without one are left out."""
    reads_features: ClassVar[bool] = False
    """Whether it reads the pooled features of all images, each once for all encoders."""
    trains_references: ClassVar[bool] = False
    """Whether it takes networks for masks that start from random weights."""
    learns: ClassVar[bool] = True
    """Whether labels are learnt from; if not, fractions and seeds change nothing."""
    draws_weights: ClassVar[bool] = False
    """Whether new weights are drawn, so that seeds matter with all labels too."""
    headline: ClassVar[str] = "macro_auroc"
    stored_as: ClassVar[Mapping[str, str]] = {}
    """Settings that were renamed, to the name that presets and results may hold."""

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1 or self.replicates < 0:
            raise ConfigError(
                "a label fraction in (0, 1] and 0 or more replicates",
                f"{self.fraction}, {self.replicates}",
                "correct --fractions or --bootstrap",
            )

    # What a protocol writes -----------------------------------------------------

    @abstractmethod
    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Evaluate one candidate.

        Args:
            candidate: Who.
            task: Train, validation and test split.
            seed: Seed of every random draw: labelled patients, weights of heads, order,
                replicates.
            extraction: How to encode, on which device, and the cache of features.
        """

    def warm(
        self, candidates: Sequence[Candidate], task: Task, extraction: Extraction
    ) -> None:
        """Do together what all candidates need, such as reading each image once."""
        if self.reads_features:
            modules = [candidate.module for candidate in candidates]
            for split in SPLITS:
                extraction.get_all(modules, task.splits[split])

    @abstractmethod
    def difference(
        self, one: Cases, two: Cases, undefined: Mapping[str, str], seed: int
    ) -> tuple[Interval, dict[str, float | None]]:
        """Headline of ``one`` minus that of ``two``, paired over test patients.

        Args:
            one: Cases of the candidate.
            two: Cases of the baseline, the same test cases.
            undefined: Labels that count for neither.
            seed: Seed of the bootstrap replicates.

        Returns:
            The difference with its interval, and the difference per label.
        """

    # What everybody reads -------------------------------------------------------

    def refusal(self, candidate: Candidate, task: Task) -> str | None:
        """Why this candidate cannot take this protocol on this task; None if it can."""
        if reason := self.missing(task):
            return reason
        reference = isinstance(candidate.module, ReferenceNetwork)
        if reference and not self.trains_references:
            name = candidate.subject.name
            return f"{name} is a network for masks, which gives no features"
        if self.needs_text and candidate.joint is None:
            return f"{candidate.subject.name} has no space shared by images and texts"
        if self.reads_pixels and isinstance(candidate.module, Described):
            return f"{candidate.subject.name} is no network that reads pixels"
        return None

    def missing(self, task: Task) -> str | None:
        """What the task lacks; None if nothing."""
        lacks = sorted(self.needs - task.gives)
        return f"{task.name} has no {' and no '.join(lacks)}" if lacks else None

    def settings(self, subject: Subject, task: Task) -> dict[str, Any]:
        """Everything that decides the numbers, for the key and the record."""
        own = {self.stored_as.get(k, k): value for k, value in asdict(self).items()}
        return {
            **own,
            "min_positives": task.min_positives,
            "single_label": task.single_label,
            "ordinal": task.ordinal,
            "preprocessing": dict(subject.preprocessing or {}),
            "pooling": subject.pooling,
            "precision": subject.precision,
        }

    def key(self, candidate: Candidate, task: Task, seed: int) -> str:
        """Key under which a finished run is found again."""
        subject = candidate.subject
        extra = {}
        if self.needs_text and candidate.joint is not None:
            # The image encoder alone does not decide what a joint space yields.
            extra["joint"] = candidate.joint.sha256
        return result_key(
            encoder=subject.sha256,
            task=task.name,
            split=task.split_sha256,
            data=task.data_sha256,
            seed=seed,
            **extra,
            **self.settings(subject, task),
        )

    def run(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> list[Result]:
        """`measure`, with everything needed to judge and to repeat it.

        Returns:
            One row per measure, the headline first; those of the test split carry its
            cases.
        """
        started = time.monotonic()
        outcome = self.measure(candidate, task, seed, extraction)
        seconds = time.monotonic() - started
        return self.rows(outcome, candidate, task, seed, seconds)

    def rows(
        self,
        outcome: Outcome,
        candidate: Candidate,
        task: Task,
        seed: int,
        seconds: float = 0.0,
    ) -> list[Result]:
        """An outcome as rows of the results, the headline first."""
        subject = candidate.subject
        made = provenance()
        seen = [asdict(found) for found in candidate.seen(task)]
        shared: dict[str, Any] = {"contamination": seen} if seen else {}
        if self.needs_text and candidate.joint is not None:
            shared["joint_sha256"] = candidate.joint.sha256
        if subject.own_pooling:
            shared["own_pooling"] = subject.own_pooling
        if subject.family:
            shared["random_weights"] = {"draw": subject.draw, "first": subject.family}
        return [
            Result(
                key=self.key(candidate, task, seed),
                encoder=subject.name,
                encoder_sha256=subject.sha256,
                role=subject.role,
                task=task.name,
                split_sha256=task.split_sha256,
                data_sha256=task.data_sha256,
                protocol=self.name,
                settings=self.settings(subject, task),
                fraction=self.fraction,
                seed=seed,
                n=len(task.splits[measure.split]),
                n_patients=len(set(task.splits[measure.split].patient_ids)),
                split=measure.split,
                n_train=outcome.n_train,
                undefined=dict(outcome.undefined),
                device=subject.device,
                cases=outcome.cases if measure.split == "test" else None,
                metric=measure.metric,
                value=measure.value,
                low=measure.low,
                high=measure.high,
                per_label=dict(measure.per_label),
                details={**outcome.details, **measure.details, **shared},
                commit=made["commit"],
                versions={"vlp_zoo": made["vlp_zoo"], **made["versions"]},
                date=made["date"],
                seconds=round(seconds, 3),
            )
            for measure in outcome.measures
        ]


@dataclass(frozen=True)
class ByLabel(Protocol):
    """A protocol whose headline is a mean over labels, made again from stored cases."""

    @abstractmethod
    def statistic(self, cases: Cases, used: Sequence[int]) -> Statistic:
        """The headline of stored cases, a row for each label that is used.

        Args:
            cases: Cases of a run of this protocol.
            used: Indices of the labels that count.
        """

    def difference(
        self, one: Cases, two: Cases, undefined: Mapping[str, str], seed: int
    ) -> tuple[Interval, dict[str, float | None]]:
        """`Protocol.difference` of the `statistic`."""
        used = [k for k, name in enumerate(one.label_names) if name not in undefined]
        mine, other = (self.statistic(cases, used) for cases in (one, two))
        found = paired_interval(
            mine, other, one.patient_ids, replicates=self.replicates, seed=seed
        )
        return found, by_label(one.label_names, used, mine.gap(other))


def by_label(
    names: Sequence[str], used: Sequence[int], values: npt.NDArray[np.float64]
) -> dict[str, float | None]:
    """Values of the labels that are used by name, None for others and undefined ones.

    Example:
        >>> by_label(["mass", "edema"], [1], np.array([0.5]))
        {'mass': None, 'edema': 0.5}
    """
    found: dict[str, float | None] = dict.fromkeys(names, None)
    for k, value in zip(used, values, strict=True):
        found[names[k]] = None if np.isnan(value) else float(value)
    return found


def training_cases(task: Task, fraction: float, seed: int) -> npt.NDArray[np.int64]:
    """Indices of the training cases of a label fraction; see `nested_patients`."""
    from vlp_zoo.evaluation.fractions import nested_patients

    train = task.splits["train"]
    return nested_patients(train.patient_ids, train.labels, fraction, seed)

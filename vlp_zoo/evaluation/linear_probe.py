"""``vlp-linear``: an exactly solved linear probe on frozen features.

Features are standardised by the training cases, one L2-regularised logistic regression
per label is fitted on the cases whose label is known, and a single C, shared by all
labels, is chosen on the validation split. The test split is scored once, at the end.
Nothing is random but the choice of patients at label fractions below 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.features import Extraction
from vlp_zoo.evaluation.guard import learning
from vlp_zoo.evaluation.logistic import LogisticFit, fit_path
from vlp_zoo.evaluation.metrics import label_values, macro
from vlp_zoo.evaluation.protocol import (
    Candidate,
    Measure,
    Outcome,
    Protocol,
    training_cases,
)
from vlp_zoo.evaluation.results import Cases, Result
from vlp_zoo.evaluation.statistics import bootstrap
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import SPLITS, Task

__all__ = ["LinearProbe", "fit_probe", "run", "score", "scored"]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]
Features = npt.NDArray[np.float32]

METRICS = ("macro_auroc", "macro_auprc", "macro_brier", "macro_ece")


@dataclass(frozen=True)
class LinearProbe(Protocol):
    """Settings of the preset.

    Attributes:
        c_grid: Values of C, ascending; scikit-learn's convention.
        max_iterations: Limit of L-BFGS steps per C.
    """

    c_grid: tuple[float, ...] = tuple(10.0**power for power in range(-4, 5))
    max_iterations: int = 1000
    name: str = "vlp-linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.c_grid:
            raise ConfigError("some values of C", "none", "give c_grid")

    def warm(
        self, candidates: Sequence[Candidate], task: Task, extraction: Extraction
    ) -> None:
        """Read each image once for all encoders."""
        for split in SPLITS:
            extraction.get_all([c.module for c in candidates], task.splits[split])

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Probe the cached features."""
        module = candidate.module
        features = {s: extraction.get(module, task.splits[s]) for s in SPLITS}
        return score(features, task, self, seed)


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        mean: (D,) of the training features.
        scale: (D,) 1 / deviation; 0 for columns that do not vary.
        fit: The chosen logistic regressions, of the trained labels only.
        trained: (K,) which labels had both classes to learn from.
        validation: Validation macro AUROC for each C of the grid.
    """

    mean: Array
    scale: Array
    fit: LogisticFit
    trained: npt.NDArray[np.bool_]
    validation: tuple[float, ...]

    def probabilities(self, features: Features) -> Array:
        """(N, D) to (N, K); NaN for labels that could not be trained."""
        logits = self.fit.logits((features - self.mean) * self.scale)
        result = np.full((len(features), len(self.trained)), np.nan)
        result[:, self.trained] = np.exp(-np.logaddexp(0.0, -logits))
        return result


def fit_probe(
    train: Features,
    train_labels: Labels,
    validation: Features,
    validation_labels: Labels,
    protocol: LinearProbe,
) -> Probe:
    """Fit the probe and choose C; the test split is no argument.

    Args:
        train: (N, D).
        train_labels: (N, K) with 1, 0 and NaN = unknown.
        validation: (M, D).
        validation_labels: (M, K).
        protocol: Settings.

    Raises:
        ConfigError: If no label can be trained and validated.
    """
    values = train.astype(np.float64)
    mean, deviation = values.mean(0), values.std(0)
    # Below this a column is rounding of float32, and scaling it up would be noise.
    varies = (deviation > 1e-5 * np.abs(mean)) & (deviation > 1e-6 * deviation.max())
    scale = np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0)
    trained = (train_labels == 1).any(0) & (train_labels == 0).any(0)
    judged = (validation_labels == 1).any(0) & (validation_labels == 0).any(0)
    if not (trained & judged).any():
        raise ConfigError(
            "a label with both classes in the training and the validation cases",
            f"{len(train)} training and {len(validation)} validation cases without one",
            "raise --fractions, or give more labelled studies",
        )
    fits = fit_path(
        (values - mean) * scale,
        train_labels[:, trained],
        protocol.c_grid,
        protocol.max_iterations,
    )
    standardised = (validation - mean) * scale
    aurocs = tuple(
        float(
            macro(
                label_values(
                    "macro_auroc",
                    validation_labels[:, trained],
                    fit.logits(standardised),
                )
            )[0]
        )
        for fit in fits
    )
    # Of equal values the first counts: the strongest regularisation.
    return Probe(mean, scale, fits[int(np.argmax(aurocs))], trained, aurocs)


def score(
    features: Mapping[str, Features], task: Task, protocol: LinearProbe, seed: int
) -> Outcome:
    """Probe features that exist already.

    Args:
        features: (N, D) for each split.
        task: Labels.
        protocol: Settings.
        seed: Of the label fraction and the bootstrap.
    """
    train = task.splits["train"]
    chosen = training_cases(task, protocol.fraction, seed)
    with learning(protocol.name):
        probe = fit_probe(
            features["train"][chosen],
            train.labels[chosen],
            features["val"],
            task.splits["val"].labels,
            protocol,
        )
    fit = probe.fit
    untrained = {
        label: f"one class only in {len(chosen)} training cases"
        for label, trained in zip(task.label_names, probe.trained, strict=True)
        if not trained
    }
    return scored(
        probe.probabilities(features["test"]),
        task,
        protocol,
        seed,
        n_train=len(chosen),
        undefined=untrained,
        details={
            "c": fit.c,
            "c_at_edge": fit.c in (protocol.c_grid[0], protocol.c_grid[-1]),
            "converged": fit.converged,
            "iterations": fit.iterations,
            "validation_macro_auroc": list(probe.validation),
            "width": int(features["train"].shape[1]),
        },
    )


def scored(
    probabilities: Array,
    task: Task,
    protocol: Protocol,
    seed: int,
    *,
    n_train: int,
    undefined: Mapping[str, str],
    details: Mapping[str, Any],
    metrics: Sequence[str] = METRICS,
) -> Outcome:
    """What any multi-label classifier's test scores amount to.

    Args:
        probabilities: (N, K) of the test cases; a NaN column was not predicted.
        task: Labels.
        protocol: Says how many replicates.
        seed: Of the replicates.
        n_train: Training cases used.
        undefined: Labels that could not be learnt; those that the test split cannot
            judge are added.
        details: Stored with every measure.
        metrics: The headline first.
    """
    test = task.splits["test"]
    missing = {**undefined, **task.excluded}
    used = [k for k, label in enumerate(task.label_names) if label not in missing]
    cases = Cases(
        test.uids, test.patient_ids, task.label_names, test.labels, probabilities
    )
    measures = []
    for metric in metrics:
        values = label_values(metric, test.labels[:, used], probabilities[:, used])
        extra: dict[str, Any] = {}
        low = high = None
        if metric != "macro_ece" and protocol.replicates:
            interval = bootstrap(
                metric,
                test.labels[:, used],
                probabilities[:, used],
                test.patient_ids,
                replicates=protocol.replicates,
                seed=seed,
            )
            low, high = interval.low, interval.high
            extra["undefined_in_replicates"] = interval.undefined
        per_label = dict.fromkeys(task.label_names, None) | {
            task.label_names[k]: float(v[0]) for k, v in zip(used, values, strict=True)
        }
        value = float(macro(values)[0])
        measures.append(Measure(metric, value, low, high, per_label, extra))
    shared = {"labels_used": len(used), **details}
    return Outcome(measures, cases, n_train, missing, shared)


def run(
    encoder: nn.Module,
    task: Task,
    protocol: LinearProbe,
    seed: int,
    *,
    name: str | None = None,
    role: str = "encoder",
    extraction: Extraction | None = None,
) -> list[Result]:
    """Encode all splits, probe, and score the test split.

    Args:
        encoder: Module with ``preprocessing`` and outputs ``pooled`` and ``tokens``.
        task: Sources and labels.
        protocol: Settings.
        seed: Of the label fraction and the bootstrap.
        name: To be stored; the class name by default.
        role: ``"encoder"`` or ``"floor"``.
        extraction: How to encode, and the cache.

    Returns:
        One result per metric, the headline first.
    """
    extraction = extraction or Extraction()
    subject = subject_of(encoder, name or type(encoder).__name__, role, extraction)
    return protocol.run(Candidate(subject, encoder), task, seed, extraction)

"""``vlp-linear``: an exactly solved linear probe on frozen features.

Features are standardised by the training cases, one L2-regularised logistic regression
per label is fitted on the cases whose label is known (one softmax, where classes exclude
each other), and a single C, shared by all labels, is chosen on the validation split. The test split is scored once, at the end.
Nothing is random but the choice of patients at label fractions below 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import nn

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.classification.kinds import Kind, kind_of
from vlp_zoo.evaluation.classification.protocol import Classification
from vlp_zoo.evaluation.classification.scoring import scored
from vlp_zoo.evaluation.classification.solvers.logistic import LogisticFit
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.guard import learning
from vlp_zoo.evaluation.protocol import (
    Candidate,
    Outcome,
    training_cases,
)
from vlp_zoo.evaluation.results import Result
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import SPLITS, Task

__all__ = [
    "LinearProbe",
    "fit_probe",
    "learn_probe",
    "run",
    "score",
    "standardisation",
]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]
Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LinearProbe(Classification):
    """Settings of the preset.

    Attributes:
        c_grid: Values of C, ascending; scikit-learn's convention.
        max_iterations: Limit of L-BFGS steps per C.
        class_weight: ``"none"``, or ``"balanced"``: classes weigh alike in the fit.
        standardise: Scale features by the training cases.
    """

    c_grid: tuple[float, ...] = tuple(10.0**power for power in range(-4, 5))
    max_iterations: int = 1000
    class_weight: str = "none"
    standardise: bool = True
    name: str = "vlp-linear"

    reads_features: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.c_grid:
            raise ConfigError("some values of C", "none", "give c_grid")
        if self.class_weight not in ("none", "balanced"):
            raise ConfigError(
                "class_weight none or balanced",
                repr(self.class_weight),
                "correct the preset",
            )

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
        fit: The chosen regression, of the trained labels only.
        trained: (K,) which labels had both classes to learn from; which classes
            occurred, where they exclude each other.
        validation: Validation headline for each C of the grid.
        kind: The kind of the labels.
    """

    mean: Array
    scale: Array
    fit: LogisticFit
    trained: npt.NDArray[np.bool_]
    validation: tuple[float, ...]
    kind: Kind

    def probabilities(self, features: Features) -> Array:
        """(N, D) to (N, K); see `Kind.probabilities`."""
        logits = self.fit.logits((features - self.mean) * self.scale)
        return self.kind.probabilities(logits, self.trained)


def fit_probe(
    train: Features,
    train_labels: Labels,
    validation: Features,
    validation_labels: Labels,
    protocol: LinearProbe,
    kind: Kind,
) -> Probe:
    """Fit the probe and choose C; the test split is no argument.

    Args:
        train: (N, D).
        train_labels: (N, K) with 1, 0 and NaN = unknown.
        validation: (M, D).
        validation_labels: (M, K).
        protocol: Settings.
        kind: The kind of the labels.

    Raises:
        ConfigError: If no label can be trained and validated.
    """
    values = train.astype(np.float64)
    mean, scale = standardisation(values, protocol.standardise)
    trained = (train_labels == 1).any(0) & (train_labels == 0).any(0)
    judged = (validation_labels == 1).any(0) & (validation_labels == 0).any(0)
    if not (trained & judged).any():
        raise ConfigError(
            "a label with both classes in the training and the validation cases",
            f"{len(train)} training and {len(validation)} validation cases without one",
            "raise --fractions, or give more labelled studies",
        )
    fits = kind.fit(
        (values - mean) * scale,
        train_labels[:, trained],
        protocol.c_grid,
        balanced=protocol.class_weight == "balanced",
        max_iterations=protocol.max_iterations,
    )
    logits = [fit.logits((validation - mean) * scale) for fit in fits]
    found = [kind.chosen_by(validation_labels, each, trained) for each in logits]
    # Of equal values the first counts: the strongest regularisation.
    best = fits[int(np.nanargmax(found))]
    return Probe(mean, scale, best, trained, tuple(found), kind)


def standardisation(values: Array, wanted: bool = True) -> tuple[Array, Array]:
    """Mean and 1 / deviation (D,) of features (N, D); 0 and 1 where not wanted."""
    if not wanted:
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    mean, deviation = values.mean(0), values.std(0)
    # Below this a column is rounding of float32, and scaling it up would be noise.
    varies = (deviation > 1e-5 * np.abs(mean)) & (deviation > 1e-6 * deviation.max())
    return mean, np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0)


def score(
    features: Mapping[str, Features], task: Task, protocol: LinearProbe, seed: int
) -> Outcome:
    """Probe features that exist already.

    Args:
        features: (N, D) for each split.
        task: Labels.
        protocol: Settings.
        seed: Seed of the label fraction and the bootstrap.
    """
    probe, learnt = learn_probe(features, task, protocol, seed)
    return scored(
        probe.probabilities(features["test"]),
        task,
        protocol,
        seed,
        n_train=learnt.n_train,
        undefined=learnt.undefined,
        details=learnt.details,
        validation=probe.probabilities(features["val"]),
    )


@dataclass(frozen=True)
class Learning:
    """What is to be said of how a probe was learnt.

    Attributes:
        n_train: Training cases used.
        undefined: Labels that could not be learnt, each with the reason.
        details: C, whether it converged, ...
    """

    n_train: int
    undefined: Mapping[str, str]
    details: Mapping[str, Any]


def learn_probe(
    features: Mapping[str, Features], task: Task, protocol: LinearProbe, seed: int
) -> tuple[Probe, Learning]:
    """`fit_probe` on the label fraction of a task, while its test split is closed.

    Args:
        features: (N, D) for training and validation split at least.
        task: Labels.
        protocol: Settings.
        seed: Seed of the label fraction.
    """
    train, kind = task.splits["train"], kind_of(task)
    chosen = training_cases(task, protocol.fraction, seed)
    with learning(protocol.name):
        probe = fit_probe(
            features["train"][chosen],
            train.labels[chosen],
            features["val"],
            task.splits["val"].labels,
            protocol,
            kind,
        )
    fit = probe.fit
    untrained, unlearnt = kind.unlearnt(task.label_names, probe.trained, len(chosen))
    details = {
        "c": fit.c,
        "c_at_edge": fit.c in (protocol.c_grid[0], protocol.c_grid[-1]),
        "converged": fit.converged,
        "iterations": fit.iterations,
        f"validation_{kind.headline}": list(probe.validation),
        "width": int(features["train"].shape[1]),
        **unlearnt,
    }
    return probe, Learning(len(chosen), untrained, details)


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
        seed: Seed of the label fraction and the bootstrap.
        name: To be stored; the class name by default.
        role: ``"encoder"`` or ``"floor"``.
        extraction: How to encode, and the cache.

    Returns:
        One result per metric, the headline first.
    """
    extraction = extraction or Extraction()
    subject = subject_of(encoder, name or type(encoder).__name__, role, extraction)
    return protocol.run(Candidate(subject, encoder), task, seed, extraction)

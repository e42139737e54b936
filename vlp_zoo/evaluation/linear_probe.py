"""``vlp-linear``: an exactly solved linear probe on frozen features.

Features are standardised by the training cases, one L2-regularised logistic regression
per label is fitted on the cases whose label is known, and a single C, shared by all
labels, is chosen on the validation split. The test split is scored once, at the end.
Nothing is random but the choice of patients at label fractions below 1.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from vlp_zoo.encoders.checkpoint import provenance
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.features import Extraction, weights_sha256
from vlp_zoo.evaluation.logistic import LogisticFit, fit_path
from vlp_zoo.evaluation.metrics import label_values, macro
from vlp_zoo.evaluation.results import Cases, Result, result_key
from vlp_zoo.evaluation.statistics import bootstrap
from vlp_zoo.evaluation.tasks import SPLITS, Task

__all__ = [
    "LinearProbe",
    "Subject",
    "fit_probe",
    "nested_patients",
    "probe_key",
    "run",
    "score",
]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]
Features = npt.NDArray[np.float32]

METRICS = ("macro_auroc", "macro_auprc", "macro_brier", "macro_ece")


@dataclass(frozen=True)
class LinearProbe:
    """Settings of the preset.

    Attributes:
        fraction: Share of training patients whose labels are used.
        c_grid: Values of C, ascending; scikit-learn's convention.
        max_iterations: Limit of L-BFGS steps per C.
        replicates: Of the bootstrap over test patients; 0 gives no intervals.
        name: Of the preset.
    """

    fraction: float = 1.0
    c_grid: tuple[float, ...] = tuple(10.0**power for power in range(-4, 5))
    max_iterations: int = 1000
    replicates: int = 1000
    name: str = "vlp-linear"

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1 or self.replicates < 0 or not self.c_grid:
            raise ConfigError(
                "a label fraction in (0, 1], 0 or more replicates, some values of C",
                f"{self.fraction}, {self.replicates}, {self.c_grid}",
                "correct --fractions or --bootstrap",
            )


@dataclass(frozen=True)
class Subject:
    """Who is probed: an encoder or a floor.

    Attributes:
        name: As shown and stored.
        sha256: Of the weights.
        role: ``"encoder"`` or ``"floor"``.
        preprocessing: As of the encoder.
        pooling: Of the features.
        precision: Of the forward pass.
        device: Where it ran.
    """

    name: str
    sha256: str
    role: str = "encoder"
    preprocessing: Mapping[str, Any] | None = None
    pooling: str = "global"
    precision: str = "32"
    device: str = "cpu"

    @property
    def identity(self) -> str:
        """Weights and preprocessing: the same weights may see images differently."""
        return f"{self.sha256} {json.dumps(self.preprocessing, sort_keys=True)}"


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


def nested_patients(
    patient_ids: list[str], labels: Labels, fraction: float, seed: int
) -> npt.NDArray[np.int64]:
    """Cases of a share of the patients; smaller shares lie inside larger ones.

    Patients are stratified by their rarest positive label. Within a stratum their
    order is drawn, and the j-th of n gets the place (j + u) / n, u uniform; the lowest
    places come first. Nothing is forced in: at a small fraction a rare label can be
    without a positive, and is then reported as missing.

    Args:
        patient_ids: (N,).
        labels: (N, K).
        fraction: Share of patients, rounded up.
        seed: Of the order.

    Returns:
        Indices of the cases, ascending.
    """
    names, patient_of = np.unique(np.asarray(patient_ids), return_inverse=True)
    rarity = np.argsort((labels == 1).sum(0), kind="stable")
    stratum = np.full(len(names), labels.shape[1], np.int64)
    for rank, k in reversed(list(enumerate(rarity))):
        stratum[patient_of[labels[:, k] == 1]] = rank
    rng = np.random.default_rng((seed, 71))
    order = rng.permutation(len(names))
    offsets = rng.random(labels.shape[1] + 1)
    place = np.empty(len(names))
    for number in np.unique(stratum):
        members = order[stratum[order] == number]
        place[members] = (np.arange(len(members)) + offsets[number]) / len(members)
    count = int(np.ceil(fraction * len(names) - 1e-9))
    chosen = np.zeros(len(names), bool)
    chosen[np.argsort(place, kind="stable")[:count]] = True
    return np.nonzero(chosen[patient_of])[0]


def probe_key(subject: Subject, task: Task, protocol: LinearProbe, seed: int) -> str:
    """Key under which a finished run is found again."""
    return result_key(
        encoder=subject.sha256,
        task=task.name,
        split=task.split_sha256,
        data=task.data_sha256,
        seed=seed,
        **_settings(subject, task, protocol),
    )


def _settings(subject: Subject, task: Task, protocol: LinearProbe) -> dict[str, Any]:
    return {
        **asdict(protocol),
        "min_positives": task.min_positives,
        "preprocessing": dict(subject.preprocessing or {}),
        "pooling": subject.pooling,
        "precision": subject.precision,
    }


def score(
    features: Mapping[str, Features],
    subject: Subject,
    task: Task,
    protocol: LinearProbe,
    seed: int,
) -> list[Result]:
    """Probe features that exist already: the second half of `run`.

    Args:
        features: (N, D) for each split.
        subject: Whose features they are.
        task: Labels.
        protocol: Settings.
        seed: Of the label fraction and the bootstrap.

    Returns:
        One result per metric, the headline first; all carry the test cases.
    """
    started = time.monotonic()
    train, test = task.splits["train"], task.splits["test"]
    chosen = nested_patients(train.patient_ids, train.labels, protocol.fraction, seed)
    probe = fit_probe(
        features["train"][chosen],
        train.labels[chosen],
        features["val"],
        task.splits["val"].labels,
        protocol,
    )
    probabilities = probe.probabilities(features["test"])
    undefined = dict(task.excluded)
    for label, trained in zip(task.label_names, probe.trained, strict=True):
        if not trained:
            reason = f"one class only in {len(chosen)} training cases"
            undefined.setdefault(label, reason)
    used = [k for k, label in enumerate(task.label_names) if label not in undefined]
    cases = Cases(
        test.uids, test.patient_ids, task.label_names, test.labels, probabilities
    )
    fit = probe.fit
    shared: dict[str, Any] = {
        "key": probe_key(subject, task, protocol, seed),
        "encoder": subject.name,
        "encoder_sha256": subject.sha256,
        "role": subject.role,
        "task": task.name,
        "split_sha256": task.split_sha256,
        "data_sha256": task.data_sha256,
        "protocol": protocol.name,
        "settings": _settings(subject, task, protocol),
        "fraction": protocol.fraction,
        "seed": seed,
        "n": len(test),
        "n_patients": len(set(test.patient_ids)),
        "n_train": len(chosen),
        "undefined": undefined,
        "device": subject.device,
        "cases": cases,
    }
    details = {
        "c": fit.c,
        "c_at_edge": fit.c in (protocol.c_grid[0], protocol.c_grid[-1]),
        "converged": fit.converged,
        "iterations": fit.iterations,
        "validation_macro_auroc": list(probe.validation),
        "labels_used": len(used),
        "width": int(features["train"].shape[1]),
    }
    made = provenance()
    results = []
    for metric in METRICS:
        values = label_values(metric, test.labels[:, used], probabilities[:, used])
        extra: dict[str, Any] = {}
        low = high = None
        value = float(macro(values)[0])
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
        results.append(
            Result(
                **shared,
                metric=metric,
                value=value,
                low=low,
                high=high,
                per_label=per_label,
                details={**details, **extra},
                commit=made["commit"],
                versions={"vlp_zoo": made["vlp_zoo"], **made["versions"]},
                date=made["date"],
                seconds=round(time.monotonic() - started, 3),
            )
        )
    return results


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
    features = {split: extraction.get(encoder, task.splits[split]) for split in SPLITS}
    return score(features, subject, task, protocol, seed)


def subject_of(
    encoder: nn.Module, name: str, role: str, extraction: Extraction
) -> Subject:
    """Identity of an encoder under the settings of an extraction."""
    return Subject(
        name,
        weights_sha256(encoder),
        role,
        dict(getattr(encoder, "preprocessing")),  # noqa: B009
        extraction.pooling,
        extraction.precision,
        str(extraction.torch_device),
    )

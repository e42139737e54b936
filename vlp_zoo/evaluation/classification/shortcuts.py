"""Can a label be guessed from how an image was made, without looking at the patient?

Where the sick come from one hospital and the healthy from another, an encoder can score
by telling the hospitals apart. The probe predicts each label from a few numbers that
describe the acquisition; what it reaches is a baseline that a model has to be compared
with, and a high one says that the data set cannot show what is claimed of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.classification.solvers.logistic import fit_path
from vlp_zoo.evaluation.statistics.intervals import bootstrap

__all__ = ["STRONG", "Shortcut", "shortcut_probe"]

STRONG = 0.8
"""A label whose interval lies above this AUROC is flagged."""

FOLDS = 5
STRENGTH = 0.1


@dataclass(frozen=True)
class Shortcut:
    """How well one label is guessed from the acquisition.

    Attributes:
        label: Name.
        auroc: AUROC of predictions for patients that the fit did not see; NaN where
            ``note`` says why there is none.
        low: Lower bound of the 95 % interval over patients.
        high: Upper bound.
        positives: Known positives.
        negatives: Known negatives.
        features: The three with the largest weights, largest first.
        note: Why it could not be judged, else "".
    """

    label: str
    auroc: float
    low: float
    high: float
    positives: int
    negatives: int
    features: tuple[str, ...] = ()
    note: str = ""

    @property
    def strong(self) -> bool:
        """Whether the whole interval is above `STRONG`."""
        return bool(self.low > STRONG)


def shortcut_probe(
    features: npt.NDArray[np.float32],
    feature_names: Sequence[str],
    labels: npt.NDArray[np.float32],
    label_names: Sequence[str],
    patient_ids: Sequence[str],
    *,
    replicates: int = 500,
    seed: int = 0,
    min_cases: int = 10,
) -> list[Shortcut]:
    """Cross-validated logistic regression of labels on acquisition features.

    Patients are dealt to five folds by the hash of their id; each fold is predicted
    by a fit on the others, with their means and spreads.

    Args:
        features: (N, F); rows with NaN are left out.
        feature_names: F names.
        labels: (N, K) with 1, 0 and NaN = unknown; other values count as unknown.
        label_names: K names.
        patient_ids: (N,).
        replicates: Number of bootstrap replicates; 0 gives no interval, and then
            nothing is strong.
        seed: Seeds the bootstrap.
        min_cases: Labels with fewer positives or negatives are not judged.

    Returns:
        One entry per label, in order.
    """
    usable: npt.NDArray[np.bool_] = np.asarray(~np.isnan(features).any(axis=1))
    values = features[usable].astype(np.float64)
    known = np.where(np.isin(labels[usable], (0, 1)), labels[usable], np.nan)
    patients = [p for p, use in zip(patient_ids, usable, strict=True) if use]
    folds = np.array([_fold(patient) for patient in patients], np.int64)
    scores = np.full(known.shape, np.nan)
    weights = np.zeros((values.shape[1], known.shape[1]))
    for fold in range(FOLDS):
        train, held = folds != fold, folds == fold
        if not held.any() or not train.any():
            continue
        columns = np.nonzero(_both(known[train]))[0]
        if not len(columns):
            continue
        mean, spread = values[train].mean(0), values[train].std(0)
        spread[spread < 1e-6] = 1
        fit = fit_path(
            (values[train] - mean) / spread,
            known[train][:, columns].astype(np.float32),
            [STRENGTH],
        )[0]
        scores[np.ix_(held, columns)] = fit.logits((values[held] - mean) / spread)
        weights[:, columns] += fit.weight
    return [
        _judged(
            name,
            known[:, k].astype(np.float32),
            scores[:, k],
            patients,
            [feature_names[i] for i in np.argsort(-np.abs(weights[:, k]))[:3]],
            replicates,
            seed,
            min_cases,
        )
        for k, name in enumerate(label_names)
    ]


def _fold(patient: str) -> int:
    return hashlib.sha256(f"fold {patient}".encode()).digest()[0] % FOLDS


def _both(labels: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    both: npt.NDArray[np.bool_] = (labels == 1).any(0) & (labels == 0).any(0)
    return both


def _judged(
    name: str,
    labels: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float64],
    patients: Sequence[str],
    features: list[str],
    replicates: int,
    seed: int,
    min_cases: int,
) -> Shortcut:
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    nan = float("nan")
    if min(positives, negatives) < min_cases:
        note = f"fewer than {min_cases} positives or negatives"
        return Shortcut(name, nan, nan, nan, positives, negatives, note=note)
    judged = ~np.isnan(labels) & ~np.isnan(scores)
    if not _both(labels[judged][:, None])[0]:
        note = "one class only in the folds that could be fitted"
        return Shortcut(name, nan, nan, nan, positives, negatives, note=note)
    interval = bootstrap(
        "macro_auroc",
        labels[judged][:, None],
        scores[judged][:, None],
        [p for p, use in zip(patients, judged, strict=True) if use],
        replicates=replicates,
        seed=seed,
    )
    return Shortcut(
        name,
        interval.value,
        interval.low,
        interval.high,
        positives,
        negatives,
        tuple(features),
    )

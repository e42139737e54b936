"""Shares of the labels: by patient, stratified, smaller ones inside larger ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["nested_patients"]


def nested_patients(
    patient_ids: list[str], labels: npt.NDArray[np.float32], fraction: float, seed: int
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

"""Shares of the labels: by patient, stratified, smaller ones inside larger ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["nested_patients", "pandas_rows"]


def nested_patients(
    patient_ids: Sequence[str],
    labels: npt.NDArray[np.float32],
    fraction: float,
    seed: int,
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
        seed: Seed of the order in which patients are taken.

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


def pandas_rows(cases: int, fraction: float, seed: int = 42) -> npt.NDArray[np.int64]:
    """A share of the images as ``DataFrame.sample(frac, random_state)`` draws it.

    What MGCA and GLoRIA do. Images of one patient are parted, rare labels left to
    chance, 1 % does not lie inside 10 %, and equal rows come out only for equal order.

    Args:
        cases: N, in the order of the table.
        fraction: Share of the images, rounded.
        seed: 42 in the published code.

    Returns:
        Indices of the cases, ascending; at least one.
    """
    import pandas as pd

    if fraction >= 1:
        return np.arange(cases)
    rows = pd.Series(np.arange(cases))
    count = max(1, round(fraction * cases))
    return np.sort(rows.sample(n=count, random_state=seed).to_numpy(np.int64))

"""Image-report retrieval from embeddings: whole pool, several right answers allowed.

A query is ranked against the whole pool, never inside a mini-batch, whose size would
decide the number. A candidate is right if it belongs to the query's study or carries
the same report text: normal studies often share every word, and a model that cannot
tell identical texts apart makes no mistake. Ties share their places, so a collapsed
model scores at chance.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.statistics import Interval, resample_patients

__all__ = [
    "Retrieval",
    "chance_recall",
    "first_ranks",
    "precision_at",
    "relevant_pairs",
    "retrieve",
]

Array = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Retrieval:
    """One direction of retrieval over one pool.

    Attributes:
        recall: k to Recall@k, the share of queries with a right answer in the first
            k, with its interval over patients.
        chance: k to what a random order reaches on the same pool.
        median_rank: Of the first right answer, 1 at best.
        mean_reciprocal_rank: Of the first right answer.
        ranks: (N,) rank of the first right answer of each query.
        pool: Candidates that each query was ranked against.
    """

    recall: dict[int, Interval]
    chance: dict[int, float]
    median_rank: float
    mean_reciprocal_rank: float
    ranks: npt.NDArray[np.float64]
    pool: int


def relevant_pairs(study_ids: Sequence[str], texts: Sequence[str]) -> Flags:
    """(N, N) which report is right for which image: same study or same words.

    Example:
        >>> relevant_pairs(["a", "b", "c"], ["Clear lungs.", "clear  lungs", "Mass."])
        array([[ True,  True, False],
               [ True,  True, False],
               [False, False,  True]])
    """
    words = [" ".join(re.findall(r"\w+", text.lower())) for text in texts]
    _, study = np.unique(np.asarray(study_ids), return_inverse=True)
    _, text = np.unique(np.asarray(words), return_inverse=True)
    same: Flags = (study[:, None] == study) | (text[:, None] == text)
    return same


def first_ranks(scores: Array, relevant: Flags) -> npt.NDArray[np.float64]:
    """Rank of each query's first right answer, ties at the middle of their places.

    Args:
        scores: (N, M), larger is better.
        relevant: (N, M).

    Returns:
        (N,) from 1; right answers do not stand in each other's way.

    Example:
        >>> first_ranks(np.array([[0.1, 0.9, 0.5]]), np.array([[True, False, True]]))
        array([2.])
    """
    best = np.where(relevant, scores, -np.inf).max(1, keepdims=True)
    before = ((scores > best) & ~relevant).sum(1)
    level = ((scores == best) & ~relevant).sum(1)
    ranks: npt.NDArray[np.float64] = 1.0 + before + level / 2
    return ranks


def precision_at(
    scores: Array, relevant: Flags, at: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Share of right answers among the first k of each query, (N, len(at)).

    A smaller pool still divides by k. Equal scores count in their mean: what a random
    order of them is expected to reach.

    Args:
        scores: (N, M), larger is better.
        relevant: (N, M).
        at: The k.

    Example:
        >>> scores = np.array([[0.9, 0.5, 0.1]])
        >>> precision_at(scores, np.array([[True, False, True]]), (1, 2, 5))
        array([[1. , 0.5, 0.4]])
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, 1)
    right = np.take_along_axis(relevant, order, 1).astype(np.float64)
    shares = np.empty((len(scores), len(at)))
    for row in range(len(scores)):
        _, group = np.unique(-ranked[row], return_inverse=True)
        level = np.bincount(group, right[row]) / np.bincount(group)
        found = np.cumsum(level[group])
        shares[row] = [found[min(k, len(found)) - 1] / k for k in at]
    return shares


def chance_recall(relevant: Flags, k: int) -> float:
    """Mean chance that a random order has a right answer among its first k."""
    pool = relevant.shape[1]
    wrong = pool - relevant.sum(1)
    missed = np.ones(len(relevant))
    for place in range(min(k, pool)):
        missed *= np.clip(wrong - place, 0, None) / (pool - place)
    return float(1 - missed.mean())


def retrieve(
    queries: Array,
    candidates: Array,
    relevant: Flags,
    patient_ids: Sequence[str],
    *,
    at: Sequence[int] = (1, 5, 10),
    replicates: int = 1000,
    seed: int = 0,
) -> Retrieval:
    """Rank every candidate for every query by cosine.

    Args:
        queries: (N, E).
        candidates: (M, E).
        relevant: (N, M), each query with at least one right answer.
        patient_ids: (N,) of the queries, whom the bootstrap draws.
        at: The k of Recall@k.
        replicates: Of the interval; 0 for none.
        seed: Of the replicates.

    Raises:
        ValueError: If shapes disagree, a number is not finite, or a query has no right
            answer.
    """
    if relevant.shape != (len(queries), len(candidates)):
        raise ValueError(f"relevant {relevant.shape} for {queries.shape} queries")
    if not (np.isfinite(queries).all() and np.isfinite(candidates).all()):
        raise ValueError("embeddings that are not finite cannot be ranked")
    if not relevant.any(1).all():
        raise ValueError("queries without any right answer in the pool")
    ranks = first_ranks(_unit(queries) @ _unit(candidates).T, relevant)
    hits = np.stack([ranks <= k for k in at], axis=1).astype(np.float64)
    drawn = [
        (weights.T @ hits) / weights.sum(0)[:, None]
        for weights in resample_patients(patient_ids, replicates, seed)
    ]
    recall = {}
    for column, k in enumerate(at):
        low = high = float("nan")
        if drawn:
            values = np.concatenate(drawn)[:, column]
            low, high = (float(v) for v in np.quantile(values, [0.025, 0.975]))
        recall[k] = Interval(float(hits[:, column].mean()), low, high)
    return Retrieval(
        recall=recall,
        chance={k: chance_recall(relevant, k) for k in at},
        median_rank=float(np.median(ranks)),
        mean_reciprocal_rank=float((1 / ranks).mean()),
        ranks=ranks,
        pool=len(candidates),
    )


def _unit(rows: Array) -> npt.NDArray[np.float64]:
    wide = rows.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = wide / np.maximum(length, 1e-12)
    return unit

"""Image-report retrieval from embeddings: whole pool, several right answers allowed.

A query is ranked against the whole pool, never inside a mini-batch, whose size would
decide the number. A candidate is right if it belongs to the query's study or carries
the same report text: normal studies often share every word, and a model that cannot
tell identical texts apart makes no mistake. Candidates of equal score stand in no order:
every number is the mean over all orders of them, so a collapsed model scores at chance.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.features.joint import unit_rows
from vlp_zoo.evaluation.statistics.intervals import Interval, resample_patients

__all__ = [
    "FirstPlaces",
    "Retrieval",
    "chance_recall",
    "cosines",
    "first_places",
    "legacy_batch_hits",
    "precision_at",
    "relevant_pairs",
    "retrieve",
]

Array = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FirstPlaces:
    """Where each query's first right answer stands, over all orders of equal scores.

    Of the candidates that share the score of the best right answer, some are right. In
    a random order of these the place of the first right one is negative hypergeometric.

    Attributes:
        before: (N,) wrong candidates with a higher score.
        wrong: (N,) wrong candidates with the same score.
        right: (N,) right candidates with it, 1 or more.
    """

    before: Counts
    wrong: Counts
    right: Counts

    @classmethod
    def by_chance(cls, relevant: Flags) -> FirstPlaces:
        """All candidates in a random order: (N, M) flags of right answers."""
        right = relevant.sum(1)
        return cls(np.zeros_like(right), relevant.shape[1] - right, right)

    def within(self, k: int) -> Shares:
        """(N,) chance that the first k hold a right answer."""
        missed = np.ones(len(self.before))
        for place in range(int(min(k - self.before.min(), self.wrong.max() + 1))):
            missed = np.where(
                self.before + place < k, missed * self._passed(place), missed
            )
        return 1 - missed

    @property
    def ranks(self) -> Shares:
        """(N,) expected rank, 1 at best."""
        return 1.0 + self.before + self.wrong / (self.right + 1)

    @property
    def reciprocal(self) -> Shares:
        """(N,) expected 1 / rank."""
        mean, reached = np.zeros(len(self.before)), np.ones(len(self.before))
        for place in range(int(self.wrong.max()) + 1):
            passed = self._passed(place)
            mean += reached * (1 - passed) / (1 + self.before + place)
            reached = reached * passed
        return mean

    @property
    def median(self) -> float:
        """Median over queries and orders; the mean of the middle two of an even number."""
        chance = np.zeros(int((self.before + self.wrong).max()) + 1)
        reached = np.ones(len(self.before))
        for place in range(int(self.wrong.max()) + 1):
            passed = self._passed(place)
            at = np.minimum(self.before + place, len(chance) - 1)
            np.add.at(chance, at, reached * (1 - passed))
            reached = reached * passed
        share = np.cumsum(chance) / len(self.before)
        # Half is met or passed: the margin is for the rounding of sums of shares.
        low = int((share < 0.5 - 1e-9).sum())
        high = int((share < 0.5 + 1e-9).sum())
        return 1 + (low + high) / 2

    def _passed(self, place: int) -> Shares:
        """(N,) chance that a place among equals is wrong, if all before it were."""
        left = self.wrong - place
        passed: Shares = np.maximum(left, 0) / np.maximum(left + self.right, 1)
        return passed


@dataclass(frozen=True)
class Retrieval:
    """One direction of retrieval over one pool.

    Attributes:
        recall: k to Recall@k, the share of queries with a right answer in the first
            k, with its interval over patients.
        chance: k to what a random order reaches on the same pool.
        median_rank: Median rank of the first right answer, 1 at best.
        mean_reciprocal_rank: Mean of 1 / rank of the first right answer.
        ranks: (N,) rank of the first right answer of each query.
        reciprocal: (N,) 1 / rank of each.
        hits: k to (N,) whether the first k hold a right answer: 1, 0, or the share of
            the orders of equal scores in which they do.
        pool: Candidates that each query was ranked against.
    """

    recall: dict[int, Interval]
    chance: dict[int, float]
    median_rank: float
    mean_reciprocal_rank: float
    ranks: Shares
    reciprocal: Shares
    hits: dict[int, Shares]
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


def first_places(scores: Array, relevant: Flags) -> FirstPlaces:
    """Where each query's first right answer stands.

    Args:
        scores: (N, M), larger is better.
        relevant: (N, M), each query with at least one right answer.

    Returns:
        Right answers do not stand in each other's way.

    Raises:
        ValueError: If a score is NaN, or a query has no right answer.

    Example:
        >>> first_places(
        ...     np.array([[0.1, 0.9, 0.5]]), np.array([[True, False, True]])
        ... ).ranks
        array([2.])
        >>> first_places(np.zeros((1, 4)), np.eye(1, 4, dtype=bool)).within(1)
        array([0.25])
    """
    _refuse_unordered(scores)
    if not relevant.any(1).all():
        raise ValueError("queries without any right answer in the pool")
    best = np.where(relevant, scores, -np.inf).max(1, keepdims=True)
    level = scores == best
    return FirstPlaces(
        ((scores > best) & ~relevant).sum(1),
        (level & ~relevant).sum(1),
        (level & relevant).sum(1),
    )


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

    Raises:
        ValueError: If a score is NaN.

    Example:
        >>> scores = np.array([[0.9, 0.5, 0.1]])
        >>> precision_at(scores, np.array([[True, False, True]]), (1, 2, 5))
        array([[1. , 0.5, 0.4]])
    """
    _refuse_unordered(scores)
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
    return float(FirstPlaces.by_chance(relevant).within(k).mean())


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
        replicates: Number of bootstrap replicates of the interval; 0 for none.
        seed: Seed of the bootstrap replicates.

    Raises:
        ValueError: If shapes disagree, a number is not finite, or a query has no right
            answer.
    """
    if relevant.shape != (len(queries), len(candidates)):
        raise ValueError(f"relevant {relevant.shape} for {queries.shape} queries")
    if not (np.isfinite(queries).all() and np.isfinite(candidates).all()):
        raise ValueError("embeddings that are not finite cannot be ranked")
    places = first_places(cosines(queries, candidates), relevant)
    shares = {k: places.within(k) for k in at}
    hits = np.stack(list(shares.values()), axis=1)
    drawn = [
        (weights.T @ hits) / weights.sum(0)[:, None]
        for weights in resample_patients(patient_ids, replicates, seed)
    ]
    recall = {}
    for column, k in enumerate(shares):
        low = high = float("nan")
        if drawn:
            values = np.concatenate(drawn)[:, column]
            low, high = (float(v) for v in np.quantile(values, [0.025, 0.975]))
        recall[k] = Interval(float(hits[:, column].mean()), low, high)
    return Retrieval(
        recall=recall,
        chance={k: chance_recall(relevant, k) for k in at},
        median_rank=places.median,
        mean_reciprocal_rank=float(places.reciprocal.mean()),
        ranks=places.ranks,
        reciprocal=places.reciprocal,
        hits=shares,
        pool=len(candidates),
    )


def cosines(queries: Array, candidates: Array) -> Shares:
    """Cosine of every query with every candidate; equal rows have equal cosines.

    A product of matrices may sum equal rows in another order, depending on where they
    stand, and part by its rounding what is tied. So each different row is taken once.

    Args:
        queries: (N, E).
        candidates: (M, E).

    Returns:
        (N, M); a row of zeros has cosine 0 with everything.
    """
    mine, one = np.unique(unit_rows(queries), axis=0, return_inverse=True)
    others, two = np.unique(unit_rows(candidates), axis=0, return_inverse=True)
    product: Shares = (mine @ others.T)[one.reshape(-1)[:, None], two.reshape(-1)]
    return product


def _refuse_unordered(scores: Array) -> None:
    if np.isnan(scores).any():
        raise ValueError("scores that are NaN cannot be ranked")


def legacy_batch_hits(
    scores: npt.NDArray[np.floating],
    relevant: npt.NDArray[np.bool_],
    k: int,
    batch: int,
) -> tuple[float, float]:
    """Hit@k and precision@k with queries ranked against their own mini-batch.

    BenchX's retrieval: the pool is the batch, so smaller batches give more hits, and
    batches count alike whatever their size (yangzhou12/BenchX@058e592,
    ``evaluation/retrieval/zeroshot_retrieval.py``).

    Args:
        scores: (N, N), larger is better.
        relevant: (N, N).
        k: Places that count; a batch smaller than k still divides by k.
        batch: Queries and candidates per batch.
    """
    shares = []
    for first in range(0, len(scores), batch):
        part = slice(first, first + batch)
        order = np.argsort(-scores[part, part], axis=1, kind="stable")[:, :k]
        right = np.take_along_axis(relevant[part, part], order, 1)
        shares.append((right.any(1).mean(), (right.sum(1) / k).mean()))
    hit, precision = np.mean(shares, axis=0)
    return float(hit), float(precision)

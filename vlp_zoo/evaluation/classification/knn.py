"""``vlp-knn``: what the nearest labelled images say, with nothing fitted.

Features are centred by the training mean and compared by cosine. A label's score is the
share of positives among the k nearest training cases whose label is known, weighted by
``exp(cosine / temperature)`` as in Wu et al., CVPR 2018 (section 3.4). Only k is chosen,
on the validation split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.classification.kinds import kind_of
from vlp_zoo.evaluation.classification.protocol import Classification
from vlp_zoo.evaluation.classification.scoring import scored
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.features.joint import unit_rows
from vlp_zoo.evaluation.guard import learning
from vlp_zoo.evaluation.protocol import (
    Candidate,
    Outcome,
    training_cases,
)
from vlp_zoo.evaluation.tasks import SPLITS, Task

__all__ = ["NearestNeighbours", "neighbour_scores"]

BLOCK = 2048
"""Queries compared at a time."""


@dataclass(frozen=True)
class NearestNeighbours(Classification):
    """Settings of the preset.

    Attributes:
        k_grid: Numbers of neighbours to choose from, ascending.
        temperature: Temperature of the neighbours' weights; smaller trusts the nearest
            more.
    """

    k_grid: tuple[int, ...] = (1, 5, 10, 20, 50, 100, 200)
    temperature: float = 0.07
    name: str = "vlp-knn"

    reads_features: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.k_grid or min(self.k_grid) < 1 or self.temperature <= 0:
            raise ConfigError(
                "k_grid of 1 or more and a temperature above 0",
                f"{self.k_grid}, {self.temperature}",
                "correct the preset",
            )

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Choose k on the validation split, then score the test split."""
        features = {
            split: extraction.get(candidate.module, task.splits[split])
            for split in SPLITS
        }
        chosen = training_cases(task, self.fraction, seed)
        labels = task.splits["train"].labels[chosen]
        bank = features["train"][chosen].astype(np.float64)
        centre = bank.mean(0)
        grid = [k for k in self.k_grid if k <= len(chosen)] or [len(chosen)]

        def scores(split: str, ks: Sequence[int]) -> list[npt.NDArray[np.float64]]:
            queries = features[split].astype(np.float64) - centre
            return neighbour_scores(
                bank - centre, labels, queries, ks, self.temperature
            )

        kind, truth = kind_of(task), task.splits["val"].labels
        with learning(self.name):
            tried = scores("val", grid)
            found = [kind.value(truth, each) for each in tried]
        if np.isnan(found).all():
            raise ConfigError(
                "a label with both classes in the validation cases",
                f"none among {len(truth)}",
                "give more labelled studies",
            )
        # Of equal values the largest k: the smoothest.
        best = len(grid) - 1 - int(np.nanargmax(found[::-1]))
        untrained = {
            label: f"no known label in {len(chosen)} training cases"
            for label, column in zip(task.label_names, labels.T, strict=True)
            if np.isnan(column).all()
        }
        shown = (labels == 1).any(0)
        unlearnt = kind.unlearnt(task.label_names, shown, len(chosen))[1]
        return scored(
            scores("test", [grid[best]])[0],
            task,
            self,
            seed,
            n_train=len(chosen),
            undefined=untrained,
            details={
                "k": grid[best],
                f"validation_{kind.headline}": found,
                "k_grid": grid,
                **unlearnt,
            },
            validation=tried[best],
        )


def neighbour_scores(
    bank: npt.NDArray[np.float64],
    labels: npt.NDArray[np.float32],
    queries: npt.NDArray[np.float64],
    ks: Sequence[int],
    temperature: float = 0.07,
) -> list[npt.NDArray[np.float64]]:
    """Weighted share of positives among the nearest cases.

    Args:
        bank: (N, D) centred features of labelled cases.
        labels: (N, K) with 1, 0 and NaN = unknown, which has no vote.
        queries: (M, D).
        ks: Numbers of neighbours.
        temperature: Temperature of the neighbours' weights.

    Returns:
        For each k (M, K) in 0..1; the label's prevalence where no neighbour knows it,
        NaN where nobody does.
    """
    known = ~np.isnan(labels)
    positive = np.where(known, labels, 0.0).astype(np.float64)
    counts = known.sum(0)
    prevalence = np.full(labels.shape[1], np.nan)
    np.divide(positive.sum(0), counts, out=prevalence, where=counts > 0)
    most = min(max(ks), len(bank))
    results = [np.empty((len(queries), labels.shape[1])) for _ in ks]
    unit = unit_rows(bank)
    for first in range(0, len(queries), BLOCK):
        part = slice(first, first + BLOCK)
        cosines = unit_rows(queries[part]) @ unit.T
        # A stable order, so that ties do not hang on the size of the block.
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :most]
        weights = np.exp((np.take_along_axis(cosines, order, 1) - 1) / temperature)
        voters = weights[..., None] * known[order]
        votes = voters * positive[order]
        for result, k in zip(results, ks, strict=True):
            total = voters[:, :k].sum(1)
            share = np.broadcast_to(prevalence, total.shape).copy()
            np.divide(votes[:, :k].sum(1), total, out=share, where=total > 0)
            result[part] = share
    return results

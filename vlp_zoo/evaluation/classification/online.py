"""Macro AUROC and F1 of the validation split while a classifier is trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import AUROC, F1Score, MetricCollection

from vlp_zoo.evaluation.classification.classes import truth_of
from vlp_zoo.evaluation.training.learner import Predictions
from vlp_zoo.evaluation.training.online import Online

__all__ = ["ClassScores", "LabelScores"]

THRESHOLDS = 200
"""Places at which the ROC curve is looked at, however many cases there are."""

UNKNOWN = -1
"""What torchmetrics is told to leave out."""

Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.float32]


class _Scores(Online):
    """What both kinds share.

    Args:
        labels: (N, K) of the validation split, with 1, 0 and NaN = unknown.
        trained: (K,) which labels or classes can be learnt.
    """

    def __init__(self, labels: Labels, trained: Flags) -> None:
        super().__init__()
        self.labels = labels
        self.trained = trained
        task = self.task()
        options: dict[str, Any] = {"average": "none", "ignore_index": UNKNOWN}
        self.metrics = MetricCollection(
            {
                "macro_auroc": AUROC(**task, **options, thresholds=THRESHOLDS),
                "macro_f1": F1Score(**task, **options),
            }
        )

    @abstractmethod
    def task(self) -> dict[str, Any]:
        """The kind of the labels, in torchmetrics' words."""

    @abstractmethod
    def pairs(self, logits: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        """Probabilities and truth as torchmetrics takes them."""

    @property
    @abstractmethod
    def defined(self) -> Flags:
        """Which of the values count."""

    def update(self, predictions: Predictions, indices: Sequence[int]) -> None:
        """Take logits of cases; see `Online.update`."""
        if not (predictions and self.defined.any()):
            return
        logits = torch.from_numpy(np.stack([p["logits"] for p in predictions]))
        device = self.metrics["macro_f1"].device
        scores, truth = self.pairs(logits.double(), self.labels[list(indices)])
        self.metrics.update(scores.to(device), truth.to(device))

    def compute(self) -> Mapping[str, float]:
        """Means over what is defined; NaN if nothing is."""
        use = self.defined
        if not use.any():
            return {str(name): float("nan") for name in self.metrics}
        values = {n: v.cpu().numpy() for n, v in self.metrics.compute().items()}
        self.metrics.reset()
        return {n: float(np.atleast_1d(each)[use].mean()) for n, each in values.items()}


class LabelScores(_Scores):
    """Labels that may occur together: those with both classes in the split count."""

    @property
    def used(self) -> npt.NDArray[np.int64]:
        """Columns that count."""
        both = (self.labels == 1).any(0) & (self.labels == 0).any(0)
        return np.flatnonzero(both & self.trained)

    def task(self) -> dict[str, Any]:
        """One label is no multi-label task to torchmetrics."""
        count = len(self.used)
        if count < 2:
            return {"task": "binary"}
        return {"task": "multilabel", "num_labels": count}

    @property
    def defined(self) -> Flags:
        """All of those that are compared."""
        return np.ones(len(self.used), np.bool_)

    def pairs(self, logits: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        """Sigmoids, and labels as whole numbers."""
        known = torch.from_numpy(np.nan_to_num(labels[:, self.used], nan=UNKNOWN))
        scores = logits[:, self.used].sigmoid()
        if len(self.used) == 1:
            return scores[:, 0], known[:, 0].long()
        return scores, known.long()


class ClassScores(_Scores):
    """Classes that exclude each other: those with cases in the split count."""

    def task(self) -> dict[str, Any]:
        """Each class against the rest."""
        return {"task": "multiclass", "num_classes": self.labels.shape[1]}

    @property
    def defined(self) -> Flags:
        """Classes that occur."""
        return np.asarray((self.labels == 1).any(0))

    def pairs(self, logits: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        """A softmax over the classes that occurred in training, and the class."""
        closed = torch.from_numpy(~self.trained)
        scores = logits.masked_fill(closed, float("-inf")).softmax(1)
        return scores, torch.from_numpy(truth_of(labels))

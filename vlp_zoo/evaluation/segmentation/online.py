"""Jaccard index of the validation split while a decoder is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from vlp_zoo.evaluation.segmentation.segmenter import overlap_of
from vlp_zoo.evaluation.training.learner import Predictions
from vlp_zoo.evaluation.training.online import Online

__all__ = ["OverlapScores"]


class _Jaccard(Metric):
    """The Jaccard index of torchmetrics, from pixels that are counted already.

    Cases are judged in their own sizes, where they are a few counts; torchmetrics would
    take the masks and count again.
    """

    full_state_update = False
    both: Tensor
    either: Tensor
    actual: Tensor

    def __init__(self, structures: int) -> None:
        super().__init__()
        for name in ("both", "either", "actual"):
            zeros = torch.zeros(structures, dtype=torch.int64)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, predicted: Tensor, actual: Tensor, both: Tensor) -> None:
        """Counts of pixels (N, K)."""
        self.both += both.sum(0)
        self.actual += actual.sum(0)
        self.either += (predicted + actual - both).sum(0)

    def compute(self) -> Tensor:
        """(K,) over the pixels of all cases; NaN where the structure never is."""
        index = self.both / self.either.clamp(min=1)
        return index.masked_fill(self.actual == 0, float("nan"))


class OverlapScores(Online):
    """Mean Jaccard index of the structures that occur.

    Args:
        structures: K.
    """

    def __init__(self, structures: int) -> None:
        super().__init__()
        self.jaccard = _Jaccard(structures)

    def update(self, predictions: Predictions, indices: Sequence[int]) -> None:
        """Take counts of pixels; see `Online.update`."""
        if not predictions:
            return
        counts = overlap_of(predictions)
        self.jaccard.update(
            *(
                torch.from_numpy(each).to(self.jaccard.device)
                for each in (counts.predicted, counts.actual, counts.both)
            )
        )

    def compute(self) -> Mapping[str, float]:
        """``macro_jaccard``."""
        value = float(self.jaccard.compute().nanmean())
        self.jaccard.reset()
        return {"macro_jaccard": value}

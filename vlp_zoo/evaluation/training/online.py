"""What is logged of the validation split while a head or a network is trained.

Numbers to watch a training by. The step is chosen, and results are made, by the statistics
of `vlp_zoo.evaluation`: torchmetrics counts a label without positives as 0, bins scores,
and knows no intervals.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from torch import nn

from vlp_zoo.evaluation.training.learner import Predictions

__all__ = ["Online"]


class Online(nn.Module):
    """Metrics of torchmetrics, which put all processes together; bounded in memory.

    They are sub-modules, so that they follow the network to its device.
    """

    @abstractmethod
    def update(self, predictions: Predictions, indices: Sequence[int]) -> None:
        """Take what this process predicts.

        Args:
            predictions: Those of its validation cases.
            indices: Which cases these are.
        """

    @abstractmethod
    def compute(self) -> Mapping[str, float]:
        """Values over all processes, an exchange between them; then begin anew."""

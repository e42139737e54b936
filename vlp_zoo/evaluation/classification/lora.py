"""``vlp-lora``: a few added weights are tuned, those of the encoder stay as they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vlp_zoo.evaluation.classification.classifier import Recipe
from vlp_zoo.evaluation.classification.finetune import FineTune
from vlp_zoo.evaluation.classification.kinds import Kind
from vlp_zoo.evaluation.training.settings import require

__all__ = ["LowRank"]


@dataclass(frozen=True)
class LowRank(FineTune):
    """Low-rank adaptation, LoRA (Hu et al., ICLR 2022, arXiv 2106.09685).

    Every linear layer of a transformer, or every convolution of another network, gets a
    product of two thin matrices beside it, which starts at 0. Batch statistics stay.
    Settings beside those of `FineTune`:

    Attributes:
        rank: Width of the matrices; what they add is doubled (alpha is twice the rank).
    """

    rank: int = 8
    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    layer_decay: float = 1.0
    name: str = "vlp-lora"

    def __post_init__(self) -> None:
        require(self.rank > 0, "a rank above 0", self.rank)
        require(not self.frozen, "frozen: false", self.frozen)
        super().__post_init__()

    def recipe(self, kind: Kind) -> Recipe:
        """What is trained: the head and the added weights."""
        return replace(super().recipe(kind), low_rank=self.rank)

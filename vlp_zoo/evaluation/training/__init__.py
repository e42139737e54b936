"""What all protocols that train share: learner, plan, loop, decoders."""

from vlp_zoo.evaluation.training.loop import fit

__all__ = [
    "fit",
]

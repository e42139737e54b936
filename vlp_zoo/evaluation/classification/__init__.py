"""Labels and grades: probes, neighbours, few shots, fine-tuning, and their numbers."""

from vlp_zoo.evaluation.classification.kinds import Exclusive, MultiLabel
from vlp_zoo.evaluation.classification.scoring import scored

__all__ = ["Exclusive", "MultiLabel", "scored"]

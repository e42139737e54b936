"""Labels and grades: probes, neighbours, few shots, fine-tuning, and their numbers."""

from vlp_zoo.evaluation.classification.scoring import (
    METRICS,
    headline_of,
    scored,
    selection_value,
)

__all__ = [
    "METRICS",
    "headline_of",
    "scored",
    "selection_value",
]

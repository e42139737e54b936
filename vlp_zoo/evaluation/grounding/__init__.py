"""Where a phrase points in an image, and how that is judged."""

from vlp_zoo.evaluation.grounding.grounding import Ground

__all__ = [
    "Ground",
]

"""What a space shared by images and texts knows: zero-shot and retrieval."""

from vlp_zoo.evaluation.alignment.retrieve import Retrieve
from vlp_zoo.evaluation.alignment.zero_shot import ZeroShot

__all__ = [
    "Retrieve",
    "ZeroShot",
]

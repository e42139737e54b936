"""Images and texts in the space that they share."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
from torch import nn

from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.features.joint import JointEncoder, unit_rows
from vlp_zoo.evaluation.protocol import Candidate
from vlp_zoo.evaluation.tasks import Task

__all__ = ["image_vectors", "joint_of", "unit_rows"]

Array = npt.NDArray[np.float64]


def joint_of(candidate: Candidate) -> JointEncoder:
    """The joint space of a candidate that has one."""
    # `Protocol.refusal` has seen to it that there is one.
    assert candidate.joint is not None
    return candidate.joint


def image_vectors(
    joint: JointEncoder, task: Task, extraction: Extraction, split: str
) -> Array:
    """The images of a split in the joint space: (N, E), unit length."""
    found = extraction.get(cast(nn.Module, joint), task.splits[split])
    return unit_rows(found)

"""Projection into the joint space, as MGCA and ASG do it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ProjectionHead", "unit_length"]


class ProjectionHead(nn.Module):
    """Two linear layers with batch norm into the joint space.

    Local features are rows too: a 1x1 convolution in the released code.

    Args:
        width: Width D of the input.
        hidden: Inner width.
        joint: Width E of the joint space.
    """

    def __init__(self, width: int, hidden: int, joint: int) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.Linear(width, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, joint),
            nn.BatchNorm1d(joint, affine=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(..., D) to (..., E), with statistics over all leading axes."""
        rows: Tensor = self.head(features.flatten(0, -2))
        return rows.view(*features.shape[:-1], -1)


def unit_length(features: Tensor) -> Tensor:
    """Unit length along the last axis, in float32 or better."""
    wide = torch.promote_types(features.dtype, torch.float32)
    return nn.functional.normalize(features.to(wide), dim=-1)

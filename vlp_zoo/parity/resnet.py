"""Recorded ResNets: sizes, and stems of another width than the 64 that timm has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

__all__ = ["narrow_stem", "resnet_sizes"]


def resnet_sizes(state: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    """Blocks and channels of the four stages, from the names of the tensors.

    Args:
        state: The recorded weights.
        prefix: What stands before ``layer1`` in their names.
    """
    first = re.compile(re.escape(prefix) + r"layer(\d)\.(\d+)\.conv1\.weight")
    found = {m.groups(): v for k, v in state.items() if (m := first.fullmatch(k))}
    return {
        "layers": [sum(stage == s for stage, _ in found) for s in "1234"],
        "channels": [len(found[s, "0"]) for s in "1234"],
    }


def narrow_stem(network: Any, stem: int) -> None:
    """Give a bottleneck ResNet of timm a stem of another width, with fresh weights."""
    block = network.layer1[0]
    inner, wide = block.conv1.out_channels, block.conv3.out_channels
    network.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
    network.bn1 = nn.BatchNorm2d(stem)
    block.conv1 = nn.Conv2d(stem, inner, 1, bias=False)
    block.downsample = None
    if stem != wide:
        shortcut = nn.Conv2d(stem, wide, 1, bias=False), nn.BatchNorm2d(wide)
        block.downsample = nn.Sequential(*shortcut)

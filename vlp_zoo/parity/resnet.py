"""Recorded ResNets whose stem has another width than the 64 that timm has."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["narrow_stem"]


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

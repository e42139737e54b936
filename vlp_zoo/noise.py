"""Uniform noise that belongs to a sample, not to a process.

A mask drawn from the global generator depends on the rank, the batch it fell into and
everything drawn before. Noise keyed by the sample does not: one process or eight,
interrupted or not, CPU or GPU, the same sample in the same epoch is masked alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["sample_noise"]

# SplitMix64 constants (Steele, Lea, Flood: Fast splittable pseudorandom number
# generators, OOPSLA 2014), written as signed 64-bit integers.
_GAMMA = -7046029254386353131
_MIX1 = -4658895280553007687
_MIX2 = -7723592293110705685


def _mix(state: Tensor) -> Tensor:
    """SplitMix64's finaliser; int64 arithmetic wraps, so shifts drop the sign bits."""
    state = (state ^ ((state >> 30) & (2**34 - 1))) * _MIX1
    state = (state ^ ((state >> 27) & (2**37 - 1))) * _MIX2
    return state ^ ((state >> 31) & (2**33 - 1))


def sample_noise(keys: Tensor, count: int, stream: int = 0) -> Tensor:
    """Independent uniform numbers for every sample of a batch.

    Args:
        keys: (B,) int64, one key per sample and epoch (``noise_key`` of the batch).
        count: Numbers per sample.
        stream: Distinguishes several draws for the same sample (image, text, ...).

    Returns:
        (B, count) float32 in [0, 1), on the device of ``keys``.

    Example:
        >>> keys = torch.tensor([7, 8])
        >>> both, second = sample_noise(keys, 3), sample_noise(keys[1:], 3)
        >>> bool((both[1:] == second).all())
        True
    """
    counter = torch.arange(1, count + 1, device=keys.device, dtype=torch.int64)
    start = _mix(keys.long() * _GAMMA + _mix(torch.full_like(keys, stream + 1).long()))
    bits = _mix(start[:, None] + counter * _GAMMA)
    # The top 24 bits fill a float32 mantissa exactly, so 1.0 can not come out.
    return ((bits >> 40) & (2**24 - 1)).to(torch.float32) / 2**24

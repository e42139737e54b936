"""GPUs by name: their memory, and how fast they multiply at best.

Peaks are dense (without sparsity), in TFLOP/s, from NVIDIA's data sheets "V100 Tensor
Core GPU" (SXM2), "A100 Tensor Core GPU", "H100 Tensor Core GPU" (SXM), "H200 Tensor Core
GPU" (SXM), "L40S" and "T4 Tensor Core GPU", and from the white paper "NVIDIA Ada GPU
Architecture" (RTX 4090, float32 accumulation). ``vlpzoo fit`` lets float32 products run
in TF32, so that is the peak of ``32-true`` where a GPU has it.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlp_zoo.errors import unknown_name

__all__ = ["GPU", "GPUS", "gpu_called"]


@dataclass(frozen=True)
class GPU:
    """What a data sheet says.

    Attributes:
        memory: GiB.
        peaks: TFLOP/s by the Trainer's precision; none where it has no units for it.
    """

    memory: int
    peaks: dict[str, float]


def _gpu(memory: int, *, float32: float, float16: float, bfloat16: float | None) -> GPU:
    peaks = {"32-true": float32, "16-mixed": float16, "bf16-mixed": bfloat16}
    return GPU(memory, {name: peak for name, peak in peaks.items() if peak})


GPUS = {
    "t4-16": _gpu(16, float32=8.1, float16=65, bfloat16=None),
    "rtx4090-24": _gpu(24, float32=82.6, float16=165.2, bfloat16=165.2),
    "v100-32": _gpu(32, float32=15.7, float16=125, bfloat16=None),
    "a100-40": _gpu(40, float32=156, float16=312, bfloat16=312),
    "l40s-48": _gpu(48, float32=183, float16=362, bfloat16=362),
    "a100-80": _gpu(80, float32=156, float16=312, bfloat16=312),
    "h100-80": _gpu(80, float32=494, float16=989, bfloat16=989),
    "h200-141": _gpu(141, float32=494, float16=989, bfloat16=989),
}
"""By name, the smallest memory first."""


def gpu_called(name: str) -> GPU:
    """The GPU of a name.

    Raises:
        UnknownNameError: With the known ones.
    """
    if name not in GPUS:
        raise unknown_name("GPU", name, GPUS, "name one of them with --gpu")
    return GPUS[name]

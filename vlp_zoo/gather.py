"""Rows and batch statistics of all processes, with their gradients.

A contrastive loss on W processes equals that of one process on the concatenated batch
only if every process sees all rows *and* the gradient finds its way back to the
process that a row came from. Without gradients, as in validation, processes may run
different numbers of batches, so nothing is exchanged there.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.modules._functions import SyncBatchNorm as TorchKernels
from torch.nn.modules.batchnorm import _BatchNorm

from vlp_zoo.errors import ConfigError

__all__ = [
    "SyncedBatchNorm",
    "exchanging",
    "gather_rows",
    "mean_over_processes",
    "row_offset",
    "sync_batchnorm",
    "whole_weights",
]


def exchanging() -> bool:
    """Whether rows are exchanged now: several processes, and gradients wanted.

    False inside ``torch.no_grad()``, whatever runs there.
    """
    return (
        torch.is_grad_enabled()
        and dist.is_available()
        and dist.is_initialized()
        and dist.get_world_size() > 1
    )


class _GatherRows(torch.autograd.Function):
    """All-gather; backward sums what every process has to say about a row."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        total = grad_outputs[0].contiguous().clone()
        dist.all_reduce(total)
        start = dist.get_rank() * ctx.count
        return total[start : start + ctx.count]


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, in rank order.

    Args:
        rows: (B, ...), B the same on all processes. Any dtype but bool under NCCL.

    Returns:
        (W*B, ...). The gradient of a row is summed over the processes. The rows
        themselves where nothing is exchanged.
    """
    if not exchanging():
        return rows
    gathered: Tensor = _GatherRows.apply(rows.contiguous())
    return gathered


def mean_over_processes(values: Tensor) -> Tensor:
    """Values averaged over the processes, which need not wait for one another's devices.

    Args:
        values: Any shape, the same on all processes; it is overwritten.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values


def whole_weights(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module, put together where processes share it out.

    Every process takes part, and gets all of it.
    """
    return {
        name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        for name, tensor in module.state_dict().items()
    }


def row_offset(count: int) -> int:
    """Where this process's ``count`` rows start among those of `gather_rows`."""
    return dist.get_rank() * count if exchanging() else 0


class _NormaliseTogether(torch.autograd.Function):
    """Batch norm with the mean and variance of all processes' rows; no affine part.

    Only the input is kept for backward, in its own precision.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
        axes, shape = _axes(rows)
        variance, mean = torch.var_mean(wide, axes, correction=0)
        # Processes may have different numbers of rows, such as words.
        count = torch.full_like(mean, rows.numel() // rows.shape[1])
        own = torch.stack([mean, variance, count])
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, own)
        means, variances, counts = torch.stack(parts).unbind(1)
        # Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm (1979).
        count = counts.sum(0)
        shares = counts / count
        mean = (shares * means).sum(0)
        variance = (shares * (variances + (means - mean).square())).sum(0)
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(rows, mean, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return (wide - mean.view(shape)) * scale.view(shape), mean, variance, count

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        rows, mean, scale, count = ctx.saved_tensors
        error = grad_outputs[0]
        axes, shape = _axes(rows)
        normal = (rows.to(error.dtype) - mean.view(shape)) * scale.view(shape)
        sums = torch.stack([error.sum(axes), (error * normal).sum(axes)])
        dist.all_reduce(sums)
        along, across = (sums / count).unbind(0)
        found = error - along.view(shape) - normal * across.view(shape)
        return (found * scale.view(shape)).to(rows.dtype), None


def _axes(rows: Tensor) -> tuple[list[int], list[int]]:
    """All axes but the second, and the shape that spreads (C,) over the rows."""
    axes = [axis for axis in range(rows.ndim) if axis != 1]
    return axes, [1, -1] + [1] * (rows.ndim - 2)


class SyncedBatchNorm(_BatchNorm):
    """Batch norm over the rows of all processes, on CPUs too.

    State-dict keys are those of BatchNorm1d and 2d. Without several processes it is
    plain batch norm. On GPUs it runs the kernels of torch's own SyncBatchNorm, a module
    that DDP refuses on CPUs. (No GPU was at hand to run that branch.)

    Args:
        *args: Arguments of ``torch.nn.BatchNorm2d``.
        **kwargs: Keyword arguments of ``torch.nn.BatchNorm2d``.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"rows and channels, got shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...) over all axes but the second."""
        if not self.training or not exchanging():
            return super().forward(input)
        self._check_input_dim(input)
        if input.is_cuda:
            return self._by_kernels(input)
        normal, mean, variance, count = _NormaliseTogether.apply(input, self.eps)
        if self.running_mean is not None and self.running_var is not None:
            rate = self._rate()
            unbiased = variance * (count / (count - 1).clamp(min=1))
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), rate)
        _, shape = _axes(input)
        if self.weight is not None:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        result: Tensor = normal.to(input.dtype)
        return result

    def _by_kernels(self, input: Tensor) -> Tensor:
        found: Tensor = TorchKernels.apply(
            input,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            self.eps,
            self._rate(),
            dist.group.WORLD,
            dist.get_world_size(),
        )
        return found

    def _rate(self) -> float:
        """Weight of the new batch in the running statistics; counts the batch."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                return 1.0 / int(self.num_batches_tracked)
        return float(self.momentum or 0.0)


class _SyncedBatchNormAct(SyncedBatchNorm):
    """timm's batch norm with an activation."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        """Normalise, drop, activate."""
        activated: Tensor = self.act(self.drop(super().forward(input)))
        return activated


def sync_batchnorm(module: nn.Module) -> nn.Module:
    """Replace every batch norm inside by `SyncedBatchNorm`, keeping its tensors.

    Args:
        module: Changed in place, unless it is a batch norm itself.

    Returns:
        The module; its state-dict keys and its parameters are the same objects.

    Raises:
        ConfigError: If a kind of batch norm is not known.
    """
    if isinstance(module, SyncedBatchNorm):
        return module
    if isinstance(module, _BatchNorm):
        return _synced(module)
    for name, child in module.named_children():
        other = sync_batchnorm(child)
        if other is not child:
            setattr(module, name, other)
    return module


def _synced(old: _BatchNorm) -> SyncedBatchNorm:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    acts = isinstance(old, BatchNormAct2d)
    if type(old) not in kinds and not acts:
        raise ConfigError(
            "BatchNorm1d, 2d, 3d or timm's BatchNormAct2d in the network",
            f"{type(old).__name__}",
            "choose another network",
        )
    new = (_SyncedBatchNormAct if acts else SyncedBatchNorm)(
        old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats
    )
    for name in ("weight", "bias", "running_mean", "running_var"):
        setattr(new, name, getattr(old, name))
    new.num_batches_tracked = old.num_batches_tracked
    if acts:
        new.drop, new.act = old.drop, old.act
    return new.train(old.training)

"""Count a training step without computing it: FLOPs, and bytes that are alive at once.

The step is the method's own ``losses`` and their backward pass on fake tensors, which
have shapes and no numbers. Matrix products, convolutions and attention are counted by
torch's `FlopCounterMode`; memory by looking at every tensor that an operator makes until
it is freed.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses import FakeTensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary

from vlp_zoo.modules import as_on_gpus

__all__ = ["AUTOCAST", "Step", "count_step"]

AUTOCAST = {"32-true": None, "16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
"""Type of products by the Trainer's precision; None is that of the weights."""


@dataclass(frozen=True)
class Step:
    """What a step of one device costs.

    Attributes:
        flops: Those of the forward and the backward pass.
        peak: Bytes alive at once: weights, buffers, batch, activations, gradients.
    """

    flops: int
    peak: int


def count_step(
    module: Any, batch: Mapping[str, Any], precision: str, on_gpu: bool = True
) -> Step:
    """Count the losses of a batch and their backward pass.

    Args:
        module: The method; gradients that it has count as alive from the start.
        batch: What the method's ``losses`` reads.
        precision: A key of `AUTOCAST`.
        on_gpu: Count what a GPU would run, not what the CPU runs.
    """
    alive = _Alive()
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    for tensor in tree_leaves(
        [list(module.parameters()), list(module.buffers()), gradients, dict(batch)]
    ):
        if isinstance(tensor, Tensor):
            alive.note(tensor)
    kind = AUTOCAST[precision]
    narrow = torch.autocast("cpu", kind) if kind else contextlib.nullcontext()
    flops = FlopCounterMode(display=False)
    kernels = _gpu_kernels() if on_gpu else contextlib.nullcontext()
    with kernels, _BlankNumbers(), alive, flops:
        with narrow:
            terms = module.losses(batch)
            total = torch.stack([term.float() for term in terms.values()]).sum()
        # Not total.backward(): inside it torch's modes would not see a block that is
        # computed again.
        torch.autograd.backward(total)
    return Step(flops.get_total_flops(), alive.peak)


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the tensors that are alive, and the most that there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known = WeakIdKeyDictionary()

    def note(self, tensor: Tensor) -> None:
        """Count a tensor's storage until it is freed; views share one."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = size
        weakref.finalize(storage, self._free, size).atexit = False
        self.now += size
        self.peak = max(self.peak, self.now)

    def _free(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run one operator and note what it makes."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self.note(tensor)
        return made


class _BlankNumbers(TorchFunctionMode):
    """Zeros for a method that looks at numbers on the host, as PLACE's pairing does."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is Tensor.numpy and isinstance(args[0], FakeTensor):
            return np.zeros(args[0].shape, str(args[0].dtype).removeprefix("torch."))
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def _gpu_kernels() -> Iterator[None]:
    """Attention as GPUs compute it: no matrix of probabilities, dropout or not."""
    # A mode of torch would not see the calls of nn.MultiheadAttention.
    plain: Any = functional.scaled_dot_product_attention
    attend: Any = partial(_attend, plain)
    functional.scaled_dot_product_attention = attend
    try:
        with as_on_gpus():
            yield
    finally:
        functional.scaled_dot_product_attention = plain


def _attend(
    plain: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **others: Any,
) -> Tensor:
    if query.ndim != 4 or any(others.values()):
        found: Tensor = plain(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **others
        )
        return found
    if torch.is_autocast_enabled("cpu"):
        kind = torch.get_autocast_dtype("cpu")
        query, key, value = (each.to(kind) for each in (query, key, value))
    bias = None
    if attn_mask is not None:
        shape = (*query.shape[:3], key.shape[2])
        bias = query.new_zeros(attn_mask.shape).expand(shape)
    kept = torch.is_grad_enabled()
    attended: Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, bias, kept, dropout_p, is_causal, scale=scale
    )[0]
    return attended

"""What features of an image cost, so that numbers can be weighed against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["cost_of", "spelt_cost"]

_known: WeakKeyDictionary[nn.Module, dict[str, int]] = WeakKeyDictionary()


def cost_of(module: nn.Module) -> dict[str, int]:
    """Parameters of an encoder, and floating-point operations for one image.

    Operations are those that torch's `FlopCounterMode` knows (matrix products,
    convolutions, attention); a multiplication and an addition are two.

    Args:
        module: An encoder with ``preprocessing``.

    Returns:
        ``parameters`` and ``flops``; empty for what has no weights, such as pixels.
    """
    if module in _known:
        return _known[module]
    first = next(module.parameters(), None)
    how: Any = getattr(module, "preprocessing", None)
    if first is None or how is None:
        return {}
    side, planes = int(how["image_size"]), int(how.get("channels", 3))
    image = torch.zeros(1, planes, side, side, device=first.device, dtype=first.dtype)
    counted = FlopCounterMode(display=False)
    training = module.training
    module.eval()
    # Under inference mode the counter sees nothing.
    with torch.no_grad(), counted:
        module(image)
    module.train(training)
    parameters = sum(each.numel() for each in module.parameters())
    cost = {"parameters": parameters, "flops": counted.get_total_flops()}
    return _known.setdefault(module, cost)


def spelt_cost(details: Mapping[str, Any]) -> str:
    """The cost in the details of a result, as tables have it; empty where unknown.

    Example:
        >>> spelt_cost({"cost": {"parameters": 23_508_032, "flops": 8_174_000_000}})
        '23.5 M, 8.17 GFLOPs'
    """
    cost = details.get("cost")
    if not cost:
        return ""
    return f"{cost['parameters'] / 1e6:.3g} M, {cost['flops'] / 1e9:.3g} GFLOPs"

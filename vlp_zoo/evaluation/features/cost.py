"""What features of an image cost, so that numbers can be weighed against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["cost_of", "spelt_cost"]

BATCH, PASSES = 16, 3
"""Images of a forward pass that is timed, and how many passes are."""

_known: WeakKeyDictionary[nn.Module, dict[str, Any]] = WeakKeyDictionary()


def cost_of(module: nn.Module) -> dict[str, Any]:
    """Parameters of an encoder, operations for one image, and images in a second.

    Operations are those that torch's `FlopCounterMode` knows (matrix products,
    convolutions, attention); a multiplication and an addition are two. Images per second
    are those of forward passes on `BATCH` images in the precision of the weights, where
    the module lies now: a device with other work is slower.

    Args:
        module: An encoder with ``preprocessing``.

    Returns:
        ``parameters``, ``flops``, ``images_per_second`` and the ``device``; empty for what
        has no weights, such as pixels.
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
    with torch.no_grad():
        with counted:
            module(image)
        speed = _speed(module, image.repeat(BATCH, 1, 1, 1))
    module.train(training)
    cost = {
        "parameters": sum(each.numel() for each in module.parameters()),
        "flops": counted.get_total_flops(),
        "images_per_second": speed,
        "device": first.device.type,
    }
    return _known.setdefault(module, cost)


def _speed(module: nn.Module, images: Tensor) -> float:
    """Images per second of `PASSES` forward passes after two, to three digits."""
    timer = Timer(
        "module(images)",
        globals={"module": module, "images": images},
        num_threads=torch.get_num_threads(),
    )
    seconds = timer.timeit(PASSES).mean
    return float(f"{len(images) / seconds:.3g}")


def spelt_cost(details: Mapping[str, Any]) -> str:
    """The cost in the details of a result, as tables have it; empty where unknown.

    Example:
        >>> spelt_cost({"cost": {"parameters": 23_508_032, "flops": 8_174_000_000}})
        '23.5 M, 8.17 GFLOPs'
    """
    cost = details.get("cost")
    if not cost:
        return ""
    parts = [f"{cost['parameters'] / 1e6:.3g} M", f"{cost['flops'] / 1e9:.3g} GFLOPs"]
    if "images_per_second" in cost:  # results of earlier versions have none
        parts.append(f"{cost['images_per_second']:g} images/s ({cost['device']})")
    return ", ".join(parts)

"""torch.compile for the parts of a method that cost most of a step.

A transformer is compiled block by block (one graph serves all blocks of a kind, so it is
made in seconds), an image encoder without blocks as a whole. Losses, masks and heads stay
as they are. Modules are compiled in place: checkpoints keep their names.
"""

from __future__ import annotations

import torch
from torch import nn

from vlp_zoo import recomputing
from vlp_zoo.encoders.hub import one_line
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError
from vlp_zoo.recomputing import blocks_of, is_compiled

__all__ = ["check_compiler", "compile_networks"]


def compile_networks(module: nn.Module) -> int:
    """Compile encoders and decoders in place, those that are not yet.

    Args:
        module: A method with its networks.

    Returns:
        How many parts are compiled.
    """
    whole: list[nn.Module] = [
        part
        for part in module.modules()
        if isinstance(part, ImageEncoder) and not part.is_vit
    ]
    inside = {part for encoder in whole for part in encoder.modules()}
    parts = whole + [block for block in blocks_of(module) if block not in inside]
    for part in parts:
        if not is_compiled(part):
            part.compile(backend=recomputing.BACKEND)
    return len(parts)


def check_compiler(device: torch.device) -> None:
    """Compile something small, before anything is trained.

    Raises:
        ConfigError: If this machine cannot compile for the device.
    """
    small = torch.compile(lambda x: 2 * x + 1, backend=recomputing.BACKEND)
    try:
        small(torch.ones(1, device=device))
    except RuntimeError as error:
        raise ConfigError(
            f"what torch.compile needs for {device.type} (--model.compile)",
            one_line(getattr(error, "inner_exception", error)),
            "install a C++ compiler (and Triton for a GPU), or leave the option out",
        ) from error

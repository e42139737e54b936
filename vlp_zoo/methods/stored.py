"""A method as a checkpoint holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.base import VLPModule
from vlp_zoo.methods.loading import method_class, option_names

__all__ = ["load_method"]


def load_method(path: str | Path) -> VLPModule[Any]:
    """Reload any installed method from its checkpoint, whichever class wrote it.

    Args:
        path: A ``.ckpt`` file written by ``vlpzoo fit``.

    Returns:
        The module in eval mode, on the CPU.

    Raises:
        ConfigError: If the file does not say which class wrote it.
        UnknownNameError: If no installed method has that class.
    """
    file = torch.load(path, map_location="cpu", weights_only=True)
    class_path = file.get("method_class")
    if class_path is None:
        raise ConfigError(
            f"the method's class in {path}",
            "a checkpoint without one",
            "use a checkpoint that vlpzoo fit wrote",
        )
    method: Any = method_class(str(class_path))
    # Files of older releases hold more than that.
    takes, stored = option_names(method), file["hyper_parameters"]
    module: VLPModule[Any] = method(**{k: v for k, v in stored.items() if k in takes})
    # Before the networks are built: vocabulary and text model come from the file.
    module.on_load_checkpoint(file)
    module.load_state_dict(file["state_dict"])
    return module.eval()

"""MONAI, the one place that imports it: when it is used, since that costs over a second.

Losses and surface distances of masks, networks for masks and windows over large images
come from it. Written against 1.6, which names the parts used here ``losses``,
``metrics``, ``networks.nets`` and ``inferers``.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from vlp_zoo.errors import DependencyNotFoundError

__all__ = ["load_monai"]


def load_monai(purpose: str) -> ModuleType:
    """The package ``monai`` with its parts.

    Args:
        purpose: What it is for, in the words of a message.

    Raises:
        DependencyNotFoundError: If it is not installed.
    """
    try:
        return importlib.import_module("monai")
    except ImportError as error:
        raise DependencyNotFoundError(
            f"the package monai, for {purpose}",
            str(error),
            "pip install 'vlp-zoo[segmentation]'",
        ) from error

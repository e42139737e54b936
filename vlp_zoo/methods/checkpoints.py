"""Checkpoints of a training, looked at before anything is built from them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from vlp_zoo.errors import ConfigError

__all__ = ["check_checkpoint"]

PARTS = ("state_dict", "hyper_parameters", "epoch", "global_step", "loops")
"""What every checkpoint of a training has."""


def check_checkpoint(path: Path) -> None:
    """Refuse a checkpoint that is damaged or not of a training of this package.

    Args:
        path: A regular file.

    Raises:
        ConfigError: If it is cut, changed inside, no checkpoint, or another one's.
    """
    looked_for = f"a checkpoint of vlpzoo fit in {path}"
    do_this = "give last.ckpt or best.ckpt of a run; if it is one, its disk damaged it"
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                # Torch reads weights that were changed on the disk without a word.
                if (bad := archive.testzip()) is not None:
                    raise ValueError(f"a wrong checksum of {bad}")
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ConfigError(
            looked_for, f"no checkpoint of plain weights ({_first(error)})", do_this
        ) from error
    except Exception as error:
        # Which of a dozen errors damage raises is up to the pickle machine.
        raise ConfigError(
            looked_for, f"damage: {type(error).__name__}: {_first(error)}", do_this
        ) from error
    if not isinstance(loaded, dict):
        raise ConfigError(looked_for, f"a {type(loaded).__name__}", do_this)
    missing = [part for part in PARTS if part not in loaded]
    if missing:
        has = ", ".join(map(str, list(loaded)[:6])) or "nothing"
        raise ConfigError(
            looked_for,
            f"{has}, but not {', '.join(missing)}",
            "give a checkpoint of vlpzoo fit; weights alone start a new run through "
            "--model.encoder or --model.warm_start",
        )


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else "no more is known"

"""What comes in through a Trainer command: checkpoints, and options with a slip."""

from __future__ import annotations

import importlib
import inspect
import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from vlp_zoo.cli.parser import nearest
from vlp_zoo.errors import ConfigError

__all__ = ["check_checkpoint", "nearest_option"]

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


def nearest_option(message: str, parser: Any, words: Sequence[str]) -> str:
    """A question for the option that was probably meant; or nothing.

    Args:
        message: What jsonargparse says.
        parser: With all options.
        words: The command line.
    """
    message = " ".join(line.strip(" -") for line in message.splitlines())
    inside = re.search(r"class_path '([\w.]+)': Option '([\w.]+)' is not", message)
    if inside:
        module, _, name = inside[1].rpartition(".")
        kind = re.search(r'Parser key "(\w+)"', message)
        start = f"--{kind[1]}." if kind else ""
        near = nearest(
            inside[2], _parameters(getattr(importlib.import_module(module), name))
        )
        return f"did you mean {start}{near}? " if near else ""
    unknown = re.search(r"unrecognized arguments: (--[\w.-]+)", message)
    if unknown is None:
        return ""
    near = nearest(unknown[1], _options(parser, words))
    return f"did you mean {near}? " if near else ""


def _options(parser: Any, words: Sequence[str]) -> list[str]:
    """All options of a command, those of its method and its data included."""
    found = list(parser._option_string_actions)
    chosen = parser._subcommands_action.choices if parser._subcommands_action else {}
    if words and words[0] in chosen:
        found += chosen[words[0]]._option_string_actions
    from vlp_zoo.data.datamodules import PairsDataModule
    from vlp_zoo.methods.base import VLPModule

    for kind, base in (("model", VLPModule), ("data", PairsDataModule)):
        path = next((w for w in words if w.startswith(f"--{kind}=")), "")
        module, _, name = path.partition("=")[2].rpartition(".")
        chosen_class = (
            getattr(importlib.import_module(module), name) if module else base
        )
        found += [f"--{kind}.{each}" for each in _parameters(chosen_class)]
    return found


def _parameters(cls: type) -> list[str]:
    """Names that a class takes, those that it hands on to its bases included."""
    classes: Iterable[Any] = cls.__mro__
    return list(
        dict.fromkeys(
            name
            for each in classes
            if "__init__" in vars(each)
            for name, parameter in inspect.signature(each.__init__).parameters.items()
            if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
        )
    )

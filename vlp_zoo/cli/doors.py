"""Options of a Trainer command that were written with a slip."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from typing import Any

from vlp_zoo.cli.parser import nearest
from vlp_zoo.methods.loading import option_names

__all__ = ["nearest_option"]


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
        chosen = getattr(importlib.import_module(module), name)
        near = nearest(inside[2], option_names(chosen))
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
    from vlp_zoo.methods.options import PretrainOptions

    for kind, base in (("model", PretrainOptions), ("data", PairsDataModule)):
        path = next((w for w in words if w.startswith(f"--{kind}=")), "")
        module, _, name = path.partition("=")[2].rpartition(".")
        chosen_class = (
            getattr(importlib.import_module(module), name) if module else base
        )
        found += [f"--{kind}.{each}" for each in option_names(chosen_class)]
    return found

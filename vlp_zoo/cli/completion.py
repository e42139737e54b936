"""``vlpzoo --print-completion SHELL``: a script from which a shell learns the commands."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from vlp_zoo.cli.names import config_names, known
from vlp_zoo.cli.parser import Parser
from vlp_zoo.errors import ConfigError

__all__ = ["SHELLS", "main"]

SHELLS = ("bash", "zsh", "tcsh")


def main(shell: str, commands: dict[str, tuple[str, str]]) -> int:
    """Print the script.

    Args:
        shell: One of `SHELLS`.
        commands: Command to its module and one line of help.

    Raises:
        ConfigError: For another shell, or without shtab.
    """
    if shell not in SHELLS:
        raise ConfigError(
            f"a shell: {', '.join(SHELLS)}",
            repr(shell) if shell else "none",
            "vlpzoo --print-completion bash",
        )
    try:
        import shtab
    except ModuleNotFoundError:
        raise ConfigError(
            "the package shtab, which writes completions",
            "not installed",
            "pip install 'vlp-zoo[completion]'",
        ) from None
    print(shtab.complete(_tree(commands), shell=shell))
    return 0


def _tree(commands: dict[str, tuple[str, str]]) -> argparse.ArgumentParser:
    """One parser with a command each; the modules build theirs without heavy imports."""
    root = argparse.ArgumentParser(prog="vlpzoo")
    root.add_argument("--version", action="store_true", help="print the version")
    branches = root.add_subparsers()
    trainings = []
    for name, (path, line) in commands.items():
        module = importlib.import_module(path)
        if path == "vlp_zoo.cli.training":
            trainings.append(name)
            continue
        parent = Parser.built_by(module.main)
        branches.add_parser(name, help=line, parents=[parent], add_help=False)
    for name in trainings:
        _add_training(branches.add_parser(name, help=commands[name][1]))
    return root


def _add_training(parser: argparse.ArgumentParser) -> None:
    """What is asked for most; all other options are made from classes, by torch's side."""
    parser.add_argument("--model", choices=sorted(known("model")), help="method")
    parser.add_argument("--data", choices=sorted(known("data")), help="data set")
    parser.add_argument("--config", choices=config_names(), help="packaged config")
    parser.add_argument("--ckpt_path", choices=["last"], help="to go on from")
    parser.add_argument("--out", type=Path, help="folder of the runs")

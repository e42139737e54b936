"""The command line's parsers: no abbreviations, and the nearest option by name."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from vlp_zoo.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

__all__ = ["Parser", "StrictParser", "add_results", "at_least", "nearest", "results_of"]


def nearest(word: str, options: list[str]) -> str | None:
    """The option that was probably meant.

    Args:
        word: The unknown option that was typed, such as ``--batch_size``.
        options: Those there are. Options with a dot are found by their last part too:
            ``--batch_size`` is near ``--data.batch_size``.
    """
    asked = word.lstrip("-").replace("-", "_")
    plain = {option.lstrip("-").replace("-", "_"): option for option in options}
    found = get_close_matches(asked, plain, n=1, cutoff=0.75)
    if found:
        return plain[found[0]]
    last = {name.rpartition(".")[2]: option for name, option in reversed(plain.items())}
    found = get_close_matches(asked.rpartition(".")[2], last, n=1, cutoff=0.75)
    return last[found[0]] if found else None


class Parser(argparse.ArgumentParser):
    """An argument parser that guesses nothing and helps with a slip.

    Args:
        kwargs: Keyword arguments of `argparse.ArgumentParser`.
    """

    _built: ClassVar[list[Parser] | None] = None
    """Where parsers put themselves in place of printing their help."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    @classmethod
    def built_by(cls, main: Callable[[list[str]], int]) -> Parser:
        """The parser of a command, which is asked for its help and prints none."""
        built: list[Parser] = []
        Parser._built = built
        try:
            with contextlib.suppress(SystemExit):
                main(["--help"])
        finally:
            Parser._built = None
        (parser,) = built
        return parser

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Print the help, unless the parser itself is wanted."""
        if Parser._built is None:
            super().print_help(file)
        else:
            Parser._built.append(self)

    def repeat(self, flag: str, metavar: str, help: str, **options: Any) -> None:
        """Add an option that may be given again; an empty list where it is not."""
        options |= {"action": "append", "default": [], "metavar": metavar}
        self.add_argument(flag, help=help, **options)

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit with 2."""
        super().error(message + self.guess(message))

    def guess(self, message: str) -> str:
        """The nearest option to the first that is not known; or nothing."""
        unknown = re.search(r"unrecognized arguments: .*?(--[\w.-]+)", message)
        options = list(self._option_string_actions)
        near = nearest(unknown[1], options) if unknown else None
        return f"; did you mean {near}?" if near else ""


class StrictParser(Parser):
    """A parser whose errors are messages like all others, with exit code 1."""

    def error(self, message: str) -> NoReturn:
        """Raise the message.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            f"options that {self.prog} understands",
            message + self.guess(message),
            f"{self.prog} --help",
        )


def at_least(least: int) -> Callable[[str], int]:
    """A type of options: whole numbers from ``least`` on."""

    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"must be {least} or more, not {value}")
        return value

    return number


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add the option that names folders of results; `runs/bench` by default."""
    parser.add_argument(
        "--results",
        action="append",
        type=Path,
        metavar="DIR",
        help="folder of vlpzoo bench, again for more (runs/bench)",
    )


def results_of(options: argparse.Namespace) -> list[Path]:
    """The folders that `add_results` asked for."""
    named: list[Path] | None = options.results
    return named or [Path("runs/bench")]

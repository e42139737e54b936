"""Errors that a user can cause, each with one message that says what to do.

Every class takes the same three clauses (looked for, found, do this). The command
line prints the message without a traceback and exits with 1; ``--debug`` shows the
traceback. Each class also is the nearest builtin, so library users can catch that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = [
    "BatchFieldError",
    "ConfigError",
    "DataRejectedError",
    "DatasetNotFoundError",
    "DependencyNotFoundError",
    "EncoderLoadError",
    "FileWriteError",
    "NonFiniteLossError",
    "PatientLeakError",
    "ReportSourceError",
    "StoreError",
    "TokenizerError",
    "UnknownNameError",
    "VLPZooError",
    "unknown_name",
]

_CLAUSES = re.compile(
    r"looked for: (.*)\nfound:      (.*)\ndo this:    (.*)", re.DOTALL
)


class VLPZooError(Exception):
    """Root of all errors that are the user's to mend.

    Args:
        looked_for: What the program needed, with the value it was given.
        found: What there was instead.
        do_this: The next step for the user.
    """

    def __init__(self, looked_for: str, found: str = "", do_this: str = "") -> None:
        # A loader process hands its error over as one text with a traceback in it,
        # from which the parent rebuilds the error: find the three clauses again.
        if not found and (match := _CLAUSES.search(looked_for)):
            looked_for, found, do_this = match.groups()
        self.looked_for = looked_for
        self.found = found
        self.do_this = do_this
        super().__init__(looked_for, found, do_this)

    def __str__(self) -> str:
        return (
            f"looked for: {self.looked_for}\n"
            f"found:      {self.found}\n"
            f"do this:    {self.do_this}"
        )


class UnknownNameError(VLPZooError, ValueError):
    """A short name (method, data set, config, encoder) that is not known."""


def unknown_name(
    kind: str, name: str, known: Iterable[str], do_this: str
) -> UnknownNameError:
    """The error for a name that is not known, with the nearest one that is."""
    from difflib import get_close_matches

    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return UnknownNameError(
        f"a {kind} called {name!r}",
        f"the known ones are {', '.join(names)}",
        f"{guess}{do_this}",
    )


class ConfigError(VLPZooError, ValueError):
    """Options that contradict each other or cannot work together."""


class DatasetNotFoundError(VLPZooError, FileNotFoundError):
    """A data set, file or column that is not where it was said to be."""


class DataRejectedError(VLPZooError, ValueError):
    """Rows of a data set that cannot be used, with the file that lists them."""


class PatientLeakError(DataRejectedError):
    """A patient in two splits: what is measured on one was learnt from the other."""


class DependencyNotFoundError(VLPZooError, ImportError):
    """An optional package that a feature needs."""


class EncoderLoadError(VLPZooError, RuntimeError):
    """An encoder file or checkpoint that does not fit, with counts and keys."""


class TokenizerError(VLPZooError, ValueError):
    """A vocabulary that cannot be read or does not fit the text encoder."""


class ReportSourceError(VLPZooError, RuntimeError):
    """A source of distilled contexts (file, model, endpoint) that failed."""


class StoreError(VLPZooError, OSError):
    """A prepared data set that cannot be written, or is not whole."""


class FileWriteError(VLPZooError, OSError):
    """A file that could not be written; what stood there before is kept."""


class BatchFieldError(VLPZooError, ValueError):
    """A batch lacks a field that the method declared in ``batch_keys``."""


class NonFiniteLossError(VLPZooError, ArithmeticError):
    """A loss term became NaN or infinite."""

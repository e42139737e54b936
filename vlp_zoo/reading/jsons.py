"""JSON of other people: values, or one message."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from vlp_zoo.errors import ConfigError
from vlp_zoo.reading.files import read_text

__all__ = ["parse_json", "read_json"]


def parse_json(text: str, *, finite: bool = True) -> Any:
    """The value of a JSON text, as the standard has it.

    Args:
        text: One value.
        finite: False lets NaN and Infinity pass, for who judges numbers himself.

    Raises:
        ValueError: If it is no JSON, nests too deeply, says NaN or Infinity or a number
            beyond all doubles, or has a NUL character in a text.
    """
    # No name of a file and no report has one; the system would refuse the name later.
    if "\\u0000" in text or "\0" in text:
        raise ValueError("a NUL character")
    try:
        if not finite:
            return json.loads(text)
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError("values nested too deeply") from None


def read_json(path: Path, what: str = "the file") -> Any:
    """What a JSON file holds.

    Args:
        path: The file.
        what: For the message.

    Raises:
        DatasetNotFoundError: If there is no such regular file.
        ConfigError: If it is no JSON.
    """
    text = read_text(path, what)
    try:
        return parse_json(text)
    except ValueError as error:
        raise ConfigError(
            f"JSON in {path}", f"{type(error).__name__}: {error}", "download it again"
        ) from error


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word}, which is no number of JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits}, beyond all numbers")
    return value

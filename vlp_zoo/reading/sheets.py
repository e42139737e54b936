"""Cells of spreadsheets."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

from vlp_zoo.errors import ConfigError, DependencyNotFoundError
from vlp_zoo.reading.files import ALWAYS, GROWTH

__all__ = ["sheet_rows"]


def sheet_rows(content: bytes, path: Path) -> list[list[str]]:
    """The rows of the first sheet of an ``.xlsx`` file as text.

    Args:
        content: Bytes of the file.
        path: For messages.

    Returns:
        "" where a cell is blank; whole numbers without a decimal point.

    Raises:
        DependencyNotFoundError: If openpyxl is not installed.
        ConfigError: If it is no spreadsheet, or unpacks beyond bounds.
    """
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise DependencyNotFoundError(
            f"openpyxl, to read {path}",
            "not installed",
            "pip install 'vlp-zoo[sheets]'",
        ) from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > max(ALWAYS, GROWTH * len(content)):
            raise ValueError(f"it would unpack to {size} bytes")
        # The values that were shown, not the formulas behind them.
        book = load_workbook(io.BytesIO(content), data_only=True)
        return [
            [_text(value) for value in row]
            for row in book.worksheets[0].iter_rows(values_only=True)
        ]
    # What openpyxl and the packages below it raise for files that are damaged.
    except (
        *(ValueError, OSError, LookupError, EOFError, TypeError, AttributeError),
        *(zipfile.BadZipFile, zlib.error, SyntaxError, NotImplementedError),
        RuntimeError,
    ) as error:
        found = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"a spreadsheet in {path}", found, "download the file again"
        ) from error


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)

"""Tables as they are found, as text cells: one tolerance for every reader.

CSV (also packed with gzip, zip, xz or bzip2), TSV, Parquet and ``.xlsx`` are read. Taken
in silence: a byte-order mark, any line ends, blanks around headings, blank rows, blank
cells behind the last column. Taken and said: Windows-1252, another separator than the
name of the file promises. Refused, with the line: rows of another length than the
heading, a heading that is there twice, quotes that are not closed, NUL bytes, and what
is no text, is cut or is damaged.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.reading.files import as_utf8, read_bytes, unpacked
from vlp_zoo.reading.sheets import sheet_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["plain_id", "read_table"]

logger = logging.getLogger(__name__)

COLUMNS = 10_000
"""More are no table of images."""

CELL = 2**24
"""Characters of the longest cell: a text of all reports is none."""

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
WHOLE = re.compile(r"\d+\.0+", re.ASCII)
ROUNDED = re.compile(r"\d(\.\d+)?[eE]\+\d+", re.ASCII)
"""What spreadsheets make of long ids; the digits that are lost cannot be told."""

HEADING = 2**20
"""Bytes of the first line that are looked at for separators."""


def read_table(
    path: Path,
    columns: Sequence[str] = (),
    *,
    ids: Sequence[str] = (),
    empty: bool = False,
    rename: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """A table as text cells, with tidy headings.

    Cells stay text: "NA" can be a word and 007 a patient. Blank cells are "".

    Args:
        path: ``.csv``, ``.tsv``, either packed, ``.parquet`` or ``.xlsx``.
        columns: Headings that must be there.
        ids: Columns that hold ids, which are then as of `plain_id`; those that are
            not there are passed over.
        empty: Headings alone are a table too; else they are what is left of one.
        rename: Other spellings of headings to what ``columns`` and ``ids`` call them.

    Raises:
        DatasetNotFoundError: If the file or a column is missing.
        DependencyNotFoundError: If it is a spreadsheet and openpyxl is not installed.
        ConfigError: If it is no table, or one that cannot be read for certain.
    """
    path = Path(path)
    sheet = path.suffix == ".xlsx"
    content = read_bytes(path, "the spreadsheet" if sheet else "the table")
    if sheet:
        table = _frame(path, enumerate(sheet_rows(content, path), 1))
    elif path.suffix == ".parquet":
        table = _parquet(path, content)
    else:
        table = _csv(path, unpacked(content, path))
    table = table.rename(columns=rename or {})
    missing = [name for name in columns if name not in table]
    if missing:
        found = [str(name) for name in table.columns]
        raise DatasetNotFoundError(
            f"the columns {', '.join(missing)} in {path}",
            f"columns {', '.join(found[:40])}{', ...' if len(found) > 40 else ''}",
            "download the official file again",
        )
    if not empty and table.empty:
        raise _no_table(path, "headings alone")
    for name in [name for name in ids if name in table]:
        cells = [plain_id(cell) for cell in table[name]]
        rounded = next((cell for cell in cells if ROUNDED.fullmatch(cell)), None)
        if rounded is not None:
            raise _no_table(
                path, f"{rounded} in the column {name}: an id that was rounded"
            )
        table[name] = cells
    return table


def plain_id(cell: str) -> str:
    """An id as it was meant: without blanks around it, and 123 where pandas made 123.0.

    Zeros in front stay, and so do capitals: 007 and 7 are two patients.

    Example:
        >>> [plain_id(cell) for cell in (" 10.0", "007", "v1.0")]
        ['10', '007', 'v1.0']
    """
    cell = cell.strip()
    return cell.partition(".")[0] if WHOLE.fullmatch(cell) else cell


def _csv(path: Path, content: bytes) -> pd.DataFrame:
    text = as_utf8(content, path)
    if not text.strip():
        raise _no_table(path, "an empty file")
    separator = _separator(path, text)
    try:
        return _frame(path, _rows(path, text, separator))
    except _QuoteError as error:
        # Some programs write \" for a quote inside quotes. Where a backslash stands
        # before anything else too, nobody can say what it means.
        if not re.search(rb'\\"', text) or re.search(rb'\\[^"\\]', text):
            raise error.of(path) from error
        try:
            return _frame(path, _rows(path, text, separator, escape="\\"))
        except _QuoteError:
            raise error.of(path) from error


def _separator(path: Path, text: bytes) -> str:
    """What stands between the headings: as the name of the file says, unless not so."""
    expected = "\t" if ".tsv" in path.suffixes else ","
    first = re.split(rb"[\r\n]", text[:HEADING].lstrip(b"\r\n"), maxsplit=1)[0]
    counts = {sep: first.count(sep.encode()) for sep in SEPARATORS}
    found = max(counts, key=lambda sep: (counts[sep], sep == expected))
    if found != expected:
        logger.warning(
            "%s: its headings are separated by %s; read so", path, SEPARATORS[found]
        )
    return found


class _QuoteError(Exception):
    """A line whose quotes do not add up."""

    def __init__(self, line: int, found: str) -> None:
        super().__init__(line, found)
        self.line, self.found = line, found

    def of(self, path: Path) -> ConfigError:
        return ConfigError(
            f"a table in {path}",
            f"line {self.line}: {self.found}",
            'write texts in quotes and quotes inside as "", or download the file again',
        )


def _rows(
    path: Path, text: bytes, separator: str, escape: str | None = None
) -> Iterator[tuple[int, list[str]]]:
    lines = io.TextIOWrapper(io.BytesIO(text), encoding="utf-8", newline="")
    # The limit is one for the whole process.
    csv.field_size_limit(CELL)
    start = 1
    try:
        reader = csv.reader(lines, delimiter=separator, escapechar=escape, strict=True)
        for row in reader:
            yield start, row
            start = reader.line_num + 1
    except csv.Error as error:
        if "field larger" in str(error):
            found = f"a cell of more than {CELL} characters from line {start} on"
            raise _no_table(path, found) from error
        raise _QuoteError(start, str(error)) from error


def _frame(path: Path, rows: Iterable[tuple[int, list[str]]]) -> pd.DataFrame:
    """Rows with their lines as a table; the first that is not blank are the headings."""
    import pandas as pd

    lines = iter(rows)
    headings = next((row for _, row in lines if not _blank(row)), [])
    names = _headings(path, headings)
    width = len(names)
    # By columns: hundreds of thousands of lists, one for each row, slow down Python.
    columns: list[list[str]] = [[] for _ in names]
    # Most cells of a large table say what others said: one text serves them all.
    shared: dict[str, str] = {}
    for line, row in lines:
        if len(row) != width or not row[0]:
            if _blank(row):
                continue
            # Blank cells behind the last column come from Excel; else nothing fits.
            if len(row) < width or not _blank(row[width:]):
                raise _no_table(
                    path,
                    f"line {line} has {len(row)} cells and not one for each of the "
                    f"{width} headings: {', '.join(row)[:80]!r}",
                )
            row = row[:width]
        for column, cell in zip(columns, row, strict=True):
            column.append(shared.setdefault(cell, cell))
    return pd.DataFrame(dict(zip(names, columns, strict=True)), dtype=object)


def _blank(row: Sequence[str]) -> bool:
    return not any(cell.strip() for cell in row)


def _headings(path: Path, cells: Sequence[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise _no_table(path, "no headings")
    if len(names) > COLUMNS:
        raise _no_table(path, f"{len(names)} columns; more than {COLUMNS} are not read")
    # A column without a heading, as pandas writes its index, cannot be meant by anyone.
    names = [name or f"Unnamed: {i}" for i, name in enumerate(names)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(
            f"each heading once in {path}",
            f"more than once: {', '.join(twice[:5])}",
            "rename or remove the columns that are there twice",
        )
    return names


def _parquet(path: Path, content: bytes) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        names = file.schema_arrow.names
        columns = []
        if len(names) <= COLUMNS:
            columns = [
                [_word(value) for value in column.to_pylist()]
                for column in file.read().columns
            ]
    # Also what a damaged schema or page comes to below arrow.
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        LookupError,
        OverflowError,
    ) as error:
        raise _no_table(path, f"{type(error).__name__}: {error}") from error
    names = _headings(path, names)
    for name, cells in zip(names, columns, strict=True):
        if any("\0" in cell for cell in cells):
            raise _no_table(path, f"a NUL character in the column {name}")
    return pd.DataFrame(dict(zip(names, columns, strict=True)), dtype=object)


def _word(value: Any) -> str:
    """A cell of Parquet as the same table in CSV has it."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, list | dict):
        return json.dumps(value)
    return str(value)


def _no_table(path: Path, found: str) -> ConfigError:
    return ConfigError(
        f"a table in {path}",
        found,
        "download the file again, or write it as UTF-8 CSV with quoted texts",
    )

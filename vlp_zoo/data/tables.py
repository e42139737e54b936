"""Official tables: where they lie, what their cells say, how two of them are joined.

`vlp_zoo.reading` reads them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from vlp_zoo.errors import ConfigError, DatasetNotFoundError, VLPZooError
from vlp_zoo.reading import listing, plain_id, read_table

__all__ = [
    "Row",
    "check_join",
    "check_word",
    "find_one",
    "first_of",
    "listing",
    "number",
    "plain_id",
    "read_rows",
    "read_table",
    "shaped",
    "stated",
    "without",
]

logger = logging.getLogger(__name__)

BLANK = frozenset({"", "nan", "none", "null", "<na>", "na", "n/a"})
"""What programs write into a cell that says nothing."""

AGAIN = "download the official table again"
ROOT = "give the folder that holds the official files: --data.root"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of an official table; its cells come without the blanks around them.

    Attributes:
        headings: Heading to the place of its cell; one mapping for all lines.
        cells: What the file has, as it is written.
        line: Line in the table, the header being line 1.
        path: The table.
    """

    headings: Mapping[str, int]
    cells: Sequence[Any]
    line: int
    path: Path

    def __getitem__(self, name: str) -> str:
        return str(self.cells[self.headings[name]]).strip()

    def __contains__(self, name: str) -> bool:
        return name in self.headings

    def get(self, name: str) -> str:
        """The cell of a column that the table may lack; "" then."""
        return self[name] if name in self.headings else ""

    def numbers(self, *names: str) -> tuple[float, ...]:
        """The numbers of some columns; NaN where there is none."""
        return tuple(number(self.get(name)) for name in names)

    def labels(self, names: Iterable[str]) -> tuple[float, ...]:
        """The labels of some columns, see `stated`; NaN without the column."""
        return tuple(self._label(name) for name in names)

    def _label(self, name: str) -> float:
        value = _label_of(self.get(name))
        # Most cells are fine: the place is only named for those that are not.
        return stated(self[name], f"{name}, {self.where}") if value is None else value

    @property
    def where(self) -> str:
        """Line and table, for messages."""
        return f"line {self.line} of {self.path}"

    def refused(
        self, looked_for: str, found: str, do_this: str = AGAIN
    ) -> DatasetNotFoundError:
        """The error for a line that says what nobody knows, or nothing."""
        looked_for = f"{looked_for} in {self.where}"
        return DatasetNotFoundError(looked_for, repr(found[:80]), do_this)


def read_rows(
    path: Path,
    columns: Sequence[str] = (),
    *,
    ids: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
) -> list[Row]:
    """The lines of an official table.

    Args:
        path: A table that `vlp_zoo.reading.read_table` reads, and raises errors for.
        columns: Headings that must be there.
        ids: Columns that hold ids.
        rename: Other spellings of headings to what they are called here.
    """
    table = read_table(path, columns, ids=ids, rename=rename)
    headings = {str(name): place for place, name in enumerate(table.columns)}
    lines = table.itertuples(index=False, name=None)
    return [Row(headings, cells, line, path) for line, cells in enumerate(lines, 2)]


@contextmanager
def shaped(
    what: str, path: object, error: type[VLPZooError] = ConfigError
) -> Iterator[None]:
    """Refuse values that have another shape than was published.

    Args:
        what: What should be there, for the message.
        path: The file.
        error: The class of the refusal.
    """
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as cause:
        found = f"{type(cause).__name__}: {cause}"
        do_this = "download the official file again"
        raise error(f"{what} in {path}", found, do_this) from cause


def check_word(word: str, known: Iterable[str], what: str) -> None:
    """Refuse a word that is not among those that are known.

    Args:
        word: What was given.
        known: All that may be.
        what: What it names, for the message.

    Raises:
        ConfigError: If it is another.
    """
    words = list(known)
    if word not in words:
        raise ConfigError(
            f"{what} among {', '.join(words)}", repr(word), "choose one of them"
        )


def without(what: str, root: Path, do_this: str = ROOT) -> DatasetNotFoundError:
    """The error for what is not in a folder; it says what is."""
    return DatasetNotFoundError(f"{what} in {root}", listing(root), do_this)


def first_of(root: Path, names: Iterable[str]) -> Path | None:
    """The first of several possible files or folders that is there, or None.

    Args:
        root: Where to look.
        names: Relative paths or glob patterns, the best first.
    """
    return next((path for name in names for path in sorted(root.glob(name))), None)


def find_one(root: Path, names: Sequence[str], what: str) -> Path:
    """The first of several possible files or folders that is there.

    Args:
        root: Where to look.
        names: Relative paths or glob patterns, the best first.
        what: For the message.

    Raises:
        DatasetNotFoundError: If none is.
    """
    found = first_of(root, names)
    if found is not None:
        return found
    raise without(f"{what} ({' or '.join(names)})", root)


def number(cell: str) -> float:
    """The number in a cell; NaN where it is blank or no number."""
    try:
        return float(cell)
    except ValueError:
        return float("nan")


@lru_cache(1024)
def _label_of(cell: str) -> float | None:
    """0, 1, -1, NaN for a blank cell; None for anything else."""
    if cell.strip().lower() in BLANK:
        return math.nan
    value = number(cell)
    return value if value in (0, 1, -1) else None


def stated(cell: str, where: object) -> float:
    """The label in a cell: 0, 1, -1 (uncertain), or NaN where it is blank.

    Args:
        cell: ``"1"``, ``"1.0"``, ``"nan"``, ...
        where: For the message: which column, line and table.

    Raises:
        DatasetNotFoundError: If it is anything else, which nobody may take for blank.

    Example:
        >>> [stated(cell, "line 2") for cell in ("1.0", " -1", "")]
        [1.0, -1.0, nan]
    """
    value = _label_of(cell)
    if value is None:
        raise DatasetNotFoundError(
            f"1, 0, -1 or blank in {where}",
            repr(cell[:80]),
            AGAIN,
        )
    return value


def check_join(
    wanted: Iterable[Any],
    known: Container[Any],
    what: str,
    where: object,
    *,
    whole: bool = True,
) -> None:
    """Say so where one table knows few, or none, of the names in another.

    Args:
        wanted: Names in the first, such as the studies of all images.
        known: Names in the second.
        what: What is joined: ``"labels of studies"``.
        where: The second, for the message.
        whole: False where the second need not know all: no warning then.

    Raises:
        DatasetNotFoundError: If it knows none of them, with examples of both.
    """
    names = dict.fromkeys(wanted)
    missing = [name for name in names if name not in known]
    if names and len(missing) == len(names):
        others = list(islice(known, 3)) if isinstance(known, Iterable) else []
        raise DatasetNotFoundError(
            f"{what} such as {', '.join(map(str, missing[:3]))} in {where}",
            f"none of {len(names)}; it has {', '.join(map(str, others)) or 'nothing'}",
            "give two tables of one release; ids must be written alike in both",
        )
    if missing and whole:
        logger.warning(
            "%s: no %s for %d of %d, such as %s",
            *(where, what, len(missing), len(names), missing[0]),
        )

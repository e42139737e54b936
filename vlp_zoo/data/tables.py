"""Official tables: where they lie, what their cells say, how two of them are joined.

`vlp_zoo.reading` reads them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Container, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.reading import listing, plain_id, read_table

__all__ = [
    "check_join",
    "find_one",
    "listing",
    "number",
    "plain_id",
    "read_table",
    "stated",
]

logger = logging.getLogger(__name__)

BLANK = frozenset({"", "nan", "none", "null", "<na>", "na", "n/a"})
"""What programs write into a cell that says nothing."""


def find_one(root: Path, names: Sequence[str], what: str) -> Path:
    """The first of several possible files or folders that is there.

    Args:
        root: Where to look.
        names: Relative paths or glob patterns, the best first.
        what: For the message.

    Raises:
        DatasetNotFoundError: If none is.
    """
    for name in names:
        found = sorted(root.glob(name)) if any(c in name for c in "*?[") else []
        if not found and (root / name).exists():
            found = [root / name]
        if found:
            return found[0]
    raise DatasetNotFoundError(
        f"{what} ({' or '.join(names)}) in {root}",
        listing(root),
        "give the folder that holds the official files: --data.root",
    )


def number(cell: str) -> float:
    """The number in a cell; NaN where it is blank or no number."""
    try:
        return float(cell)
    except ValueError:
        return float("nan")


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
    bare = cell.strip()
    if bare.lower() in BLANK:
        return math.nan
    value = number(bare)
    if value not in (0, 1, -1):
        raise DatasetNotFoundError(
            f"1, 0, -1 or blank in {where}",
            repr(cell[:80]),
            "download the official table again",
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

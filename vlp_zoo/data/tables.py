"""Official tables: where they lie, what their cells say, how two of them are joined.

`vlp_zoo.reading` reads them.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Sequence
from itertools import islice
from pathlib import Path

from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.reading import listing, plain_id, read_table

__all__ = ["check_join", "find_one", "listing", "number", "plain_id", "read_table"]

logger = logging.getLogger(__name__)


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


def check_join(
    wanted: Iterable[str], known: Container[str], what: str, where: object
) -> None:
    """Say so where one table knows few, or none, of the names in another.

    Args:
        wanted: Names in the first, such as the studies of all images.
        known: Names in the second.
        what: What is joined: ``"labels of studies"``.
        where: The second, for the message.

    Raises:
        DatasetNotFoundError: If it knows none of them, with examples of both.
    """
    names = dict.fromkeys(wanted)
    missing = [name for name in names if name not in known]
    if names and len(missing) == len(names):
        others = list(islice(known, 3)) if isinstance(known, Iterable) else []
        raise DatasetNotFoundError(
            f"{what} such as {', '.join(missing[:3])} in {where}",
            f"none of {len(names)}; it has {', '.join(map(str, others)) or 'nothing'}",
            "give two tables of one release; ids must be written alike in both",
        )
    if missing:
        logger.warning(
            "%s: no %s for %d of %d, such as %s",
            *(where, what, len(missing), len(names), missing[0]),
        )

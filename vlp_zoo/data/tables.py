"""Official tables as they are found: any of their usual encodings, checked columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlp_zoo.errors import ConfigError, DatasetNotFoundError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["find_one", "listing", "number", "read_table"]


def read_table(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """A CSV file as text cells, with tidy headings.

    A byte-order mark, CRLF line ends, gzip, and blanks around headings are all seen in
    official files. Cells stay text: "NA" can be a word and 007 a patient. UTF-8 is
    tried first, then Windows-1252, which some releases use.

    Args:
        path: ``.csv``, ``.csv.gz`` or ``.tsv``.
        columns: Headings that must be there.

    Raises:
        DatasetNotFoundError: If the file or a column is missing.
        ConfigError: If it is no table.
    """
    import pandas as pd

    if not path.is_file():
        raise DatasetNotFoundError(
            f"the table {path}",
            listing(path.parent),
            "give the folder that holds the official files, or download it again",
        )
    table = None
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            table = pd.read_csv(
                path,
                sep="\t" if ".tsv" in path.suffixes else ",",
                dtype=str,
                keep_default_na=False,
                encoding=encoding,
                index_col=False,
            )
            break
        except UnicodeDecodeError:
            continue
        except (ValueError, OSError, EOFError) as error:
            raise _no_table(path, f"{type(error).__name__}: {error}") from error
    if table is None:
        raise _no_table(path, "neither UTF-8 nor Windows-1252")
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    missing = [name for name in columns if name not in table]
    if missing:
        raise DatasetNotFoundError(
            f"the columns {', '.join(missing)} in {path}",
            f"columns {', '.join(map(str, table.columns))}",
            "download the official file again",
        )
    return table


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


def listing(folder: Path, most: int = 8) -> str:
    """What lies in a folder, for messages."""
    if not folder.is_dir():
        return f"no folder {folder}"
    names = sorted(path.name for path in folder.iterdir())
    more = ", ..." if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "an empty folder"


def number(cell: str) -> float:
    """The number in a cell; NaN where it is blank or no number."""
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _no_table(path: Path, found: str) -> ConfigError:
    return ConfigError(f"a table in {path}", found, "download the file again")

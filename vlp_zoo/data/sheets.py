"""Official tables that were published as spreadsheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from vlp_zoo.data.tables import listing
from vlp_zoo.errors import ConfigError, DatasetNotFoundError, DependencyNotFoundError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_sheet"]


def read_sheet(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """The first sheet of an ``.xlsx`` file as text cells, with tidy headings.

    Args:
        path: The file.
        columns: Headings that must be there.

    Returns:
        Strings, "" where a cell is blank; whole numbers without a decimal point.

    Raises:
        DatasetNotFoundError: If the file or a column is missing.
        DependencyNotFoundError: If openpyxl is not installed.
        ConfigError: If it is no spreadsheet.
    """
    import pandas as pd

    if not path.is_file():
        raise DatasetNotFoundError(
            f"the spreadsheet {path}",
            listing(path.parent),
            "give the folder that holds the official files, or download it again",
        )
    try:
        table = pd.read_excel(path, dtype=str, keep_default_na=False, engine="openpyxl")
    except ImportError as error:
        raise DependencyNotFoundError(
            f"openpyxl, to read {path}",
            "not installed",
            "pip install 'vlp-zoo[sheets]'",
        ) from error
    except (ValueError, OSError, KeyError, EOFError, BadZipFile) as error:
        found = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"a spreadsheet in {path}", found, "download the file again"
        ) from error
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    missing = [name for name in columns if name not in table]
    if missing:
        raise DatasetNotFoundError(
            f"the columns {', '.join(missing)} in {path}",
            f"columns {', '.join(map(str, table.columns))}",
            "download the official file again",
        )
    return table

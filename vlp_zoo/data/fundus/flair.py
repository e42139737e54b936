"""FLAIR's assembly: any number of retinal sets, a table of words each.

Layout::

    dataframes/pretraining/*.csv     # or dataframes/*.csv, or *.csv: one per set
    <as the tables say>              # images, relative to the root or to ``datasets``

The tables are made with FLAIR's ``prepare_partitions.py`` from the sets themselves;
columns are ``image``, ``categories`` and the attributes (spelt with one t), the last two
Python lists in text. They are read as literals, never evaluated.

Text: ``A fundus photograph of <categories>, <attributes>.`` FLAIR draws one of the words
each time and replaces it by a sentence of its dictionary; here all words are in the
caption. ``facts`` has both lists and the table's name as ``source``. Labels: none: the
words are open, and another set's absence of a word says nothing.

FLAIR bans words with myop, cataract, macular hole and retinitis to keep these classes
unseen; nothing is left out here.

Splits: none, it is for pre-training. What it is made of is in many test sets.

Access: that of each set. Cite Silva-Rodríguez et al., "A foundation language-image model
of the retina (FLAIR)", Medical Image Analysis 99:103357, 2025.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from vlp_zoo.data.records import Card, Record
from vlp_zoo.data.tables import Row, read_rows, without
from vlp_zoo.errors import ConfigError

__all__ = ["CARD", "caption", "read"]

MISSPELT = "atributes"  # codespell:ignore
"""The heading in all tables that FLAIR's code makes."""

TABLES = ("dataframes/pretraining", "dataframes", ".")


def read(root: Path) -> Iterator[Record]:
    """Records in the order of the tables, these by name.

    Args:
        root: Folder with ``dataframes``, or with the tables themselves.

    Raises:
        DatasetNotFoundError: If no table is there, or a column is missing.
        ConfigError: If words are no list.
    """
    tables = next(
        (found for name in TABLES if (found := sorted((root / name).glob("*.csv")))), []
    )
    if not tables:
        make = "make them with FLAIR's prepare_partitions.py"
        raise without("dataframes/pretraining/*.csv of FLAIR", root, make)
    images = root / "datasets" if (root / "datasets").is_dir() else root
    for path in tables:
        for row in read_rows(path, ["image", "categories"]):
            categories = _words(row, "categories")
            attributes = _words(row, MISSPELT if MISSPELT in row else "attributes")
            uid = f"{path.stem}/{row['image']}"
            yield Record(
                uid=uid,
                image=images / row["image"],
                text=caption(categories, attributes),
                row=row.line,
                facts={
                    "categories": categories,
                    "attributes": attributes,
                    "source": path.stem,
                },
            )


def caption(categories: tuple[str, ...], attributes: tuple[str, ...]) -> str:
    """All words in one sentence.

    Example:
        >>> caption(("mild diabetic retinopathy",), ("noisy",))
        'A fundus photograph of mild diabetic retinopathy, noisy.'
        >>> caption((), ())
        'A fundus photograph.'
    """
    words = ", ".join([*categories, *attributes])
    return f"A fundus photograph of {words}." if words else "A fundus photograph."


def _words(row: Row, column: str) -> tuple[str, ...]:
    cell = row.get(column)
    if not cell:
        return ()
    try:
        words = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        words = None
    if not isinstance(words, list | tuple):
        raise ConfigError(
            f"a list such as ['no diabetic retinopathy'] in {row.where}",
            repr(cell[:80]),
            "make the table again with FLAIR's prepare_partitions.py",
        )
    return tuple(str(word).strip() for word in words if str(word).strip())


CARD = Card(
    name="flair",
    title="FLAIR's assembly",
    domain="fundus",
    read=read,
    label_names=(),
    gives=("reports",),
    patients="none",
    markers=("dataframes/**/*.csv", "[0-9][0-9]_*.csv"),
    access="that of each set",
    licence="that of each set",
    citation="Silva-Rodríguez et al., FLAIR, Medical Image Analysis 2025",
    overlaps=("aptos", "odir", "idrid", "mured", "eyepacs", "rfmid", "stare", "aria"),
)

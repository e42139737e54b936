"""The small notation of the word tables, compiled to regular expressions.

A blank stands for any run of white space; ``~`` for up to four words none of which
denies, affirms or joins ("heart ~ enlarged"). Terms match whole words only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["compile_table", "compile_terms", "lowered"]

_FILL = (
    r"(?:(?!(?:normal|unremarkable|clear|with|without|but|no|there)\b)[\w/-]+ ){0,4}?"
)
_LOWER = str.maketrans(
    {**{chr(code): chr(code + 32) for code in range(65, 91)}, "\n": " ", "\t": " "}
)


def lowered(text: str) -> str:
    """Lower-case ASCII letters and blank out line breaks; the length stays.

    ``str.lower`` may change the length ("İ"), and then spans no longer fit.
    """
    return text.translate(_LOWER)


def _expand(term: str) -> str:
    # A look-behind needs a fixed width, so its blanks stay; so do those of [ -].
    parts = re.split(r"(\(\?<[!=][^)]*\))", term.replace("~", _FILL))
    return "".join(
        part if part.startswith("(?<") else re.sub(r" (?![*+?{-])", " +", part)
        for part in parts
    )


def compile_terms(terms: Iterable[str]) -> re.Pattern[str]:
    """One pattern for any of the terms, as whole words."""
    return re.compile(rf"(?<!\w)(?:{'|'.join(_expand(term) for term in terms)})(?!\w)")


def compile_table(
    table: Mapping[str, Iterable[str]],
) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """One pattern for a whole table; earlier rows win where two fit.

    Args:
        table: Row name to its terms.

    Returns:
        The pattern and the row names: a match belongs to the row
        ``names[match.lastindex - 1]``.
    """
    rows = [
        "(" + "|".join(_expand(term) for term in terms) + ")"
        for terms in table.values()
    ]
    return re.compile(rf"(?<!\w)(?:{'|'.join(rows)})(?!\w)"), tuple(table)

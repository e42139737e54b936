"""The small notation of the word tables, compiled to regular expressions.

A blank stands for any run of white space; ``~`` for up to four words none of which
denies, affirms or joins ("heart ~ enlarged"). Terms match whole words only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Mention", "Table", "compile_terms", "lowered"]

Mention = tuple[int, int, str]
"""First character, one past the last, and the name of what is mentioned."""

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


class Table:
    """Names and the terms for each, found as whole words; earlier rows win.

    Args:
        rows: Name to its terms.
        skipped: Terms of which nothing is made, though they hold one of a row.
        also: Terms within a mention that name a second thing as well.
    """

    def __init__(
        self,
        rows: Mapping[str, Iterable[str]],
        skipped: Iterable[str] = (),
        also: Mapping[str, str] | None = None,
    ) -> None:
        groups = [map(_expand, terms) for terms in (skipped, *rows.values())]
        # Without a term a row would match everywhere.
        joined = "|".join(f"({'|'.join(terms) or '(?!)'})" for terms in groups)
        self._pattern = re.compile(rf"(?<!\w)(?:{joined})(?!\w)")
        self._names = ("", *rows)
        self._also = [
            (compile_terms([term]), name) for term, name in (also or {}).items()
        ]

    def search(self, text: str, begin: int = 0) -> re.Match[str] | None:
        """The first match of any row from ``begin`` on."""
        return self._pattern.search(text, begin)

    def find(self, text: str) -> Iterator[Mention]:
        """All mentions in a text, in order (see `lowered`)."""
        for match in self._pattern.finditer(text):
            name = self._names[(match.lastindex or 1) - 1]
            if not name:
                continue
            yield match.start(), match.end(), name
            for pattern, other in self._also:
                if pattern.search(match.group()):
                    yield match.start(), match.end(), other

"""What counts as no text: one rule for every reader, check and store."""

from __future__ import annotations

import re

__all__ = ["BLANK_WORDS", "is_blank", "stated"]

BLANK_WORDS = frozenset(
    {"nan", "none", "null", "nil", "na", "nat", "n/a", "n.a", "n.a.", "nan."}
)
"""What software writes for a missing text (lower-case); "None." is a sentence."""

_UNNAMED = re.compile(r"\bX{3,}\b|\[\*\*[^\]\n]{0,80}\]")
_WORD = re.compile(r"[A-WYZa-z]{5}")
_LETTER = re.compile(r"[^\W\d_]")
_EDGES = re.compile(r"^[^\w.]+|[^\w.]+$|_")


def is_blank(text: str) -> bool:
    """Whether a text says nothing.

    It does where no letter is left once the marks of de-identification (``___``,
    ``XXXX``, ``[**...**]``) are taken away, be it empty, blanks of any kind, invisible
    characters, dots or dashes; and where it is made of `BLANK_WORDS`, as pandas and
    databases write missing cells.

    Example:
        >>> [is_blank(text) for text in ("", " NaN", "<NA>", "XXXX XXXX.", "___", "-")]
        [True, True, True, True, True, True]
        >>> is_blank("Normal."), is_blank("None.")
        (False, False)
    """
    # Most texts show at once a word that is longer than any of those.
    if "[**" not in text and _WORD.search(text):
        return False
    if len(text) < 200:
        text = _UNNAMED.sub(" ", text)
        bare = "".join(char for char in text if char.isprintable()).strip()
        words = (_EDGES.sub("", word) for word in bare.split() if _LETTER.search(word))
        return all(word.lower() in BLANK_WORDS for word in words)
    return _LETTER.search(_UNNAMED.sub(" ", text)) is None


def stated(text: str) -> str:
    """The text without blanks at its ends; "" where it says nothing (`is_blank`)."""
    return "" if is_blank(text) else text.strip()

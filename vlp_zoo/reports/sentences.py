"""Cleaning of a report's text, and its sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["clean", "one_line", "sentence_spans", "split_sentences"]

LONGEST = 1000
"""Characters of a sentence; a longer one is cut, as no rule reads across that much."""


def one_line(text: str) -> str:
    """The text with hard wraps undone: every run of white space is one blank."""
    return " ".join(text.split())


_BLANKS = re.compile(r"_{2,}|\bX{4,}\b")
_BEFORE_STOP = re.compile(r"\s+(?=[.,;:!?])")
_STOPS = re.compile(r"([.,;:!?])(?:\s*[.,;:])+")


def clean(text: str, placeholder: str = "", lower: bool = False) -> str:
    """Collapse white space and replace de-identified spans; numbers are kept.

    Args:
        text: Any report text.
        placeholder: What stands for ``___`` (MIMIC-CXR) and ``XXXX`` (Open-i); the
            empty string removes them with the space in front.
        lower: Lower-case the result.

    Returns:
        One line of text.
    """
    text = _BLANKS.sub(placeholder, text)
    text = _BEFORE_STOP.sub("", " ".join(text.split()))
    text = _STOPS.sub(r"\1", text) if not placeholder else text
    return text.lower() if lower else text


# A stop after one of these ends no sentence.
_ABBREVIATION = re.compile(
    r"\b(?:dr|mr|mrs|ms|prof|st|vs|cf|approx|fig|e\.g|i\.e|e\.g\.|resp|a\.m|p\.m|pt"
    r"|[ap]\.?k\.?a|incl|mod)$",
    re.IGNORECASE,
)
_CAPITAL = re.compile(r"\s+[A-Z]")
_INK = re.compile(r"\S")
# Runs of stops are taken whole, so that a long one that ends nothing is looked at once.
_CANDIDATE = re.compile(
    r"(?P<gap>\n[ \t]*\n\s*)"
    r"|(?P<stop>(?<![.!?])[.!?]++)(?P<after>[\"')\]]*+)(?=\s|$|[A-Za-z(])"
    r"|(?P<item>(?<![\w.,/-])\(?(?P<number>\d{1,2})[.)](?:[.,])?(?=\s*[A-Za-z]))"
)


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Character spans of the sentences, without the numbers of an enumeration.

    A stop ends a sentence unless it belongs to a decimal ("3.5 cm") or an
    abbreviation ("Dr.", "e.g."); a missing space after it is forgiven
    ("apex.There"). A blank line ends one too, a single line break does not. "2."
    opens an item where an item 1 came before it, with or without a stop between. What
    goes on for more than `LONGEST` characters is cut between words.

    Args:
        text: Any report text.

    Returns:
        (start, end) pairs in order, each non-empty and without outer white space.
    """
    spans: list[tuple[int, int]] = []
    begin, expected = 0, 1

    def close(end: int, following: int) -> None:
        nonlocal begin
        spans.extend(_pieces(text, begin, end))
        begin = following

    for match in _CANDIDATE.finditer(text):
        if match.start() < begin:
            continue
        if match["gap"] is not None:
            close(match.start(), match.end())
        elif match["stop"] is not None:
            if _ends_sentence(text, match.start(), match.end()):
                close(match.end(), match.end())
        else:
            number = int(match["number"])
            opens = _INK.search(text, begin, match.start()) is None
            if opens or number == expected > 1:
                close(match.start(), match.end())
                expected = number + 1
            elif _CAPITAL.match(text, match.end()):
                close(match.end(), match.end())
    close(len(text), len(text))
    return spans


def _pieces(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """``begin:end`` without outer blanks, in pieces of at most `LONGEST` characters."""
    while (ink := _INK.search(text, begin, end)) is not None:
        left = ink.start()
        begin = min(end, left + LONGEST)
        if begin < end:
            blank = max(text.rfind(char, left, begin) for char in " \n\t")
            begin = blank if blank > left else begin
        piece = text[left:begin].rstrip()
        if any(char.isalnum() for char in piece):
            yield left, left + len(piece)


def _ends_sentence(text: str, start: int, end: int) -> bool:
    if text[start] != ".":
        return True
    before, after = text[max(0, start - 8) : start], text[end : end + 2]
    if _ABBREVIATION.search(before):
        # "at 5 p.m. The" does end one; "p.m. and" does not.
        return before[-2:].lower() == ".m" and _CAPITAL.match(text, end) is not None
    if after[:1].isalpha():
        # No space: only between two words, so that "e.g" or "U.S" stay whole.
        return len(after) == 2 and after.isalpha() and before[-2:].isalpha()
    return True


def split_sentences(text: str) -> list[str]:
    """The sentences of a report text, hard wraps undone; see `sentence_spans`.

    >>> split_sentences("1. A 3.5 cm mass. 2. No effusion seen by Dr. Who.")
    ['A 3.5 cm mass.', 'No effusion seen by Dr. Who.']
    """
    return [one_line(text[begin:end]) for begin, end in sentence_spans(text)]

"""Statements that something is normal, and the findings that they deny."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlp_zoo.reports.words.lexicon import NORMAL_STATEMENTS, NORMAL_SUBJECTS
from vlp_zoo.reports.words.notation import Table, compile_terms

__all__ = ["deny"]

_SUBJECTS = Table({term: (term,) for term in NORMAL_SUBJECTS})
_STATEMENTS = Table({term: (term,) for term in NORMAL_STATEMENTS})
_NORMAL = compile_terms(
    [r"normal", r"unremarkable", r"sharp", r"intact", r"clear", r"preserved"]
)
_NOT_SO = re.compile(r"(?:\bnot|\btop|upper limits?(?: of)?|\bhigh|\babove)[ -]*$")
_ATTRIBUTE = re.compile(
    r" +(?:(?:in|size|sized|appearing|caliber|contours?|appearance|and|of|the)\b ?)*$"
)
_STOP = re.compile(
    r"[;:]|\bbut\b|\bhowever\b|\bexcept\b|\benlarged\b|\btortuous\b|\bwith\b(?!in)"
)
_ONE_LUNG = re.compile(r"\b(?:right|left) *$")


def deny(
    sentence: str, taken: Sequence[tuple[int, int]]
) -> list[tuple[int, int, tuple[str, ...]]]:
    """Findings denied by what a sentence calls normal or clear.

    Args:
        sentence: One sentence, in lower case by `lowered`.
        taken: Spans of findings that are mentioned; they are no normal subject.

    Returns:
        (start, end, findings) with the span of the words that deny.
    """
    found: list[tuple[int, int, tuple[str, ...]]] = []
    for start, end, statement in _STATEMENTS.find(sentence):
        denied = re.search(r"\bnot\b", sentence[start:end])
        if not denied and not _ONE_LUNG.search(sentence[:start]):
            found.append((start, end, NORMAL_STATEMENTS[statement]))
    normals = [
        match
        for match in _NORMAL.finditer(sentence)
        if not _NOT_SO.search(sentence[: match.start()])
    ]
    if not normals:
        return found
    for start, end, subject in _SUBJECTS.find(sentence):
        if any(a < end and start < b for a, b in taken):
            continue
        if any(_says(sentence, start, end, normal, taken) for normal in normals):
            found.append((start, end, NORMAL_SUBJECTS[subject]))
    return found


def _says(
    sentence: str,
    start: int,
    end: int,
    normal: re.Match[str],
    taken: Sequence[tuple[int, int]],
) -> bool:
    """Whether a word for normality is about the subject at ``start:end``."""
    if normal.start() >= end:
        low, high = end, normal.start()
    elif _is_attribute(sentence, normal, start):
        low, high = normal.end(), start
    else:
        return False
    between = sentence[low:high]
    if _STOP.search(between) or _NORMAL.search(between):
        return False
    return not any(low <= a and b <= high for a, b in taken)


def _is_attribute(sentence: str, normal: re.Match[str], start: int) -> bool:
    """Whether it describes what follows, as in "normal heart size and contour"."""
    first = _SUBJECTS.search(sentence, normal.end())
    if first is None or not _ATTRIBUTE.match(sentence[normal.end() : first.start()]):
        return False
    between = sentence[first.end() : start] if start > first.start() else ""
    return "," not in between and not re.search(r"\b(?:is|are|appears?)\b", between)

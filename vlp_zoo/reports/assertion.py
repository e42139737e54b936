"""Is a mentioned finding there, absent or uncertain: rules on cues in a sentence.

After NegEx (Chapman et al., 2001): a cue reaches to the end of its clause, over the
items of a list ("no effusion, edema or pneumothorax"). Denial outranks doubt ("no
opacity to suggest pneumonia"). The rules are ours.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from vlp_zoo.reports.words import cues
from vlp_zoo.reports.words.notation import Table, compile_terms

__all__ = ["Cue", "Status", "find_cues", "stated_value", "status_of"]

Status = Literal["present", "absent", "uncertain"]

_CUES = Table(
    {
        "pseudo": cues.PSEUDO,
        "after_uncertain": cues.AFTER_UNCERTAIN,
        "after_negated": cues.AFTER_NEGATED,
        "versus": cues.BETWEEN_UNCERTAIN,
        "history": cues.BEFORE_HISTORY,
        "uncertain": cues.BEFORE_UNCERTAIN,
        "negated": cues.BEFORE_NEGATED,
        "break": cues.BREAKS,
    }
)
_NEW_SUBJECT = compile_terms([cues.NEW_SUBJECT])
_HARD = re.compile(r"[;:?]| - ")
_STARTS = "|".join(cues.ASSERTING_STARTS)
_RESTART = re.compile(
    rf"(?:,|\bwith\b|\band\b)(?: +and| +with)? +(?:{_STARTS})\b"
    r"|\bwith +bilateral\b"
)
_LIST_GOES_ON = re.compile(r"\b(?:or|nor)\b")
_DOUBT_GOES_ON = re.compile(r"\b(?:or|vs|versus)\b")
_OPENS_LIST = re.compile(r"differential|consider|include|may be|due to|either")
_OWN_DENIAL = re.compile(r"\b(?:not|no longer|non)\b")
_OWN_DOUBT = re.compile(r"\bborderline\b|\blimits?\b|\btop\b|\bmay\b|\bpossibl[ey]\b")


class Cue(NamedTuple):
    """One cue word or clause break within a sentence."""

    start: int
    end: int
    kind: str


def find_cues(sentence: str) -> list[Cue]:
    """Cues and clause breaks of a sentence (see `lowered`), in order."""
    found = [Cue(*cue) for cue in _CUES.find(sentence)]
    for pattern in (_HARD, _NEW_SUBJECT):
        found += [Cue(m.start(), m.end(), "break") for m in pattern.finditer(sentence)]
    return sorted(found)


def _denial_reaches(between: str, after: str) -> bool:
    for match in _RESTART.finditer(between + " "):
        if not _LIST_GOES_ON.search(between[match.start() :] + after):
            return False
    return True


def status_of(
    sentence: str, start: int, end: int, found_cues: list[Cue]
) -> Status | None:
    """Status of the mention ``sentence[start:end]``.

    Args:
        sentence: One sentence, in lower case by `lowered`.
        start: First character of the mention.
        end: One past its last.
        found_cues: The cues of the sentence from `find_cues`.

    Returns:
        The status; None where the finding is only told as history.
    """
    mention = sentence[start:end]
    if _OWN_DENIAL.search(mention):
        return "absent"
    breaks = (
        cue.start for cue in found_cues if cue.kind == "break" and cue.start >= end
    )
    rest = sentence[end : min(breaks, default=len(sentence))]
    doubt = bool(_OWN_DOUBT.search(mention))
    for cue in reversed(found_cues):
        if cue.end > start:
            continue
        if cue.kind == "break":
            break
        between = sentence[cue.end : start]
        if cue.kind == "negated" and _denial_reaches(between, mention + rest):
            return "absent"
        if cue.kind == "history" and "," not in between:
            return None
        if cue.kind in ("uncertain", "versus") and (
            "," not in between
            or _OPENS_LIST.search(sentence[cue.start : cue.end])
            or _DOUBT_GOES_ON.search(between + mention + rest)
        ):
            doubt = doubt or _denial_reaches(between, rest)
    for cue in found_cues:
        if cue.start < end:
            continue
        if cue.kind == "break":
            break
        between = sentence[end : cue.start]
        listed = "," not in between or re.search(r"\b(?:and|or|nor)\b", between)
        if (
            cue.kind == "after_negated"
            and listed
            and "negated"
            not in {c.kind for c in found_cues if end <= c.start < cue.start}
        ):
            return "absent"
        if cue.kind in ("after_uncertain", "versus") and listed:
            doubt = True
        if cue.kind in ("negated", "pseudo"):
            break
    return "uncertain" if doubt else "present"


def stated_value(status: Status, before: int | None) -> int:
    """What a report says of a thing: 1 present, 0 absent, -1 uncertain.

    A stated presence outranks doubt, doubt outranks denial.

    Args:
        status: What one more mention says.
        before: What the mentions before it said; None where there was none.
    """
    if status == "present" or before == 1:
        return 1
    return -1 if status == "uncertain" or before == -1 else 0

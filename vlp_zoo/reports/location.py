"""Where the mentions of a sentence are, and how severe: rules on nearby words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlp_zoo.reports.words import anatomy
from vlp_zoo.reports.words.cues import SEVERITIES
from vlp_zoo.reports.words.notation import Mention, Table, compile_terms

__all__ = ["SIDES", "SITES", "locate", "places", "severity_of"]

SITES = Table({**anatomy.PAIRED_SITES, **anatomy.SINGLE_SITES})
SIDES = Table(anatomy.SIDES)
_SEVERITY = compile_terms(SEVERITIES)
_ADVERB = re.compile(r"\b(mild|minimal|slight|moderate|severe|marked|gross)ly\b")
_BREAK = re.compile(r"[;:.]|\bbut\b|\bhowever\b|\bno\b|\bwithout\b")
# The last preposition before the place, with no new item in between.
_LINK = re.compile(
    r"\b(?:in|at|of|within|along|overlying|over|near|involving|on|from|to|greatest)\b"
    r"(?:(?!\b(?:and|or|with)\b)[^,;:.])*$"
)
_JOINED = re.compile(r"^\s*(?:,|and|or|with|/|,\s*and|,\s*or)\s+(?:[\w-]+\s+){0,2}$")
_SAME_PLACE = re.compile(
    r"^[^;.]*\b(?:represent\w*|compatible with|consistent with|suggest\w*|reflect\w*"
    r"|concern\w*|suspicious|likely|probabl[ey]|possibl[ey]|potential\w*|due to"
    r"|adjacent|associated|underlying|overlying)\b[^,;.]*$"
    r"|^ *(?:or|/|versus|vs\.?|and/or)(?: \w+)? *$"
)
_NEAR = 60  # characters that an adjective may be away from its finding


def severity_of(sentence: str, start: int, end: int) -> str:
    """The severity adjective of a mention, in it or a few words before it."""
    inside = _SEVERITY.search(sentence, start, end)
    if inside is not None:
        return _ADVERB.sub(r"\1", inside.group())
    window = sentence[max(0, start - _NEAR) : start]
    for cut in _BREAK.finditer(window):
        window = " " * cut.end() + window[cut.end() :]
    found = list(_SEVERITY.finditer(window))
    if not found or re.search(r"[,]|\b(?:and|or|with)\b", window[found[-1].end() :]):
        return ""
    return _ADVERB.sub(r"\1", found[-1].group())


def locate(
    sentence: str, mentions: Sequence[Mention]
) -> list[tuple[str, tuple[str, ...]]]:
    """Side and regions of each mention, from `places`.

    Args:
        sentence: One sentence, in lower case by `lowered`.
        mentions: (start, end, finding) in order.

    Returns:
        (side, region names) for each mention.
    """
    found = zip(mentions, places(sentence, mentions), strict=True)
    return [
        (side, anatomy.regions_of(side, sites, finding))
        for (_, _, finding), (side, sites) in found
    ]


def places(
    sentence: str, mentions: Sequence[Mention]
) -> list[tuple[str, tuple[str, ...]]]:
    """Side and sites of each mention.

    A place belongs to the mention before it when a preposition links them
    ("effusion in the left base"), else to the mention after it ("left basilar
    effusion"), else to the one before. Mentions joined by a comma, "and" or "or"
    share a place that follows the last of them; what explains another finding
    ("opacity likely representing atelectasis") is where that one is.

    Args:
        sentence: One sentence, in lower case by `lowered`.
        mentions: (start, end, name) in order.

    Returns:
        (side, keys of `anatomy.PAIRED_SITES` or `SINGLE_SITES`) for each mention; the
        side is "left", "right", "bilateral" or "".
    """
    sides: list[set[str]] = [set() for _ in mentions]
    sites: list[dict[str, None]] = [{} for _ in mentions]
    if not mentions:
        return []
    for start, end, name in SIDES.find(sentence):
        for owner in _owners(sentence, mentions, start, end):
            sides[owner].add(name)
    for start, end, name in SITES.find(sentence):
        for owner in _owners(sentence, mentions, start, end):
            sites[owner][name] = None
    for i in range(1, len(mentions)):
        gap = sentence[mentions[i - 1][1] : mentions[i][0]]
        if not sides[i] and not sites[i] and _SAME_PLACE.match(gap):
            sides[i], sites[i] = set(sides[i - 1]), dict(sites[i - 1])
    result = []
    for of, at in zip(sides, sites, strict=True):
        both = "bilateral" in of or len(of) > 1
        result.append(("bilateral" if both else next(iter(of), ""), tuple(at)))
    return result


def _owners(
    sentence: str, mentions: Sequence[Mention], start: int, end: int
) -> list[int]:
    inside = [i for i, (a, b, _) in enumerate(mentions) if a <= start and end <= b]
    if inside:
        return inside
    before = [i for i, (_, b, _) in enumerate(mentions) if b <= start]
    after = [i for i, (a, _, _) in enumerate(mentions) if a >= end]
    gap = sentence[mentions[before[-1]][1] : start] if before else ""
    if _BREAK.search(gap):
        before = []
    following = sentence[end : mentions[after[0]][0]] if after else ""
    if _BREAK.search(following) or len(following) > _NEAR:
        after = []
    if before and (not after or _LINK.search(gap)):
        # "effusion, left base opacity": a comma without a link starts anew.
        if after and "," in gap:
            return after[:1]
        shared = [before[-1]]
        for i in reversed(before[:-1]):
            if not _JOINED.match(sentence[mentions[i][1] : mentions[shared[-1]][0]]):
                break
            shared.append(i)
        return shared
    return after[:1]

"""Reports as triplets of anatomical region, finding and existence, by rule.

    >>> [(t.region, t.tag, t.existence) for t in triplets(
    ...     "Small left pleural effusion. Heart size is normal."
    ... )]
    [('left costophrenic angle', 'pleural effusion', 'present'), \
('cardiac silhouette', 'cardiomegaly', 'absent')]

This is the supervision of ASG (arXiv 2403.09294), whose own parser was not released.
Words are in `tags`, places in `anatomy` and `alignment`; quality is measured by
``benchmarks/triplet_quality.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from vlp_zoo.reports.assertion import Status, find_cues, stated_value, status_of
from vlp_zoo.reports.location import SIDES, SITES, places
from vlp_zoo.reports.normality import deny
from vlp_zoo.reports.sections import split_sentences
from vlp_zoo.reports.words.alignment import ALWAYS_AT, TAG_SITES, regions_at
from vlp_zoo.reports.words.anatomy import SINGLE_SITES
from vlp_zoo.reports.words.notation import Mention, Table, lowered
from vlp_zoo.reports.words.tags import (
    NOT_A_TAG,
    TAG_ALSO,
    TAG_FINDINGS,
    TAG_TERMS,
    TAGS,
)

__all__ = [
    "Reader",
    "Statement",
    "Triplet",
    "align",
    "sentence_regions",
    "statements",
    "tag_vector",
    "triplets",
]


class Statement(NamedTuple):
    """What a sentence says about one tag.

    Attributes:
        tag: One of `tags.TAGS`.
        existence: ``"present"``, ``"absent"`` or ``"uncertain"``.
        regions: Names of `anatomy.REGIONS`, possibly none.
        text: The words of the mention, lower-case.
    """

    tag: str
    existence: Status
    regions: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Triplet:
    """A statement about one region.

    Attributes:
        region: One of `anatomy.REGIONS`.
        tag: One of `tags.TAGS`.
        existence: ``"present"``, ``"absent"`` or ``"uncertain"``.
        sentence: Index of the sentence in the text.
    """

    region: str
    tag: str
    existence: Status
    sentence: int


Reader = Callable[[str], tuple[Statement, ...]]
"""What finds the statements of a sentence: `statements`, or one like it."""

_TAGS = Table(TAG_TERMS, NOT_A_TAG, TAG_ALSO)
_ALWAYS = [(re.compile(term), sites) for term, sites in ALWAYS_AT.items()]


def _places(
    sentence: str, mentions: Sequence[Mention]
) -> list[tuple[str, tuple[str, ...]]]:
    """Side and sites; neighbours ("consolidative opacity") are in one place."""
    found = places(sentence, mentions)
    nowhere: tuple[str, tuple[str, ...]] = ("", ())
    pairs = [(i - 1, i) for i in range(1, len(mentions))]
    for a, b in (*pairs, *reversed(pairs)):
        if not sentence[mentions[a][1] : mentions[b][0]].strip():
            found[b] = found[a] if found[b] == nowhere else found[b]
            found[a] = found[b] if found[a] == nowhere else found[a]
    return found


def _regions(text: str, tag: str, side: str, sites: tuple[str, ...]) -> tuple[str, ...]:
    for pattern, fixed in _ALWAYS:
        if pattern.fullmatch(text):
            # A device is on one side: where none is named, only its middle is known.
            middle = tuple(site for site in fixed if site in SINGLE_SITES)
            return regions_at(side, fixed if side else middle or fixed)
    named = tuple(site for site in sites if site != "lung")
    return regions_at(side, named or TAG_SITES.get(tag, sites))


@lru_cache(maxsize=65536)
def statements(sentence: str) -> tuple[Statement, ...]:
    """What one sentence says about the tags, in order.

    Args:
        sentence: Without line breaks that matter; sentences repeat between reports,
            so results are kept.
    """
    text = lowered(sentence)
    mentions = list(dict.fromkeys(_TAGS.find(text)))
    cues = find_cues(text) if mentions else []
    found = []
    for (start, end, tag), (side, sites) in zip(
        mentions, _places(text, mentions), strict=True
    ):
        existence = status_of(text, start, end, cues)
        if existence is not None:
            words = text[start:end]
            regions = _regions(words, tag, side, sites)
            found.append((start, Statement(tag, existence, regions, words)))
    taken = [(start, end) for start, end, _ in mentions]
    for start, end, findings in deny(text, taken):
        words, side = text[start:end], _side(text)
        sites = tuple(dict.fromkeys(_named(words)))
        for finding in findings:
            if finding in TAG_FINDINGS:
                tag = TAG_FINDINGS[finding]
                regions = regions_at(side, sites or TAG_SITES[tag])
                found.append((start, Statement(tag, "absent", regions, words)))
    return tuple(statement for _, statement in sorted(found, key=lambda pair: pair[0]))


def _named(text: str) -> list[str]:
    return [name for _, _, name in SITES.find(text)]


def _side(sentence: str) -> str:
    sides = {name for _, _, name in SIDES.find(sentence)}
    return next(iter(sides)) if len(sides) == 1 else ""


def sentence_regions(sentence: str, read: Reader = statements) -> tuple[str, ...]:
    """The regions that a sentence is about.

    Those of its statements; where it makes none with a place ("The hilar contours are
    normal"), those of the sites it names.

    Args:
        sentence: One sentence, without line breaks that matter.
        read: Finds its statements.

    >>> sentence_regions("Both lungs are clear.")
    ('right lung', 'left lung')
    """
    found = dict.fromkeys(r for s in read(sentence) for r in s.regions)
    return tuple(found) or _regions_named(sentence)


@lru_cache(maxsize=65536)
def _regions_named(sentence: str) -> tuple[str, ...]:
    text = lowered(sentence)
    return regions_at(_side(text), tuple(dict.fromkeys(_named(text))))


def align(
    sentences: Sequence[str], read: Reader = statements
) -> dict[str, tuple[int, ...]]:
    """Region to the indices of the sentences about it, in order of first mention."""
    found: dict[str, list[int]] = {}
    for index, sentence in enumerate(sentences):
        for region in sentence_regions(sentence, read):
            found.setdefault(region, []).append(index)
    return {region: tuple(indices) for region, indices in found.items()}


def triplets(text: str) -> list[Triplet]:
    """All triplets of a report text, in order, each once a sentence.

    Args:
        text: Findings and impression, or any text.
    """
    found: dict[Triplet, None] = {}
    for index, sentence in enumerate(split_sentences(text)):
        for tag, existence, regions, _ in statements(sentence):
            for region in regions:
                found[Triplet(region, tag, existence, index)] = None
    return list(found)


def tag_vector(
    sentences: str | Sequence[str], read: Reader = statements
) -> dict[str, int | None]:
    """One value a tag for a whole report.

    A stated presence outranks doubt, doubt outranks denial.

    Args:
        sentences: A report text, or its sentences.
        read: Finds the statements of a sentence.

    Returns:
        Each of the 40 tags to 1 (present), 0 (absent), -1 (uncertain) or None (not
        mentioned), in the order of `tags.TAGS`.
    """
    parts = split_sentences(sentences) if isinstance(sentences, str) else sentences
    value: dict[str, int | None] = dict.fromkeys(TAGS)
    for sentence in parts:
        for tag, existence, _, _ in read(sentence):
            value[tag] = stated_value(existence, value[tag])
    return value

"""Sections of a report, as pure functions on strings.

The layouts follow MIMIC-CXR: a leading space on every line, hard wraps, upper-case
headings with a colon, an addendum on top divided off by a row of underscores, and
dozens of spellings for the same section. What opens which section is in
`vlp_zoo.reports.words.headings`; what a heading means where it stands is decided here.

Inside findings and impression only a known heading ends the section: titles of the
examination, organs ("LUNGS:"), NOTE, RECOMMENDATIONS and headings that nobody knows are
text. Elsewhere a title or an organ opens the findings. What was asked (indication,
comparison) and how it was done (examination, technique) is never read as what was seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vlp_zoo.reports.blank import is_blank, stated
from vlp_zoo.reports.sentences import (
    clean,
    one_line,
    sentence_spans,
    split_sentences,
)
from vlp_zoo.reports.words.headings import (
    SECTION_HEADERS,
    Heading,
    find_headings,
    is_title,
    names_organ,
)
from vlp_zoo.types import Report

__all__ = [
    "READING",
    "SECTION_HEADERS",
    "clean",
    "parse_report",
    "report_of",
    "sentence_spans",
    "split_sections",
    "split_sentences",
    "without_blanks",
]

READING = 2
"""Raised when the same text gives other sections: what was learnt of them is stale."""
_FINAL = ("findings", "impression")
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\xad"),
        **dict.fromkeys("\xa0\u2007\u202f\v", " "),
        **dict.fromkeys("\r\f\x85\u2028\u2029", "\n"),
    }
)
_PARAGRAPHS = re.compile(r"\n[ \t]*+\n\s*+")
_INK = re.compile(r"\S")
# Words of somebody who asks; what is seen is told otherwise.
_ASKS = re.compile(
    r"\?$|//|\br/o\b|\brule[- ]out\b|\byears?[- ]old\b|\b\d+ ?(?:yo|y/o)\b"
    r"|\A\W*(?:please|evaluate|eval|assess|exclude|confirm|check|question|concern)\b",
    re.IGNORECASE,
)

_TELLS = re.compile(
    r"\b(?:is|are|no|there|normal|clear|unremarkable|stable|unchanged|seen|negative)\b",
    re.IGNORECASE,
)
# The head of a letter, and a heading without a text.
_LETTERHEAD = re.compile(
    r"\b(?:hospital|department|dept|radiology|clinic|center|centre|university)\b"
    r"|\A[^:]{1,40}:\Z",
    re.IGNORECASE,
)

Block = list[tuple[str, str]]
"""Kind and text of the sections of one part of a report, in order."""


def split_sections(text: str) -> Report:
    """Find the sections of a report.

    Sections of the same kind are joined. A line FINAL REPORT, or a rule that a heading
    follows, begins the report anew: then the last non-empty occurrence of a section
    wins, so an addendum on top does not hide the report below it.

    Where no heading opens the findings, they are, in this order: text under a title of
    the examination; paragraphs that no known heading opens; paragraphs that follow
    those of comparison or technique and, in a report without impression, those of the
    indication, if they tell and do not ask; and where there is no impression either, the
    text of an addendum or a wet read. Text without any heading is findings as a whole.

    Args:
        text: A report file as found.

    Returns:
        The report; ``text`` unchanged ("" if it says nothing: see
        `vlp_zoo.reports.blank`), sections with hard wraps undone. Findings and
        impression are empty where the report only holds what was asked and how the
        examination was made.
    """
    if is_blank(text):
        return Report("")
    plain = text.replace("\r\n", "\n").translate(_PLAIN)
    blocks, headed = _blocks(plain)
    sections = {
        name: _last(_joined(block, name) for block in blocks)
        for name in ("indication", "comparison", "impression")
    }
    findings = _last(map(_findings, blocks)) or _last(map(_unheaded, blocks))
    if not findings:
        bare = not sections["impression"]
        kinds = ("comparison", "technique", *(("indication", "other") if bare else ()))
        findings = _last(_following(block, kinds) for block in blocks)
        for name in ("indication", "comparison"):
            # Without a heading of its own the paragraph ran on in the section above it.
            if findings and sections[name].endswith(findings):
                sections[name] = sections[name].removesuffix(findings).rstrip()
        if bare and not findings:
            findings = _last(_joined(block, "addendum") for block in blocks)
    if not headed and not findings:
        findings = one_line(plain)
    return Report(text, findings=findings, headed=headed, **sections)


def report_of(sections: Mapping[str, str]) -> Report:
    """A report of sections that are known apart, as tables have them.

    Args:
        sections: Section to text; what says nothing (`is_blank`) is left out.
    """
    known = {name: stated(text) for name, text in sections.items()}
    lines = (f"{name.upper()}: {text}" for name, text in known.items() if text)
    return Report("\n".join(lines), headed=True, **known)


def without_blanks(report: Report) -> Report:
    """The report, with "" for the text and the sections that say nothing."""
    names = ("text", "indication", "comparison", "findings", "impression")
    blank = {name: "" for name in names if is_blank(getattr(report, name))}
    return replace(report, headed=report.headed, **blank)


parse_report = split_sections
"""The name that data sources use."""


def _blocks(text: str) -> tuple[list[Block], bool]:
    """The parts of a report, and whether there is any heading in it."""
    blocks: list[Block] = [[]]
    kind, begin, headed = "bare", 0, False
    headings = list(find_headings(text))
    for i, heading in enumerate(headings):
        following = headings[i + 1] if i + 1 < len(headings) else None
        if heading.kind != "rule":
            headed |= heading.kind != "unknown" or bool(heading.section)
        if _is_text(heading, kind):
            continue
        blocks[-1].append((kind, text[begin : heading.start]))
        begin = heading.end
        if heading.kind == "restart":
            blocks.append([])
            kind = "bare"
        elif heading.kind == "rule":
            underlines = not blocks[-1][-1][1].strip() and kind != "bare"
            if not underlines and _parts(text, heading, following, kind):
                blocks.append([])
                kind = "bare"
        elif heading.kind in ("organ", "unknown"):
            kind = "findings" if heading.kind == "organ" else heading.section
            if heading.kind == "organ" or not kind:
                kind, begin = kind or "unknown", heading.start
        else:
            kind = heading.kind
    blocks[-1].append((kind, text[begin:]))
    return blocks, headed


def _is_text(heading: Heading, kind: str) -> bool:
    """Whether a heading is text of the section of that kind that it stands in."""
    if heading.kind == "title":
        return kind in (*_FINAL, "addendum")
    if heading.kind not in ("organ", "unknown"):
        return False
    if kind in ("bare", "unknown"):
        return not heading.section
    return kind in (*_FINAL, "addendum", "title")


def _parts(text: str, rule: Heading, following: Heading | None, kind: str) -> bool:
    """Whether a rule begins the report anew, and is no mere line between paragraphs."""
    if kind not in _FINAL:
        return True
    ink = _INK.search(text, rule.end)
    if following is None or ink is None or ink.start() < following.start:
        line = text[rule.end : rule.end + 400].strip().partition("\n")[0]
        return line.isupper() and is_title(line)
    return following.kind not in ("organ", "unknown", "rule")


def _last(texts: Iterable[str]) -> str:
    """The last of some texts that says something, on one line; "" if none does."""
    found = ""
    for text in texts:
        found = text if text.strip() else found
    return one_line(found)


def _joined(block: Block, name: str) -> str:
    text = "\n\n".join(text for kind, text in block if kind == name)
    return "" if name in _FINAL and is_blank(text) else text


def _findings(block: Block) -> str:
    """Text under a heading of findings, else under a title of the examination."""
    return _joined(block, "findings") or "\n\n".join(
        _told(text) for kind, text in block if kind == "title"
    )


def _unheaded(block: Block) -> str:
    """Paragraphs that no known heading opens."""
    parts = [_told(text) for kind, text in block if kind in ("bare", "unknown")]
    paragraphs = "\n\n".join(parts).split("\n\n")
    return "\n\n".join(
        part
        for part in paragraphs
        if part.endswith((".", "!", "?")) or not _LETTERHEAD.search(part)
    )


def _following(block: Block, kinds: Sequence[str]) -> str:
    """Paragraphs behind the first one of the last section that has any."""
    for kind, text in reversed(block):
        if kind in kinds:
            _, *rest = _PARAGRAPHS.split(text.strip())
            told = _told("\n\n".join(rest))
            if told and _is_seen(told, kind):
                return told
    return ""


def _is_seen(text: str, kind: str) -> bool:
    """Whether text behind a section of that kind tells what is seen on the image."""
    if kind == "comparison":
        return True
    organ, tells = names_organ(text), _TELLS.search(text) is not None
    return organ and tells if kind == "indication" else organ or tells


def _told(text: str) -> str:
    """The paragraphs that tell something: no titles, no questions, no blanks."""
    told = []
    for paragraph in _PARAGRAPHS.split(text):
        lines = paragraph.strip().split("\n")
        while lines and lines[0].isupper() and is_title(lines[0]):
            del lines[0]
        line = one_line(" ".join(lines))
        if not (is_blank(line) or is_title(line) or _ASKS.search(line)):
            told.append(line)
    return "\n\n".join(told)

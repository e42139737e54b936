"""Sections, cleaning and sentences of a report, as pure functions on strings.

The layouts follow MIMIC-CXR: a leading space on every line, hard wraps, upper-case
headers with a colon, an addendum on top divided off by a row of underscores, and
dozens of spellings for the same section. Text without any header passes through.
"""

from __future__ import annotations

import re
from itertools import pairwise

from vlp_zoo.types import Report

__all__ = [
    "SECTION_HEADERS",
    "clean",
    "parse_report",
    "sentence_spans",
    "split_sections",
    "split_sentences",
]

SECTION_HEADERS: dict[str, tuple[str, ...]] = {
    "indication": (
        "indication",
        "indications",
        "clinical indication",
        "clinical history",
        "clinical information",
        "clinical data",
        "history",
        "medical history",
        "reason for exam",
        "reason for examination",
        "reason for study",
        "reason for the exam",
        "reason",
        "patient history",
        "indication and history",
    ),
    "comparison": (
        "comparison",
        "comparisons",
        "comparison exam",
        "comparison study",
        "comparison studies",
        "comparison film",
        "comparison films",
        "compared to",
        "prior studies",
        "reference exam",
        "reference examination",
    ),
    "findings": (
        "finding",
        "findings",
        "finding and impression",
        "findings and impression",
        "findings/impression",
        "findings impression",
        "impression and findings",
        "impression/findings",
        "interpretation",
        "report",
        "observations",
        "chest findings",
        "chest radiograph",
        "chest radiographs",
        "chest",
        "chest pa and lateral",
        "chest pa and lat",
        "chest ap",
        "chest portable",
        "chest portable ap",
        "chest single view",
        "chest two views",
        "pa and lateral views of the chest",
        "pa and lateral chest",
        "pa and lateral chest radiograph",
        "pa and lateral chest radiographs",
        "pa and lateral chest x-ray",
        "pa and lateral radiographs of the chest",
        "ap and lateral views of the chest",
        "ap view of the chest",
        "ap portable chest",
        "ap portable chest radiograph",
        "frontal and lateral views of the chest",
        "frontal and lateral chest radiographs",
        "frontal view of the chest",
        "frontal chest radiograph",
        "lateral view of the chest",
        "portable ap chest radiograph",
        "portable chest",
        "portable chest radiograph",
        "portable chest x-ray",
        "portable upright chest radiograph",
        "single ap view of the chest",
        "single frontal view of the chest",
        "supine ap view of the chest",
        "upright ap view of the chest",
        "two views of the chest",
    ),
    "impression": (
        "impression",
        "impressions",
        "imp",
        "conclusion",
        "conclusions",
        "opinion",
        "summary",
        "impression and recommendation",
        "impression and recommendations",
        "impression/recommendation",
        "conclusion and recommendation",
        "final impression",
    ),
    "other": (
        "addendum",
        "examination",
        "exam",
        "type of exam",
        "type of examination",
        "study",
        "procedure",
        "technique",
        "views",
        "date",
        "notification",
        "recommendation",
        "recommendations",
        "recommendation(s)",
        "wet read",
        "final report",
        "final addendum",
        "preliminary report",
        "contrast",
        "dose",
        "provisional findings impression",
    ),
}
"""Section to the header spellings (lower-case, blanks collapsed) that open it.

A combined header ("FINDINGS AND IMPRESSION:") counts as findings, so that
`Report.body` never holds the same text twice. ``other`` closes a section.
"""

_SECTION_OF = {
    spelling: section
    for section, spellings in SECTION_HEADERS.items()
    for spelling in spellings
}

# A header at the start of a line in any case, or within a line in capitals.
_HEADER = re.compile(
    r"(?P<start>^[ \t>*]*)(?P<name>[A-Za-z][A-Za-z0-9 ,/&()'.\-]{1,60}?)[ \t]*:"
    r"|(?<=[.;:?)\s])(?P<inner>[A-Z][A-Z ,/&()\-]{2,60}[A-Z)])[ \t]*:",
    re.MULTILINE,
)
_BREAK = re.compile(
    r"^[ \t]*(?:[_=*\-]{5,}|FINAL (?:REPORT|ADDENDUM))[ \t]*$", re.MULTILINE
)
_PARAGRAPH = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_FINAL = ("findings", "impression")


def _spelling(name: str) -> str:
    name = re.sub(r"\s*/\s*", "/", name.lower().replace("&", " and "))
    return " ".join(name.replace(",", " ").strip(" .-").split())


def _marks(text: str) -> list[tuple[int, int, str]]:
    """(start, end, section) of each header and divider, in order."""
    marks = [(m.start(), m.end(), "other") for m in _BREAK.finditer(text)]
    for match in _HEADER.finditer(text):
        if match["name"] is not None:
            section = _SECTION_OF.get(_spelling(match["name"]))
            # Unknown words in capitals still end the section before them.
            if section is None and len(match["name"]) > 3 and match["name"].isupper():
                section = "other"
            at = match.start("name")
        else:
            section, at = _SECTION_OF.get(_spelling(match["inner"])), match.start()
        if section is not None:
            marks.append((at, match.end(), section))
    return sorted(marks)


def _last_paragraph(text: str, marks: list[tuple[int, int, str]]) -> str:
    """The last paragraph that no header opens; "" if there is none."""
    if not marks:
        return text
    starts = {at for at, _, _ in marks}
    cuts = [0, *(m.end() for m in _PARAGRAPH.finditer(text)), len(text)]
    for begin, end in reversed(list(pairwise(cuts))):
        paragraph = text[begin:end]
        first = begin + len(paragraph) - len(paragraph.lstrip(" \t\n>*"))
        if first not in starts and len(re.findall(r"[A-Za-z]{2,}", paragraph)) >= 2:
            return paragraph
    return ""


def split_sections(text: str) -> Report:
    """Find the sections of a report.

    The last non-empty occurrence of a section wins, so an addendum on top does not
    hide the report below it. Where neither findings nor impression exist, the last
    paragraph that no header opens becomes the findings; text without any header is
    findings as a whole.

    Args:
        text: A report file as found.

    Returns:
        The report; ``text`` unchanged, sections with hard wraps undone.
    """
    marks = _marks(text)
    sections: dict[str, str] = {}
    for position, (_, begin, section) in enumerate(marks):
        end = marks[position + 1][0] if position + 1 < len(marks) else len(text)
        body = _undo_wraps(text[begin:end])
        if body:
            sections[section] = body
    if not any(name in sections for name in _FINAL):
        raw = _last_paragraph(text, marks)
        last = _undo_wraps(raw)
        sections["findings"] = last
        # Without a header of its own the paragraph ran on in the section above it.
        for name in ("indication", "comparison"):
            if last and sections.get(name, "").endswith(last):
                sections[name] = sections[name][: -len(last)].rstrip()
    return Report(
        text=text,
        indication=sections.get("indication", ""),
        comparison=sections.get("comparison", ""),
        findings=sections.get("findings", ""),
        impression=sections.get("impression", ""),
    )


def parse_report(text: str) -> Report:
    """`split_sections` under the name that data sources use."""
    return split_sections(text)


def _undo_wraps(text: str) -> str:
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
_CANDIDATE = re.compile(
    r"(?P<gap>\n[ \t]*\n\s*)"
    r"|(?P<stop>[.!?]+)(?P<after>[\"')\]]*)(?=\s|$|[A-Za-z(])"
    r"|(?P<item>(?<![\w.,/-])\(?(?P<number>\d{1,2})[.)](?:[.,])?(?=\s*[A-Za-z]))"
)


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Character spans of the sentences, without the numbers of an enumeration.

    A stop ends a sentence unless it belongs to a decimal ("3.5 cm") or an
    abbreviation ("Dr.", "e.g."); a missing space after it is forgiven
    ("apex.There"). A blank line ends one too, a single line break does not. "2."
    opens an item where an item 1 came before it, with or without a stop between.

    Args:
        text: Any report text.

    Returns:
        (start, end) pairs in order, each non-empty and without outer white space.
    """
    spans: list[tuple[int, int]] = []
    begin, expected = 0, 1

    def close(end: int, following: int) -> None:
        nonlocal begin
        piece = text[begin:end]
        left = begin + len(piece) - len(piece.lstrip())
        right = begin + len(piece.rstrip())
        if any(char.isalnum() for char in text[left:right]):
            spans.append((left, right))
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
            if not text[begin : match.start()].strip() or number == expected > 1:
                close(match.start(), match.end())
                expected = number + 1
            elif re.match(r"\s+[A-Z]", text[match.end() :]):
                close(match.end(), match.end())
    close(len(text), len(text))
    return spans


def _ends_sentence(text: str, start: int, end: int) -> bool:
    if text[start] != ".":
        return True
    before, after = text[max(0, start - 8) : start], text[end : end + 2]
    if _ABBREVIATION.search(before):
        # "at 5 p.m. The" does end one; "p.m. and" does not.
        return (
            before[-2:].lower() == ".m"
            and re.match(r"\s+[A-Z]", text[end:]) is not None
        )
    if after[:1].isalpha():
        # No space: only between two words, so that "e.g" or "U.S" stay whole.
        return len(after) == 2 and after.isalpha() and before[-2:].isalpha()
    return True


def split_sentences(text: str) -> list[str]:
    """The sentences of a report text, hard wraps undone; see `sentence_spans`.

    >>> split_sentences("1. A 3.5 cm mass. 2. No effusion seen by Dr. Who.")
    ['A 3.5 cm mass.', 'No effusion seen by Dr. Who.']
    """
    return [_undo_wraps(text[begin:end]) for begin, end in sentence_spans(text)]

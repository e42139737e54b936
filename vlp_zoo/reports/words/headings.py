"""The headings of a report: which spellings open which section, and where they stand.

A heading is known by its spelling, by a spelling that is one or two slips away
("IMPRESSON"), or by the words it is made of ("PERTINENT CLINICAL HISTORY"). Headings
that name the examination ("CHEST, PA AND LATERAL"), an organ ("LUNGS") or nothing known
("NOTE") have kinds of their own: what they mean hangs on where they stand, which is
decided in `vlp_zoo.reports.sections`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from rapidfuzz.distance import OSA

__all__ = [
    "SECTION_HEADERS",
    "Heading",
    "find_headings",
    "is_title",
    "kind_of",
    "names_organ",
]

_SPELLINGS = {
    "indication": """
indication, indications, clinical indication, clinical history,
clinical information, clinical data, clinical details, clinical notes,
clinical question, history, hx, medical history, reason for exam,
reason for examination, reason for study, reason for the exam,
reason for this examination, reason, patient history, indication and history,
medical condition, underlying medical condition, admitting diagnosis,
clinical diagnosis, chief complaint, symptoms
""",
    "comparison": """
comparison, comparisons, comparison exam, comparison study, comparison studies,
comparison film, comparison films, compared to, prior studies, reference exam,
reference examination
""",
    "findings": """
finding, findings, finding and impression, findings and impression,
findings/impression, findings impression, impression and findings,
impression/findings, interpretation, report, result, results, description,
discussion, observations, chest findings
""",
    "impression": """
impression, impressions, imp, conclusion, conclusions, diagnosis, diagnoses,
opinion, summary, assessment, impression and recommendation,
impression and recommendations, impression/recommendation, impression/plan,
assessment and plan, conclusion and recommendation, conclusions and recommendations,
conclusion/recommendation, conclusions/recommendations, final impression,
radiologic diagnosis, radiological diagnosis
""",
    "technique": """
examination, exam, type of exam, type of examination, exam type, study, procedure,
technique, views, contrast, dose
""",
    "addendum": """
addendum, wet read, preliminary report, preliminary read, preliminary,
provisional findings impression
""",
    "restart": """
final report, final addendum, final, radiology report, radiological report,
x-ray report, chest x-ray report
""",
    "other": """
date, notification, electronic signature, electronically signed by, signed by,
dictated by, transcribed by, approved by, reviewed by, attestation, disclaimer,
teaching physician statement, end of report, end of impression, report status
""",
}
SECTION_HEADERS: dict[str, tuple[str, ...]] = {
    section: tuple(" ".join(spellings.split()).split(", "))
    for section, spellings in _SPELLINGS.items()
}
"""Section to the header spellings (lower-case, blanks collapsed) that open it.

A combined header ("FINDINGS AND IMPRESSION:") counts as findings, so that
`Report.body` never holds the same text twice. ``addendum`` is what was said apart from
the report, ``restart`` the line behind which the report itself begins, ``other`` what
is about no image. RECOMMENDATIONS stay text of the section they stand in.
"""

_SECTION_OF = {
    spelling: section
    for section, spellings in SECTION_HEADERS.items()
    for spelling in spellings
}
_WORDS_OF = {
    "indication": "complaint clinical history indication indications reason requested symptom "
    "symptoms question presentation presenting diagnosis",
    "comparison": "comparison comparisons compared prior priors previous",
    "technique": "dose radiation contrast technique protocol views exam examination "
    "examinations procedure study equipment exposure kvp mas",
    "other": "date time name number mrn accession physician physicians doctor dictated "
    "dictating signed signature transcribed transcriptionist radiologist attending "
    "resident provider location patient dob age sex gender id hospital department "
    "referring ordered ordering electronically approved verified reviewed reader cc",
}
_SECTION_OF_WORD = {
    word: section for section, words in _WORDS_OF.items() for word in words.split()
}
"""Words that say what an unknown heading outside findings and impression is about."""

_TITLE_CORE_TEXT = """
chest cxr thorax radiograph radiographs radiography radiographic x-ray x-rays xray
xrays xr film films view views pa ap lateral lat portable frontal bedside decubitus
"""
_TITLE_CORE = frozenset(_TITLE_CORE_TEXT.split())
_TITLE_WORDS_TEXT = """
and of the with at in for on from to an a single two one three four supine upright
erect semi semierect semiupright semi-erect semi-upright sitting standing oblique left
right exam examination study series projection projections image images plain digital
performed obtained dated taken ribs rib abdomen kub spine expiration inspiration
expiratory inspiratory hours hrs hour am pm only read follow-up ray x date time
comparison ct portably dx one-view two-view three-view single-view
"""
_TITLE_WORDS = _TITLE_CORE | frozenset(_TITLE_WORDS_TEXT.split())
_ORGANS_TEXT = """
lung lungs heart cardiac cardiovascular cardiomediastinum cardiomediastinal
cardiopulmonary mediastinum mediastinal pleura pleural pleurae bone bones osseous
skeletal skeleton musculoskeletal thorax spine ribs airway airways trachea hila hilum
hilar pulmonary vasculature vessels aorta vascular lines tubes line tube devices
device catheters hardware diaphragm diaphragms abdomen abdominal stomach soft tissue
tissues parenchyma silhouette pneumothorax effusion effusions consolidation edema
atelectasis opacity opacities cardiomegaly wall shoulder shoulders clavicle clavicles
neck breast breasts costophrenic support
"""
_ORGANS = frozenset(_ORGANS_TEXT.split())
_OF_MANY = ("report", "result", "results", "diagnosis", "diagnoses", "description")
"""Words that open a section alone, but not as one of several ("LAB RESULTS")."""
_NOT_A_SLIP_TEXT = """
binding bindings companion compassion conclusive concussion concussions confusion
contact contest contra contract contrary contusion contusions convulsion convulsions
diagnostic diagnostics elimination feedings filings fillings fittings fixings funding
impressive indicator indicators induction induration indurations invitation minding
occlusion procure resort retort season treason winding windings
"""
_NOT_A_SLIP = frozenset(_NOT_A_SLIP_TEXT.split())
"""Words of their own that a slip would make of a heading."""


class Heading(NamedTuple):
    """One heading or rule.

    Attributes:
        start: Index of its first character.
        end: One past its last: here its text begins.
        kind: A key of `SECTION_HEADERS`, or ``"rule"`` (a row of underscores),
            ``"title"``, ``"organ"``, ``"unknown"``.
        section: The section that the words of an unknown heading hint at, or "".
    """

    start: int
    end: int
    kind: str
    section: str = ""


def _spelling(name: str) -> str:
    name = re.sub(r"\([^()]*\)", " ", name) if name.count("(") < 3 else name
    name = re.sub(r"\s*/\s*", "/", name.lower().replace("&", " and "))
    return " ".join(re.sub(r"[,#*\"'_]", " ", name).strip(" .-").split())


@lru_cache(maxsize=4096)
def _section(spelling: str, slips: bool = True) -> str | None:
    """The section of a spelling, or of the one known spelling that it comes close to."""
    if spelling in _SECTION_OF or not slips:
        return _SECTION_OF.get(spelling)
    if len(spelling) < 6 or spelling in _NOT_A_SLIP:
        return None
    nearest: dict[str, int] = {}
    for known, section in _SECTION_OF.items():
        limit = 0 if len(known) < 6 else 1 if len(known) < 8 else 2
        if abs(len(known) - len(spelling)) > limit:
            continue
        distance = OSA.distance(known, spelling, score_cutoff=limit)
        # Two slips, and another first letter, are another word ("MEDICATION").
        same = spelling[0] == known[0] or (spelling[0] == known[1] and distance < 2)
        if distance <= limit and (distance < 2 or same):
            nearest[section] = min(distance, nearest.get(section, distance))
    least = [s for s, d in nearest.items() if d == min(nearest.values())]
    return least[0] if len(least) == 1 else None


def is_title(text: str) -> bool:
    """Whether a text only names the examination, as "CHEST (PA AND LAT) ___" does."""
    words = re.findall(r"[a-z]+(?:-[a-z]+)*", text[:400].lower())
    known = (word in _TITLE_WORDS for word in words)
    return len(text) < 400 and not _TITLE_CORE.isdisjoint(words) and all(known)


def names_organ(text: str) -> bool:
    """Whether a text names an organ or what is seen of one."""
    return not _ORGANS.isdisjoint(re.findall(r"[a-z]+", text.lower()))


@lru_cache(maxsize=4096)
def kind_of(name: str) -> tuple[str, str]:
    """Kind of a heading in capitals and the section that an unknown one hints at.

    Example:
        >>> kind_of("IMPRESSON"), kind_of("LUNGS"), kind_of("ACCESSION NUMBER")
        (('impression', ''), ('organ', ''), ('unknown', 'other'))
    """
    spelling = _spelling(name)
    section = _section(spelling)
    if section is not None:
        return section, ""
    words = spelling.replace("/", " ").split()
    if len(words) > 1:
        if spelling.startswith(("wet read ", "addendum ")):
            inner = kind_of(" ".join(words[1 + (words[0] == "wet") :]))
            return inner if inner[0] in SECTION_HEADERS else ("addendum", "")
        for prefix in SECTION_HEADERS["restart"]:
            if spelling.startswith(f"{prefix} "):
                return kind_of(spelling.removeprefix(prefix))
        # "RADIOLOGIC FINDINGS", "IMPRESSION CHEST"; "PA AND LATERAL COMPARISON".
        for word, rest in ((words[-1], words[:-1]), (words[0], words[1:])):
            section = _section(word)
            main = section in ("findings", "impression") and word not in _OF_MANY
            short = len(words) < 5 and "clinical" not in words
            if main and (short or is_title(" ".join(rest))):
                return str(section), ""
            if section in ("indication", "comparison") and is_title(" ".join(rest)):
                return section, ""
    if is_title(spelling):
        return "title", ""
    hints = [_SECTION_OF_WORD[word] for word in words if word in _SECTION_OF_WORD]
    if "indication" in hints:
        return "unknown", "indication"
    if not _ORGANS.isdisjoint(words):
        return "organ", ""
    return "unknown", next(iter(hints), "")


_MARKER = (
    r"[ \t>*#\-\u2022]*+(?:\(?(?:\d{1,2}|[A-Z])[.)][ \t]*)?[\"'\u2018\u2019*]{0,3}"
)
# At the start of a line in any case: the first words up to a colon.
_OPENS = re.compile(
    _MARKER + r"(?P<name>[A-Za-z][A-Za-z0-9 ,/&()#'.\-_]{0,60}?)[ \t*]*+"
    r"(?:(?<!\d)[:\uff1a]|[:\uff1a](?!\d))\**"
)
# A line of its own, or in capitals before a dash or the first word of a sentence.
_ALONE = re.compile(_MARKER + r"(?P<name>[A-Za-z][A-Za-z ,/&()\-]{1,60}?)[ \t*]*+$")
_DASHED = re.compile(
    r"[ \t]*(?P<name>[A-Z][A-Z /&()]{3,40}?)(?:[ \t]*[;.\-\u2013\u2014][ \t]+"
    r"|[ \t]+(?=[A-Z][a-z]))"
)
# Capitals from a stop, two blanks or a word in small letters on.
_CAPITALS = re.compile(r"(?<![\w/&-])(?:[A-Z](?:[A-Z,/&()\-]| (?! ))+[A-Z)])$")
_LAST_WORD = re.compile(r"(?<= )[A-Z]{7,11}$")
_WORD_OF_ITS_OWN = re.compile(r"(?<=[.;?!)][ \t])[A-Z][a-z]{6,11}$")
_RULE = re.compile(r"[ \t]*[_=*~\-]{5,}+[ \t]*+$")
_LINE = re.compile(r"[^\n]+")
_COLON = re.compile(r"(?<![ \t])[ \t]{0,8}[:\uff1a]")
_REACH = 64
_NO = (0, "", "")


def find_headings(text: str) -> Iterator[Heading]:
    """All headings and rules of a text, in order.

    Args:
        text: With plain line feeds, and blanks as space or tab.
    """
    for line in _LINE.finditer(text):
        start, end = line.span()
        if _RULE.match(text, start, end):
            yield Heading(start, end, "rule")
            continue
        first = _first(text, start, end)
        if first is not None:
            yield first
            start = first.end
        yield from _inner(text, start, end)


def _first(text: str, start: int, end: int) -> Heading | None:
    """The heading that a line opens with."""
    match = _OPENS.match(text, start, end)
    if match is not None:
        name, capitals = match["name"], match["name"].isupper()
        if capitals and len(name) > 1:
            kind, section = kind_of(name)
            if kind == "unknown" and len(name) < 4:
                return None
            return Heading(start, match.end(), kind, section)
        known = _section(_spelling(name))
        if known is None and is_title(name):
            known = "title"
        if known is not None:
            return Heading(start, match.end(), known)
    for pattern in (_ALONE, _DASHED):
        match = pattern.match(text, start, end)
        alone = pattern is _ALONE
        if match and (not alone or _stands_alone(text, start, end, match["name"])):
            slips = alone and match["name"].isupper()
            known = _section(_spelling(match["name"]), slips=slips)
            if known is not None:
                return Heading(start, match.end(), known)
    return None


def _stands_alone(text: str, start: int, end: int, name: str) -> bool:
    """Whether a line without a colon can be a heading and no end of a wrapped one."""
    if name.isupper():
        return True
    before = text[max(0, start - _REACH) : start].rstrip(" \t")
    above = before.removesuffix("\n").rstrip(" \t")
    ended = not above or above[-1] in "\n.:;?!)"
    return ended and len(name) > 6 and end < len(text)


def _inner(text: str, start: int, end: int) -> Iterator[Heading]:
    """Headings within a line: in capitals, or as a word of its own after a stop."""
    last = start
    for colon in _COLON.finditer(text, start, end):
        before = text[max(last, colon.start() - _REACH) : colon.start()]
        if not before[-1:].isalpha() and before[-1:] != ")":
            continue
        at, kind, section = _inner_kind(before)
        if kind:
            begin = colon.start() - len(before) + at
            yield Heading(begin, colon.end(), kind, section)
            last = colon.end()


def _inner_kind(before: str) -> tuple[int, str, str]:
    """Where a heading begins in what stands before a colon, its kind and section."""
    run = _CAPITALS.search(before)
    whole = run is not None and (run.start() or len(before) < _REACH)
    kind, section = kind_of(run.group()) if run is not None and whole else ("", "")
    if run is not None and kind in SECTION_HEADERS:
        return run.start(), kind, section
    # "Worked up for COPD FINDINGS:": capitals before it belong to the text.
    for pattern in (_LAST_WORD, _WORD_OF_ITS_OWN):
        match = pattern.search(before)
        if match is not None:
            known = _section(match.group().lower(), slips=False)
            if known in ("indication", "comparison", "findings", "impression"):
                return match.start(), known, ""
    return (run.start(), kind, "") if run is not None and kind == "organ" else _NO

"""Headings: slips are forgiven, other words are no headings."""

from __future__ import annotations

import numpy as np
import pytest

from vlp_zoo.reports.sections import split_sections
from vlp_zoo.reports.words.headings import (
    SECTION_HEADERS,
    find_headings,
    is_title,
    kind_of,
)

MAIN = {
    "INDICATION": "indication",
    "HISTORY": "indication",
    "CLINICAL HISTORY": "indication",
    "REASON FOR EXAMINATION": "indication",
    "COMPARISON": "comparison",
    "FINDINGS": "findings",
    "FINDINGS AND IMPRESSION": "findings",
    "IMPRESSION": "impression",
    "CONCLUSION": "impression",
    "TECHNIQUE": "technique",
    "EXAMINATION": "technique",
    "ADDENDUM": "addendum",
}


def slips(name: str) -> set[str]:
    """A letter left out, doubled, wrong or out of order."""
    made = set()
    for i in range(len(name)):
        made |= {name[:i] + name[i + 1 :], name[:i] + name[i] + name[i:]}
        made |= {name[:i] + "X" + name[i + 1 :], name[:i] + "E" + name[i + 1 :]}
        if i:
            made.add(name[: i - 1] + name[i] + name[i - 1] + name[i + 1 :])
    return {slip.strip() for slip in made if "  " not in slip}


@pytest.mark.parametrize("name", MAIN)
def test_one_slip_leaves_a_heading_what_it_is(name: str) -> None:
    wrong = {slip: kind_of(slip)[0] for slip in slips(name)}
    assert {s: kind for s, kind in wrong.items() if kind != MAIN[name]} == {}


@pytest.mark.parametrize(
    "name", ["IMPRSSON", "IMPESION", "INPRESION", "FINDNG", "INDICTON", "COMPRISN"]
)
def test_two_slips_leave_a_long_heading_what_it_is(name: str) -> None:
    known = min(MAIN, key=lambda full: len(set(full) ^ set(name)))
    assert kind_of(name)[0] == MAIN[known]


def test_a_known_spelling_is_never_taken_for_another() -> None:
    for section, spellings in SECTION_HEADERS.items():
        for spelling in spellings:
            assert kind_of(spelling.upper()) == (section, "")


@pytest.mark.parametrize(
    "name",
    [
        "COMPRESSION",
        "DEPRESSION",
        "MEDICATION",
        "MEDICATIONS",
        "OCCLUSION",
        "CONTUSION",
        "CONCUSSION",
        "INDURATION",
        "CONTACT",
        "NOTE",
        "COMMENT",
        "RECOMMENDATIONS",
        "RECOMMENDATION(S)",
        "CLINICAL IMPRESSION",
        "LAB RESULTS",
    ],
)
def test_a_word_of_its_own_is_no_slip(name: str) -> None:
    assert kind_of(name)[0] == "unknown"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("RADIOLOGIC FINDINGS", "findings"),
        ("IMPRESSION PA AND LATERAL CHEST", "impression"),
        ("WET READ VERSION #1", "addendum"),
        ("ADDENDUM #2", "addendum"),
        ("DX CHEST PA & LAT", "title"),
        ("TWO-VIEW CHEST", "title"),
        ("FINDINGS (CHEST)", "findings"),
        ("IMPRESSION, CHEST", "impression"),
        ("CHEST (PA AND LAT) INDICATION", "indication"),
        ("FINAL REPORT INDICATION", "indication"),
        ("CHEST, PA AND LATERAL", "title"),
        ("AP PORTABLE CHEST RADIOGRAPH", "title"),
        ("PLEURA AND LUNGS", "organ"),
        ("SUPPORT DEVICES", "organ"),
        ("CHEST TUBE", "organ"),
    ],
)
def test_headings_of_several_words(name: str, kind: str) -> None:
    assert kind_of(name)[0] == kind


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ACCESSION NUMBER", "other"),
        ("REFERRING PHYSICIAN", "other"),
        ("RADIATION DOSE", "technique"),
        ("PERTINENT CLINICAL HISTORY", "indication"),
        ("CARDIAC HISTORY", "indication"),
        ("INDICATIONS FOR STUDY", "indication"),
        ("HISTORY/INDICATION", "indication"),
        ("PRIOR EXAMS", "comparison"),
        ("NOTE", ""),
    ],
)
def test_an_unknown_heading_hints_at_its_section(name: str, hint: str) -> None:
    assert kind_of(name) == ("unknown", hint)


@pytest.mark.parametrize(
    "text", ["CHEST (PA AND LAT) ___", "Portable AP chest radiograph", "CXR, 2 views"]
)
def test_titles(text: str) -> None:
    assert is_title(text)


@pytest.mark.parametrize("text", ["", "___", "Chest is clear", "No views of edema"])
def test_what_is_no_title(text: str) -> None:
    assert not is_title(text)


@pytest.mark.parametrize(
    "text",
    [
        "Findings were discussed with Dr. Who at 10:30.",
        "The impression is that of edema: small.",
        "There is contusion: small.",
        "No significant\nfindings\nwere seen: none.",
        "Two densities: one right, one left. Heart: normal.",
        "1. Impressive effusion: large.",
    ],
)
def test_sentences_have_no_headings(text: str) -> None:
    assert list(find_headings(text)) == []
    assert split_sections(text).findings == " ".join(text.split())


def test_headings_are_found_in_order_and_within_the_text() -> None:
    rng = np.random.default_rng(0)
    pieces = np.array(
        [
            "FINDINGS",
            "IMPRESSON",
            ":",
            " ",
            "\n",
            "\n\n",
            "_____",
            "LUNGS:",
            "(",
            ")",
            "a lung",
            ".",
            "1.",
            "Impression:",
            "FINAL REPORT",
            "-",
            "CHEST AP:",
            "'",
        ]
    )
    for _ in range(500):
        text = "".join(rng.choice(pieces, 20))
        end = 0
        for heading in find_headings(text):
            assert end <= heading.start <= heading.end <= len(text)
            end = heading.end
        split_sections(text)

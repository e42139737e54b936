"""Sections, cleaning and sentences, on layouts as MIMIC-CXR has them."""

from __future__ import annotations

import numpy as np
import pytest

from vlp_zoo.reports.sections import (
    SECTION_HEADERS,
    clean,
    parse_report,
    sentence_spans,
    split_sections,
    split_sentences,
)

MIMIC = """ 
 ADDENDUM  Findings were discussed with Dr. ___.
 
 IMPRESSION:  This one belongs to the addendum.
 ______________________________________________________________________________
                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)
 
 INDICATION:  ___ year old woman with cough // ? pneumonia
 
 COMPARISON:  Chest radiograph ___.
 
 FINDINGS: 
 
 Heart size is top normal.  A 3.5 cm mass is seen in the
 right upper lobe.There is no pleural effusion.
 
 IMPRESSION: 
 
 1.  Right upper lobe mass.
 2.  No effusion.
 
 NOTIFICATION:  The findings were discussed by phone.
"""


def test_sections_of_a_report_with_addendum_and_hard_wraps() -> None:
    report = parse_report(MIMIC)
    assert report.text == MIMIC
    assert report.indication == "___ year old woman with cough // ? pneumonia"
    assert report.comparison == "Chest radiograph ___."
    assert report.findings == (
        "Heart size is top normal. A 3.5 cm mass is seen in the right upper lobe.There"
        " is no pleural effusion."
    )
    assert report.impression == "1. Right upper lobe mass. 2. No effusion."


def test_addendum_is_used_where_the_report_below_lacks_the_section() -> None:
    text = "ADDENDUM\n IMPRESSION: Revised.\n ________\n FINDINGS: Clear lungs.\n"
    report = split_sections(text)
    assert (report.findings, report.impression) == ("Clear lungs.", "Revised.")


@pytest.mark.parametrize("header", SECTION_HEADERS["findings"])
def test_every_spelling_of_findings_opens_them(header: str) -> None:
    for name in (header.upper(), header.title()):
        report = split_sections(
            f" EXAM: x\n {name}:  Lungs are\n clear.\n IMPRESSION: No."
        )
        assert (report.findings, report.impression) == ("Lungs are clear.", "No.")


@pytest.mark.parametrize(
    ("section", "header"),
    [
        (section, header)
        for section in ("indication", "comparison", "impression")
        for header in SECTION_HEADERS[section]
    ],
)
def test_every_spelling_of_the_other_sections(section: str, header: str) -> None:
    report = split_sections(f"{header.upper()}: here.\nFINDINGS: there.\n")
    assert (getattr(report, section), report.findings) == ("here.", "there.")


def test_several_headers_on_one_line() -> None:
    report = split_sections(
        "INDICATION: Cough. COMPARISON: None. FINDINGS AND IMPRESSION: Clear lungs."
    )
    assert report.indication == "Cough."
    assert report.comparison == "None."
    assert (report.findings, report.impression) == ("Clear lungs.", "")


def test_unknown_header_in_capitals_ends_a_section() -> None:
    report = split_sections("FINDINGS: Clear.\nELECTRONIC SIGNATURE: Dr. Who\n")
    assert report.findings == "Clear."


def test_last_non_empty_occurrence_wins() -> None:
    report = split_sections("FINDINGS: old\nFINDINGS: new\nFINDINGS:\nIMPRESSION: x")
    assert report.findings == "new"


def test_last_paragraph_stands_in_for_missing_sections() -> None:
    report = split_sections(
        " EXAMINATION: CHEST\n \n INDICATION: Cough\n \n The lungs are\n clear.\n"
    )
    assert report.findings == "The lungs are clear."
    assert report.indication == "Cough"


@pytest.mark.parametrize("text", ["", " \n ", "INDICATION: Cough."])
def test_nothing_to_find_gives_empty_findings(text: str) -> None:
    report = split_sections(text)
    assert (report.findings, report.impression) == ("", "")
    assert report.body == text


def test_text_without_headers_is_findings() -> None:
    assert split_sections("Lungs are clear.\nNo edema.").findings == (
        "Lungs are clear. No edema."
    )


def test_clean_keeps_numbers_and_drops_or_replaces_blanks() -> None:
    text = "Dr. ___ saw a 3.5  cm\n nodule at ___ .\n_______\nChest x-XXXX."
    assert clean(text) == "Dr. saw a 3.5 cm nodule at. Chest x-."
    assert clean("At ___ today", placeholder="[de]") == "At [de] today"
    assert clean("EDEMA", lower=True) == "edema"


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("A 3.5 cm mass. No edema.", ["A 3.5 cm mass.", "No edema."]),
        (
            "Seen by Dr. Who at 5 p.m. today. End.",
            ["Seen by Dr. Who at 5 p.m. today.", "End."],
        ),
        ("Called at 5 p.m. The end.", ["Called at 5 p.m.", "The end."]),
        ("Density, e.g. fat. End.", ["Density, e.g. fat.", "End."]),
        ("At the apex.There is no edema.", ["At the apex.", "There is no edema."]),
        ("1. Mass. 2. No edema.", ["Mass.", "No edema."]),
        ("1. Mass 2. No edema 3.Fluid", ["Mass", "No edema", "Fluid"]),
        (
            "Nodule in segment 3. The rest is clear.",
            ["Nodule in segment 3.", "The rest is clear."],
        ),
        (
            "The heart\n is normal.\n\nClear lungs",
            ["The heart is normal.", "Clear lungs"],
        ),
        ("Is it? Yes!", ["Is it?", "Yes!"]),
        ("", []),
        (" . . ", []),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_spans_are_ordered_disjoint_and_trimmed_on_random_text() -> None:
    rng = np.random.default_rng(0)
    pieces = np.array(
        [
            " ",
            "\n",
            "\n\n",
            ".",
            "1.",
            "2. ",
            "Dr.",
            "3.5",
            "edema",
            "No",
            "?",
            "_",
            "İ",
        ]
    )
    for _ in range(300):
        text = "".join(rng.choice(pieces, 25))
        end = 0
        for begin, stop in sentence_spans(text):
            assert end <= begin < stop <= len(text)
            assert text[begin:stop] == text[begin:stop].strip()
            end = stop

"""Sections, cleaning and sentences, on layouts as MIMIC-CXR has them."""

from __future__ import annotations

import numpy as np
import pytest

from vlp_zoo.reports.annotate import annotate
from vlp_zoo.reports.sections import (
    SECTION_HEADERS,
    clean,
    parse_report,
    report_of,
    sentence_spans,
    split_sections,
    split_sentences,
    without_blanks,
)
from vlp_zoo.reports.sentences import LONGEST
from vlp_zoo.reports.triplets import tag_vector
from vlp_zoo.types import Report

TITLES = (
    "chest",
    "chest radiographs",
    "chest pa and lateral",
    "chest portable ap",
    "pa and lateral views of the chest",
    "ap and lateral views of the chest",
    "frontal and lateral chest radiographs",
    "portable upright chest radiograph",
    "portable chest x-ray",
    "single frontal view of the chest",
    "two views of the chest",
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


@pytest.mark.parametrize("header", [*SECTION_HEADERS["findings"], *TITLES])
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


def test_a_signature_ends_a_section() -> None:
    report = split_sections("FINDINGS: Clear.\nELECTRONIC SIGNATURE: Dr. Who\n")
    assert report.findings == "Clear."


def test_sections_of_a_kind_are_joined() -> None:
    report = split_sections("FINDINGS: old\nFINDINGS: new\nFINDINGS:\nIMPRESSION: x")
    assert report.findings == "old new"


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
    assert report.body == ""


@pytest.mark.parametrize(
    "text",
    [
        "FINDINGS:\r\n\tLungs clear.\r\n\r\nIMPRESSION:\tNormal.\r\n",
        "findings: Lungs clear.\nimpression: Normal.\n",
        "FINDINGS\nLungs clear.\n\nIMPRESSION\nNormal.",
        "Findings\nLungs\nclear.\n\nImpression\nNormal.\n",
        "FINDINGS\n========\nLungs clear.\n-------\nIMPRESSION\n=======\nNormal.",
        "1. FINDINGS: Lungs clear.\n2) IMPRESSION: Normal.",
        "**FINDINGS:** Lungs clear.\n\n## Impression\nNormal.\n",
        "FINDINGS - Lungs clear.\nIMPRESSION \u2013 Normal.",
        "FINDINGS Lungs clear.\nIMPRESSION Normal.",
        "FINDINGS; Lungs clear.\nIMPRESSION; Normal.",
        "Indication: Cough. Findings: Lungs clear. Impression: Normal.",
        "FINDINGS\xa0:\xa0Lungs clear.\n\u200bIMPRESSION: Normal.",
        "REPORT: Lungs clear.\nCONCLUSIONS: Normal.\nDICTATED BY: Dr. Who",
        "Lungs clear.\n\nOPINION: Normal.",
        "CHEST, TWO VIEWS: ___ at 10:30\nFINDINGS: Lungs clear.\nDIAGNOSIS: Normal.",
        (
            "PA AND LATERAL CHEST, AT 10:30 HOURS\n\nHISTORY: Cough.\n\n"
            "COMPARISON: None.\n\nLungs clear.\n\nIMPRESSION: Normal."
        ),
        (
            "FINAL REPORT EXAMINATION: CHEST (PA AND LAT) INDICATION: Cough FINDINGS: Lungs "
            "clear. IMPRESSION: Normal. NOTIFICATION: by phone"
        ),
    ],
)
def test_layouts_that_people_have(text: str) -> None:
    report = split_sections(text)
    assert (report.findings, report.impression) == ("Lungs clear.", "Normal.")


def test_headings_nobody_knows_are_text_of_the_section_they_stand_in() -> None:
    text = (
        "FINDINGS:\n LUNGS: Clear.\n LINES AND TUBES: None.\n NOTE: Seen by phone.\n"
        " Small effusion.\n\nIMPRESSION:\n CHEST RADIOGRAPH\n AP CHEST:\n Edema.\n"
        " RECOMMENDATION(S): CT.\n NOTIFICATION: By phone.\n"
    )
    report = split_sections(text)
    assert report.findings == (
        "LUNGS: Clear. LINES AND TUBES: None. NOTE: Seen by phone. Small effusion."
    )
    assert report.impression == (
        "CHEST RADIOGRAPH AP CHEST: Edema. RECOMMENDATION(S): CT."
    )


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("TECHNIQUE: PA.\nLUNGS: Clear.\nHEART: Big.\n", "LUNGS: Clear. HEART: Big."),
        ("INDICATION: Cough.\nHALLAZGOS: Edema.\nDERRAME: no.\n", "HALLAZGOS: Edema. DERRAME: no."),
        ("HISTORY: Cough\nPORTABLE CHEST: Lungs are clear.\n", "Lungs are clear."),
    ],
)  # fmt: skip
def test_findings_under_another_heading(text: str, findings: str) -> None:
    for more in ("", "IMPRESSION: Normal."):
        assert split_sections(text + more).findings == findings


@pytest.mark.parametrize(
    "text",
    [
        "INDICATION:\n\n Chest pain, rule out pneumonia.\n\n",
        "INDICATION: Chest pain.\n\nRule out pneumonia.\n\nEvaluate for edema.\n",
        "EXAM: CHEST\n\nHISTORY:\n\n55 year old with cough.\n\nTECHNIQUE:\n\nPA and lateral.",
        "EXAMINATION: CHEST (PA)",
        "INDICATION: Chest pain.\n\nShortness of breath and fever.\n",
        "TECHNIQUE: PA and lateral.\n\nRadiation dose 0.1 mGy.\n",
        "GENERAL HOSPITAL\nDepartment of Radiology\n\nINDICATION: Cough.",
        "CHEST X-RAY REPORT:\nHISTORY/INDICATION: Cough.\nEND OF REPORT",
        "PATIENT NAME: A B\nACCESSION NUMBER: 12\nCLINICAL QUESTION: Edema?\n",
        "FINAL REPORT\nREASON FOR EXAM: Edema.\nCOMPARISON: ___.\n",
        "FINDINGS: ___\nIMPRESSION: XXXX XXXX.",
    ],
)  # fmt: skip
def test_what_was_asked_is_never_what_was_seen(text: str) -> None:
    for pad in ("", " ", "\t"):
        report = split_sections(f"{pad}{text}")
        assert (report.findings, report.impression, report.body) == ("", "", "")


def test_a_wet_read_stands_in_only_where_there_is_nothing_else() -> None:
    wet = " WET READ: ___ 8:19 PM\n  No edema.\n _________\n      FINAL REPORT\n"
    asked = " INDICATION: Cough.\n"
    assert split_sections(wet + asked).findings == "___ 8:19 PM No edema."
    assert split_sections(f"{wet}{asked} FINDINGS: Clear.").findings == "Clear."


def test_sections_inside_an_addendum() -> None:
    text = "ADDENDUM:\n FINDINGS: Nodule.\n______\n FINAL REPORT\n IMPRESSION: Edema."
    report = split_sections(text)
    assert (report.findings, report.impression) == ("Nodule.", "Edema.")


def test_reports_of_known_sections_leave_blanks_out() -> None:
    report = report_of({"indication": "Edema?", "findings": "nan", "impression": "-"})
    assert report.text == "INDICATION: Edema?"
    assert report.body == ""
    assert without_blanks(Report("nan", findings="XXXX.", impression="No.")) == Report(
        "", impression="No."
    )


@pytest.mark.parametrize(
    "unit",
    [".", " ", "\n", "\n ", "1.1.", "1. ", "a 1) ", ".)", "A", "AND ", "AB:", "FINDINGS:\n", ":", "_", "_____\n", "(", "[**", "X", "XXXX ", "LUNGS: a\n", "a b\n\n", "p.m. ", "no, ", "small effusion or ", "heart size is normal ", "not ", "may be ", "a"],
)  # fmt: skip
def test_long_texts_without_a_sentence_are_read_in_linear_time(unit: str) -> None:
    # Were any of these rules quadratic, this would take minutes.
    text = unit * (100_000 // len(unit)) + "1"
    split_sections(f"FINDINGS: {text}")
    tag_vector(split_sentences(text))
    annotate(clean(text))
    assert max((b - a for a, b in sentence_spans(text)), default=0) <= LONGEST


def test_what_has_no_stop_is_cut_between_words() -> None:
    sentences = split_sentences("lungs are clear " * 400)
    assert len(sentences) == 7
    assert set(" ".join(sentences).split()) == {"lungs", "are", "clear"}
    assert " ".join(sentences) == ("lungs are clear " * 400).strip()


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

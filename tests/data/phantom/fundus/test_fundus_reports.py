"""The report says what is drawn: eye, place, grade, doubt and change."""

from __future__ import annotations

import re

import numpy as np
import pytest

from vlp_zoo.data.phantom.fundus.facts import (
    KINDS,
    LABELS,
    QUADRANTS,
    EyeFacts,
    Lesion,
    label_states,
)
from vlp_zoo.data.phantom.fundus.phrases import LEXICON, mentions, noun
from vlp_zoo.data.phantom.fundus.source import PhantomFundusSource
from vlp_zoo.data.phantom.typos import TYPOS
from vlp_zoo.data.phantom.world import WrittenReport
from vlp_zoo.reports.sections import parse_report

COUNT = 900


@pytest.fixture(scope="module")
def source() -> PhantomFundusSource:
    return PhantomFundusSource("train", COUNT)


@pytest.fixture(scope="module")
def facts(source: PhantomFundusSource) -> list[EyeFacts]:
    return [source.eye_facts(index) for index in range(COUNT)]


@pytest.fixture(scope="module")
def written(source: PhantomFundusSource) -> list[WrittenReport]:
    return [source.written(index) for index in range(COUNT)]


def test_everything_present_is_named(
    facts: list[EyeFacts], written: list[WrittenReport]
) -> None:
    for known, report in zip(facts, written, strict=True):
        assert set(report.mentioned) <= set(LABELS)
        for name, state in label_states(known).items():
            if name in report.mentioned:
                assert report.mentioned[name] == state
            if state != 0:
                assert name in report.mentioned, (name, report.report.body)
                assert mentions(name, report.report.body), (name, report.report.body)


def test_eye_and_place_are_stated(
    facts: list[EyeFacts], written: list[WrittenReport]
) -> None:
    for known, report in zip(facts, written, strict=True):
        text = report.report.text
        other = {"right": r"left eye|\bOS\b", "left": r"right eye|\bOD\b"}[known.eye]
        own = {"right": r"right eye|\bOD\b", "left": r"left eye|\bOS\b"}[known.eye]
        assert re.search(own, text), text
        assert not re.search(other, text), text
        for lesion in known.lesions:
            quarters = [place for place in lesion.places if place in QUADRANTS]
            if len(quarters) == 4:
                assert re.search("all (four )?quadrants", text), text
            else:
                assert all(place in text for place in quarters), (lesion, text)


def test_every_kind_has_words_with_amount() -> None:
    rng = np.random.default_rng(0)
    words = {
        "mild": "few|occasional|small",
        "moderate": "several|scattered|multiple|moderate|medium",
        "severe": "numerous|many|extensive|large",
    }
    single = {"laser scars", "disc hemorrhage"}
    for kind, label in KINDS.items():
        for _ in range(40):
            amount = float(rng.uniform())
            lesion = Lesion(kind, ("superonasal",), amount, True, "", 1)
            text = noun(rng, lesion).text
            assert mentions(label, text), (kind, text)
            if kind not in single and "neovascularization" not in kind:
                assert re.search(words[lesion.severity], text), (kind, text)


def test_the_grade_is_worded(
    facts: list[EyeFacts], written: list[WrittenReport]
) -> None:
    words = {
        1: "mild (non-?proliferative|NPDR)",
        2: "moderate (non-?proliferative|NPDR)",
        3: "severe (non-?proliferative|NPDR)",
        4: r"(?<!non)(?<!non-)proliferative diab|\bPDR",
    }
    grades = 0
    for known, report in zip(facts, written, strict=True):
        states = label_states(known)
        names = [n for n in LABELS if n.endswith("diabetic retinopathy")]
        if known.dr_grade and all(states[name] >= 0 for name in names):
            body = report.report.body
            assert re.search(words[known.dr_grade], body, re.IGNORECASE), body
            for grade in set(words) - {known.dr_grade}:
                assert not re.search(words[grade], body, re.IGNORECASE), body
            grades += 1
    assert grades > 200


def test_the_cup_is_stated_in_glaucoma(
    facts: list[EyeFacts], written: list[WrittenReport]
) -> None:
    for known, report in zip(facts, written, strict=True):
        found = re.search(
            r"(?:ratio|CDR)[a-z ,]* (0\.\d+)", report.report.body, re.IGNORECASE
        )
        assert found or known.glaucoma == 0, report.report.body
        if found:
            assert abs(float(found.group(1)) - known.cup) <= 0.051


def test_denials_are_true(facts: list[EyeFacts], written: list[WrittenReport]) -> None:
    denied = 0
    for known, report in zip(facts, written, strict=True):
        states = label_states(known)
        for sentence, labels in report.sentences:
            if re.match(r"(There is no|There are no|No) ", sentence):
                for label in labels:
                    if label != "normal":
                        assert states[label] == 0, (sentence, label)
                        denied += 1
    assert denied > 500


def test_what_is_absent_is_named_only_to_deny_it(
    facts: list[EyeFacts], written: list[WrittenReport]
) -> None:
    for known, report in zip(facts, written, strict=True):
        states = label_states(known)
        for sentence, _ in report.sentences:
            if re.match(r"(There is no|There are no|No) ", sentence):
                continue
            if re.search("resol|cleared|without", sentence):
                continue
            for name in set(LABELS) - {"normal"}:
                if states[name] == 0:
                    assert not mentions(name, sentence), (name, sentence)


def test_doubt_is_worded(facts: list[EyeFacts], written: list[WrittenReport]) -> None:
    doubts = 0
    for known, report in zip(facts, written, strict=True):
        if -1 in label_states(known).values():
            doubts += 1
            assert re.search(
                "may be|possibl|cannot be excluded|questionable|suspect|suspicious",
                report.report.body.lower(),
            ), report.report.body
    assert doubts > 80


def test_change_is_worded_only_with_a_prior(
    facts: list[EyeFacts], written: list[WrittenReport]
) -> None:
    words = (
        r"\bnew since|interval|unchanged|stable|increased since|have increased|decreased"
        r"|worse|improved|again|progressed|regressed|previously|\bNew (?!vessel)"
    )
    changed = 0
    for known, report in zip(facts, written, strict=True):
        found = re.search(words, report.report.body)
        if known.number == 0:
            assert not found, report.report.body
            assert "rior" not in report.report.comparison
        elif found:
            changed += 1
    assert changed > 100


def test_sections_and_captions(written: list[WrittenReport]) -> None:
    captions = [w.report for w in written if w.style == "caption"]
    reports = [w.report for w in written if w.style == "report"]
    assert 0.2 < len(captions) / len(written) < 0.3
    assert all(r.findings and not r.impression for r in captions)
    assert all("fundus" in r.text.lower() and len(r.text) < 900 for r in captions)
    for report in reports:
        assert report.findings or report.impression
        parsed = parse_report(report.text)
        assert parsed.findings == report.findings
        assert parsed.impression == report.impression
    missing = np.mean([not r.findings or not r.impression for r in reports])
    assert 0.08 < missing < 0.22


def test_words_vary(written: list[WrittenReport]) -> None:
    assert len({w.report.body for w in written}) > 0.85 * len(written)
    ways = {
        match.group(0)
        for w in written
        for match in re.finditer(r"[^.]*microaneurysm[^.]*\.", w.report.body)
    }
    assert len(ways) > 60
    assert any("haemorrhage" in w.report.body for w in written)


def test_typos_are_rare_and_harmless(written: list[WrittenReport]) -> None:
    slips = [
        w
        for w in written
        if any(bad in w.report.body.split() for bad in TYPOS.values())
    ]
    assert 0 < len(slips) < 0.06 * len(written)
    clinical = "|".join(LEXICON[label] for label in LABELS if label != "normal")
    assert not any(re.search(clinical, word.lower()) for word in TYPOS)

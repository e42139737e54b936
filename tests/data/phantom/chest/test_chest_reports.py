"""The report says what is drawn: side, place, severity, doubt and change."""

from __future__ import annotations

import re

import numpy as np
import pytest

from vlp_zoo.data.phantom.chest.facts import LABELS, Finding, label_states
from vlp_zoo.data.phantom.chest.phrases import LEXICON, mentions, noun
from vlp_zoo.data.phantom.chest.source import PhantomChestSource
from vlp_zoo.data.phantom.typos import TYPOS, slip
from vlp_zoo.data.phantom.world import WrittenReport
from vlp_zoo.types import Report


@pytest.fixture(scope="module")
def source() -> PhantomChestSource:
    return PhantomChestSource("train", 1500)


@pytest.fixture(scope="module")
def reports(source: PhantomChestSource) -> list[Report]:
    return list(source.reports())


@pytest.fixture(scope="module")
def written(source: PhantomChestSource) -> list[WrittenReport]:
    return [source.written(index) for index in range(400)]


def test_every_finding_is_named(
    source: PhantomChestSource, reports: list[Report]
) -> None:
    for labels, report in zip(source.labels, reports, strict=True):
        for name, state in zip(LABELS, labels, strict=True):
            if state != 0:
                assert mentions(name, report.body), (name, report.body)


def test_side_is_stated(source: PhantomChestSource, reports: list[Report]) -> None:
    for index, report in enumerate(reports):
        text = report.body.lower()
        for finding in source.study_facts(index).findings:
            if finding.label == "Support Devices":
                continue
            if finding.side in ("left", "right"):
                assert finding.side in text, (finding, text)
            elif finding.side == "bilateral" and finding.label != "Edema":
                assert re.search("bilateral|bibasilar|both", text), (finding, text)


def test_a_noun_phrase_states_severity_and_zone() -> None:
    rng = np.random.default_rng(0)
    words = {
        "mild": "mild|minimal|slight|small",
        "moderate": "moderate",
        "severe": "severe|marked|large",
    }
    zones = {
        "upper": "upper",
        "mid": "mid",
        "lower": "lower|base|basilar|basal|bibasilar",
        "apical": "apical|apex",
    }
    for _ in range(300):
        amount = float(rng.uniform())
        zone = str(rng.choice(["upper", "mid", "lower"]))
        label = str(rng.choice(["Consolidation", "Pneumonia", "Lung Opacity"]))
        finding = Finding(label, label.lower(), "left", zone, amount, True, "", 1)
        text = noun(rng, finding).text
        assert re.search(words[finding.severity], text), text
        assert re.search(zones[zone], text), text
        assert "left" in text


def test_denials_are_true(
    source: PhantomChestSource, written: list[WrittenReport]
) -> None:
    denied = 0
    for index, report in enumerate(written):
        states = label_states(source.study_facts(index))
        for sentence, labels in report.sentences:
            if re.match(r"(There is no|There are no|No) ", sentence):
                for label in labels:
                    if label != "No Finding":
                        assert states[label] == 0, (sentence, label)
                        denied += 1
    assert denied > 300


def test_mentioned_covers_what_is_present(
    source: PhantomChestSource, written: list[WrittenReport]
) -> None:
    for index, report in enumerate(written):
        states = label_states(source.study_facts(index))
        assert set(report.mentioned) <= set(LABELS)
        for label, state in states.items():
            if state != 0:
                assert report.mentioned[label] == state, (label, report.report.body)


def test_doubt_is_worded(source: PhantomChestSource, reports: list[Report]) -> None:
    doubts = 0
    for index, report in enumerate(reports):
        if any(not f.certain for f in source.study_facts(index).findings):
            doubts += 1
            assert re.search(
                "may be|possible|cannot be excluded|questionable", report.body.lower()
            )
    assert doubts > 50


def test_change_is_worded_only_with_a_prior(
    source: PhantomChestSource, reports: list[Report]
) -> None:
    words = (
        r"\bnew\b|unchanged|stable|increased|decreased|interval|worse|improved|again"
    )
    changed = 0
    for index, report in enumerate(reports):
        facts = source.study_facts(index)
        found = re.search(words, report.body.lower())
        if facts.number == 0:
            assert not found, report.body
            assert "___" not in report.comparison
        elif found:
            changed += 1
    assert changed > 100


def test_official_page_style(reports: list[Report]) -> None:
    for report in reports:
        lines = report.text.split("\n")
        assert lines[0].strip() == "FINAL REPORT"
        assert all(line.startswith(" ") for line in lines if line)
        assert max(map(len, lines)) < 80
        for head, body in (
            ("FINDINGS", report.findings),
            ("IMPRESSION", report.impression),
        ):
            assert (f"\n {head}: " in report.text) == bool(body)
        assert report.findings or report.impression
    missing = np.mean([not r.findings or not r.impression for r in reports])
    assert 0.08 < missing < 0.22
    assert np.mean(["___" in r.text for r in reports]) > 0.7


def test_words_vary(reports: list[Report]) -> None:
    assert len({report.findings for report in reports}) > 0.8 * len(reports)
    ways = {
        match.group(0)
        for report in reports
        for match in re.finditer(r"[^.]*pleural effusion[^.]*\.", report.body)
    }
    assert len(ways) > 60


def test_typos_are_rare_and_harmless(reports: list[Report]) -> None:
    slips = [r for r in reports if any(bad in r.body.split() for bad in TYPOS.values())]
    assert 0 < len(slips) < 0.06 * len(reports)
    clinical = "|".join(LEXICON[label] for label in LABELS if label != "No Finding")
    assert not any(re.search(clinical, word.lower()) for word in TYPOS)
    rng = np.random.default_rng(0)
    assert slip("nothing to misspell", rng) == "nothing to misspell"
    assert slip("within bounds", rng) == "wihtin bounds"

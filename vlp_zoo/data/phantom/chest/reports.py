"""The radiologist of the phantom world: facts to a report in the MIMIC-CXR style.

Lines start with a space and stay below 80 columns, ``___`` stands for what was
de-identified, sections are headed in capitals. The report names every finding that
is drawn, with side, place and severity, hedges about the faint ones, compares with
the prior study, and denies some of what is absent.
"""

from __future__ import annotations

import textwrap

import numpy as np

from vlp_zoo.data.phantom.chest.boilerplate import BOILERPLATE, NEGATIONS, indication
from vlp_zoo.data.phantom.chest.facts import (
    OPACITIES,
    Finding,
    StudyFacts,
    label_states,
)
from vlp_zoo.data.phantom.chest.phrases import device_sentence, noun, pick
from vlp_zoo.data.phantom.typos import slip
from vlp_zoo.data.phantom.world import WrittenReport
from vlp_zoo.types import Report

__all__ = ["write_report"]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sentence(rng: np.random.Generator, finding: Finding) -> str:
    """One statement about a finding that is there."""
    if finding.label == "Support Devices":
        sentence = device_sentence(rng, finding)
        if finding.change == "unchanged" and rng.random() < 0.4:
            sentence += pick(rng, " Position is unchanged.", " Unchanged from prior.")
        return sentence
    it = noun(rng, finding)
    if not finding.certain:
        sentence = pick(
            rng,
            f"There may be {it.full}.",
            f"Possible {it.text}.",
            f"{_capital(it.full)} cannot be excluded.",
            f"Questionable {it.text}.",
            f"{_capital(it.full)} {it.be} possible but not certain.",
        )
        if finding.change == "unchanged" and rng.random() < 0.5:
            sentence += " This is unchanged."
        return sentence
    match finding.change:
        case "new":
            return pick(
                rng,
                f"There {it.be} {'a ' if it.article else ''}new {it.text}.",
                f"New {it.text}.",
                f"{_capital(it.full)} {it.be} new since the prior study.",
                f"Interval development of {it.full}.",
            )
        case "unchanged":
            return pick(
                rng,
                f"{_capital(it.full)} {it.be} unchanged.",
                f"Unchanged {it.text}.",
                f"Again seen {it.be} {it.full}, similar to prior.",
                f"{_capital(it.full)} {it.be} stable compared to ___.",
                f"There {it.be} {it.full}, without significant interval change.",
            )
        case "increased":
            return pick(
                rng,
                f"{_capital(it.full)} {it.have} increased since the prior study.",
                f"There {it.be} {it.full}, increased from prior.",
                f"Interval worsening of {it.full}.",
                f"{_capital(it.full)} {it.be} worse compared to ___.",
            )
        case "decreased":
            return pick(
                rng,
                f"{_capital(it.full)} {it.have} decreased since the prior study.",
                f"There {it.be} {it.full}, decreased from prior.",
                f"{_capital(it.full)} {it.be} improved compared to ___.",
                f"Interval improvement of {it.full}.",
            )
    return pick(
        rng,
        f"There {it.be} {it.full}.",
        f"There {it.be} {it.full}.",
        f"{_capital(it.full)} {it.be} seen.",
        f"{_capital(it.full)} {it.be} present.",
        f"{_capital(it.full)} {it.be} noted.",
        f"{_capital(it.text)}.",
    )


def _resolved(rng: np.random.Generator, finding: Finding) -> str:
    if finding.label == "Support Devices":
        return f"The {finding.kind} has been removed."
    name = {
        "effusion": "pleural effusion",
        "opacity": "lung opacity",
        "edema": "pulmonary edema",
    }.get(finding.kind, finding.kind)
    where = f"{finding.side} " if finding.side in ("left", "right") else ""
    return pick(
        rng,
        f"Previously seen {where}{name} has resolved.",
        f"The {where}{name} seen on the prior study is no longer present.",
        f"Interval resolution of {where}{name}.",
    )


def _denials(
    rng: np.random.Generator, states: dict[str, float], share: float
) -> list[tuple[str, tuple[str, ...]]]:
    said: set[str] = set()
    found = []
    rates = {"Support Devices": 0.03, "Pleural Other": 0.06, "Lung Lesion": 0.15}
    for labels, wordings in NEGATIONS:
        free = all(states[label] == 0 for label in labels)
        if not free or said.intersection(labels):
            continue
        if rng.random() > rates.get(labels[0], share if len(labels) < 3 else 0.6):
            continue
        said.update(labels)
        found.append((pick(rng, *wordings), labels))
    return found


GROUP = {
    "Support Devices": 0,
    "Cardiomegaly": 1,
    "Enlarged Cardiomediastinum": 1,
    "Pleural Effusion": 3,
    "Pneumothorax": 3,
    "Pleural Other": 3,
    "Fracture": 4,
}
"""Order of speech: devices, heart, lungs (2), pleura, bones."""


def _labels_of(finding: Finding) -> tuple[str, ...]:
    if finding.label in OPACITIES and finding.label != "Lung Opacity":
        return (finding.label, "Lung Opacity")
    return (finding.label,)


def _impression(
    rng: np.random.Generator, facts: StudyFacts, states: dict[str, float]
) -> list[tuple[str, tuple[str, ...]]]:
    diseases = [f for f in facts.findings if f.label != "Support Devices"]
    if not diseases:
        text = pick(
            rng,
            "No acute cardiopulmonary process.",
            "No acute cardiopulmonary abnormality.",
            "No acute intrathoracic process.",
            "No evidence of acute cardiopulmonary disease.",
            "Normal chest radiograph without evidence of acute disease.",
        )
        return [(text, ("No Finding",))]
    # The largest findings come first; a long list loses its tail.
    diseases.sort(key=lambda f: (not f.certain, -f.amount))
    kept = diseases if rng.random() < 0.6 else diseases[:3]
    items = [(_sentence(rng, f), _labels_of(f)) for f in kept]
    if states["Pneumothorax"] == 0 and rng.random() < 0.15:
        items.append(("No pneumothorax.", ("Pneumothorax",)))
    return items


def _page(sections: list[tuple[str, str]]) -> str:
    lines = [f"{'':33}FINAL REPORT"]
    for head, body in sections:
        first = f" {head}:  "
        if len(body) + len(first) < 78 and head not in ("FINDINGS", "IMPRESSION"):
            lines += [f"{first}{body}", " "]
            continue
        lines += (
            [f" {head}: ", " "] if head in ("FINDINGS", "IMPRESSION") else [f" {head}:"]
        )
        for paragraph in body.split("\n"):
            lines += textwrap.wrap(
                paragraph, 76, initial_indent=" ", subsequent_indent=" "
            )
        lines.append(" ")
    return "\n".join(lines).rstrip() + "\n"


def write_report(
    facts: StudyFacts, views: tuple[str, ...], rng: np.random.Generator
) -> WrittenReport:
    """Report on a study.

    Args:
        facts: What is drawn.
        views: Views of the study, for the EXAMINATION line.
        rng: Generator of the wording.
    """
    states = label_states(facts)
    statements = [
        (GROUP.get(f.label, 2), (_sentence(rng, f), _labels_of(f)))
        for f in facts.findings
    ]
    denials = [
        (GROUP.get(labels[0], 2), (text, labels))
        for text, labels in _denials(rng, states, 0.62)
    ]
    gone = [
        (GROUP.get(f.label, 2), (_resolved(rng, f), (f.label,)))
        for f in facts.resolved
        if states[f.label] == 0 and rng.random() < 0.6
    ]
    extra: list[tuple[int, tuple[str, tuple[str, ...]]]] = []
    if rng.random() < 0.45:
        extra.append((2, (pick(rng, *BOILERPLATE), ())))
    spoken = [
        item
        for _, item in sorted(
            [*statements, *denials, *gone, *extra], key=lambda pair: pair[0]
        )
    ]
    closing = _impression(rng, facts, states)

    # About one report in seven has only one of the two main sections.
    roll = rng.random()
    if roll < 0.07:
        closing = [item for item in spoken if item[1]]
        if states["No Finding"] == 1:
            closing.append(("No acute cardiopulmonary process.", ("No Finding",)))
        spoken = []
    elif roll < 0.14:
        closing = []
        if states["No Finding"] == 1:
            spoken.append(("No acute cardiopulmonary process.", ("No Finding",)))

    findings = " ".join(text for text, _ in spoken)
    if len(closing) > 1 and rng.random() < 0.5:
        impression = "\n".join(
            f"{number}. {text}" for number, (text, _) in enumerate(closing, 1)
        )
    else:
        impression = " ".join(text for text, _ in closing)
    if rng.random() < 0.02:
        findings = slip(findings, rng)
    if rng.random() < 0.01:
        impression = slip(impression, rng)

    reason = indication(rng, facts) if rng.random() < 0.9 else ""
    if facts.number:
        comparison = pick(rng, "___", "Chest radiograph ___.", "___ chest radiograph.")
    else:
        comparison = pick(rng, "None.", "None available.", "")
    technique = pick(rng, "", "", _technique(views, rng))
    sections = [
        ("EXAMINATION", _examination(views, rng)),
        (pick(rng, "INDICATION", "INDICATION", "HISTORY"), reason),
        ("TECHNIQUE", technique),
        ("COMPARISON", comparison),
        ("FINDINGS", findings),
        ("IMPRESSION", impression),
    ]
    text = _page([(head, body) for head, body in sections if body])
    mentioned = {
        label: states[label] for _, labels in [*spoken, *closing] for label in labels
    }
    report = Report(
        text=text,
        indication=reason,
        comparison=comparison,
        findings=findings,
        impression=impression.replace("\n", " "),
    )
    sentences = (*spoken, *closing)
    return WrittenReport(report, mentioned, sentences)


def _examination(views: tuple[str, ...], rng: np.random.Generator) -> str:
    if "LATERAL" in views:
        return "CHEST (PA AND LAT)" if "PA" in views else "CHEST (AP AND LAT)"
    if views[0] == "AP":
        return pick(rng, "CHEST (PORTABLE AP)", "CHEST (SINGLE VIEW)")
    return pick(rng, "CHEST (PA)", "")


def _technique(views: tuple[str, ...], rng: np.random.Generator) -> str:
    names = {"PA": "PA", "AP": "AP", "LATERAL": "lateral"}
    shown = " and ".join(names[view] for view in views)
    plural = "views" if len(views) > 1 else "view"
    return pick(
        rng,
        f"{_capital(shown)} {plural} of the chest.",
        f"Chest, {shown} {plural}.",
    )

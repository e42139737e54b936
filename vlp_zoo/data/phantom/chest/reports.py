"""The radiologist of the phantom world: facts to a report in the MIMIC-CXR style.

Lines start with a space and stay below 80 columns, ``___`` stands for what was
de-identified, sections are headed in capitals. The report names every finding that
is drawn, with side, place and severity, hedges about the faint ones, compares with
the prior study, and denies some of what is absent.
"""

from __future__ import annotations

import textwrap

from vlp_zoo.data.phantom.canvas import Rng
from vlp_zoo.data.phantom.chest.boilerplate import (
    NEGATIONS,
    PHRASES,
    STATEMENTS,
    indication,
)
from vlp_zoo.data.phantom.chest.facts import (
    OPACITIES,
    Finding,
    StudyFacts,
    label_states,
)
from vlp_zoo.data.phantom.chest.phrases import device_sentence, noun
from vlp_zoo.data.phantom.wording import (
    capital,
    denials,
    findings_and_impression,
    mentioned,
    pick,
    statement,
)
from vlp_zoo.data.phantom.world import Said, WrittenReport
from vlp_zoo.types import Report

__all__ = ["write_report"]


def _sentence(rng: Rng, finding: Finding) -> str:
    """One statement about a finding that is there."""
    if finding.label == "Support Devices":
        sentence = device_sentence(rng, finding)
        if finding.change == "unchanged" and rng.random() < 0.4:
            sentence += pick(rng, " Position is unchanged.", " Unchanged from prior.")
        return sentence
    it = noun(rng, finding)
    return statement(rng, STATEMENTS, it, finding.certain, finding.change, 0.5)


def _resolved(rng: Rng, finding: Finding) -> str:
    if finding.label == "Support Devices":
        return f"The {finding.kind} has been removed."
    name = {
        "effusion": "pleural effusion",
        "opacity": "lung opacity",
        "edema": "pulmonary edema",
    }.get(finding.kind, finding.kind)
    where = f"{finding.side} " if finding.side in ("left", "right") else ""
    return pick(rng, *PHRASES["resolved"]).format(name=where + name)


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
    more = ("Lung Opacity",) if finding.label in OPACITIES else ()
    return tuple(dict.fromkeys((finding.label, *more)))


def _impression(rng: Rng, facts: StudyFacts, states: dict[str, float]) -> list[Said]:
    diseases = [f for f in facts.findings if f.label != "Support Devices"]
    if not diseases:
        return [(pick(rng, *PHRASES["healthy"]), ("No Finding",))]
    # The largest findings come first; a long list loses its tail.
    diseases.sort(key=lambda f: (not f.certain, -f.amount))
    kept = diseases if rng.random() < 0.6 else diseases[:3]
    items = [(_sentence(rng, f), _labels_of(f)) for f in kept]
    if states["Pneumothorax"] == 0 and rng.random() < 0.15:
        items.append(("No pneumothorax.", ("Pneumothorax",)))
    return items


def _page(sections: dict[str, str]) -> str:
    lines = [f"{'':33}FINAL REPORT"]
    for head, body in sections.items():
        main = head in ("FINDINGS", "IMPRESSION")
        first = f" {head}:  "
        if not main and body and len(body) + len(first) < 78:
            lines += [f"{first}{body}", " "]
        elif body:
            lines += [f" {head}: ", " "] if main else [f" {head}:"]
            for paragraph in body.split("\n"):
                lines += [f" {line}" for line in textwrap.wrap(paragraph, 75)]
            lines.append(" ")
    return "\n".join(lines).rstrip() + "\n"


def write_report(facts: StudyFacts, views: tuple[str, ...], rng: Rng) -> WrittenReport:
    """Report on a study.

    Args:
        facts: What is drawn.
        views: Views of the study, for the EXAMINATION line.
        rng: Generator of the wording.
    """
    states = label_states(facts)
    said = [(_sentence(rng, f), _labels_of(f)) for f in facts.findings]
    said += denials(rng, NEGATIONS, states)
    said += [
        (_resolved(rng, f), (f.label,))
        for f in facts.resolved
        if states[f.label] == 0 and rng.random() < 0.6
    ]
    if rng.random() < 0.45:
        said.append((pick(rng, *PHRASES["boilerplate"]), ()))
    spoken = sorted(said, key=lambda item: GROUP.get("".join(item[1][:1]), 2))
    closing = _impression(rng, facts, states)

    # About one report in seven has only one of the two main sections.
    roll = rng.random()
    well: list[Said] = []
    if states["No Finding"] == 1:
        well.append(("No acute cardiopulmonary process.", ("No Finding",)))
    if roll < 0.07:
        spoken, closing = [], [item for item in spoken if item[1]] + well
    elif roll < 0.14:
        spoken, closing = spoken + well, []

    findings, impression = findings_and_impression(rng, spoken, closing, 0.5)
    reason = indication(rng, facts) if rng.random() < 0.9 else ""
    if facts.number:
        comparison = pick(rng, "___", "Chest radiograph ___.", "___ chest radiograph.")
    else:
        comparison = pick(rng, "None.", "None available.", "")
    technique = pick(rng, "", "", _technique(views, rng))
    sections = {
        "EXAMINATION": _examination(views, rng),
        pick(rng, "INDICATION", "INDICATION", "HISTORY"): reason,
        "TECHNIQUE": technique,
        "COMPARISON": comparison,
        "FINDINGS": findings,
        "IMPRESSION": impression,
    }
    report = Report(
        text=_page(sections),
        indication=reason,
        comparison=comparison,
        findings=findings,
        impression=impression.replace("\n", " "),
    )
    sentences = (*spoken, *closing)
    return WrittenReport(report, mentioned(sentences, states), sentences)


def _examination(views: tuple[str, ...], rng: Rng) -> str:
    if "LATERAL" in views:
        return "CHEST (PA AND LAT)" if "PA" in views else "CHEST (AP AND LAT)"
    if views[0] == "AP":
        return pick(rng, "CHEST (PORTABLE AP)", "CHEST (SINGLE VIEW)")
    return pick(rng, "CHEST (PA)", "")


def _technique(views: tuple[str, ...], rng: Rng) -> str:
    names = {"PA": "PA", "AP": "AP", "LATERAL": "lateral"}
    shown = " and ".join(names[view] for view in views)
    plural = "views" if len(views) > 1 else "view"
    first = f"{capital(shown)} {plural} of the chest."
    return pick(rng, first, f"Chest, {shown} {plural}.")

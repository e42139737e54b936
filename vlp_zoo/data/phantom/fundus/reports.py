"""The ophthalmologist of the phantom world: facts to a report or to a caption.

A report has EXAMINATION, INDICATION, COMPARISON, FINDINGS and IMPRESSION. It names
every kind of lesion that is drawn, with eye, place and amount, hedges about the faint
ones, compares with the prior visit, and denies some of what is absent. One picture in
four has a caption instead, one or two sentences as under a figure of an atlas.
"""

from __future__ import annotations

import re

from vlp_zoo.data.phantom.canvas import Rng
from vlp_zoo.data.phantom.fundus.diagnoses import (
    NEGATIONS,
    PHRASES,
    RETINOPATHY,
    diagnoses,
    disc_sentence,
    reason,
)
from vlp_zoo.data.phantom.fundus.facts import KINDS, EyeFacts, Lesion, label_states
from vlp_zoo.data.phantom.fundus.phrases import STATEMENTS, noun
from vlp_zoo.data.phantom.typos import slip
from vlp_zoo.data.phantom.wording import (
    capital,
    denials,
    findings_and_impression,
    listed,
    mentioned,
    pick,
    statement,
)
from vlp_zoo.data.phantom.world import Said, WrittenReport
from vlp_zoo.types import Report

__all__ = ["CAPTIONS", "write_report"]

CAPTIONS = 0.25
"""Share of pictures that have a caption in place of a report."""

BRITISH = {
    "hemorrhage": "haemorrhage",
    "edema": "oedema",
    "neovascularization": "neovascularisation",
    "Hemorrhage": "Haemorrhage",
    "Neovascularization": "Neovascularisation",
    "color ": "colour ",
    "Color ": "Colour ",
    "fiber": "fibre",
    "center": "centre",
}


def _group(lesion: Lesion) -> int:
    """Order of speech: quality (0), disc (1), macula (2), elsewhere (3)."""
    if lesion.places == ("optic disc",):
        return 1
    return 2 if lesion.places == ("macula",) else 3


QUALITY = {
    "good": (0.3, ("Image quality is good.", "Good quality photograph.")),
    "fair": (0.6, ("Image quality is fair, with mild {cause}.",)),
    "poor": (
        0.9,
        ("Image quality is poor owing to {cause}.", "The view is limited by {cause}."),
    ),
}
"""How often the quality of a picture is spoken of, and in which words."""


def _quality(rng: Rng, quality: str, hazy: bool) -> list[Said]:
    chance, choices = QUALITY[quality]
    if rng.random() >= chance:
        return []
    cause = "media opacity" if hazy else "defocus"
    return [(pick(rng, *choices).format(cause=cause), ())]


def _resolved(rng: Rng, kind: str) -> str:
    name = kind.removeprefix("blot ").removeprefix("peripheral ")
    have = "have" if name.endswith(("s", "drusen")) else "has"
    return pick(
        rng,
        f"Previously seen {name} {have} resolved.",
        f"Interval resolution of {name}.",
        f"{capital(name)} of the prior visit {have} cleared.",
    )


def _closing(
    rng: Rng, facts: EyeFacts, states: dict[str, float], eye: str
) -> list[Said]:
    """The impression: a sentence for each diagnosis."""
    closing = []
    for text, labels in diagnoses(rng, facts, states):
        place = pick(rng, "", f", {eye}", f" of the {eye}")
        if "," in text or labels == ("normal",):
            place = pick(rng, "", f" ({eye})")
        closing.append((f"{capital(text)}{place}.", labels))
    sugar = facts.scenario == "diabetes"
    if sugar and states["diabetic retinopathy"] == 0 and rng.random() < 0.8:
        text = pick(
            rng, "No diabetic retinopathy.", "No signs of diabetic retinopathy."
        )
        closing.append((text, RETINOPATHY))
    return closing


def _spoken(
    rng: Rng, facts: EyeFacts, states: dict[str, float], quality: list[Said]
) -> list[Said]:
    """The findings, in order of speech."""
    parts: list[tuple[int, Said]] = [(0, said) for said in quality]
    if facts.glaucoma or rng.random() < 0.8:
        parts.append((1, disc_sentence(rng, facts)))
    for lesion in facts.lesions:
        it = noun(rng, lesion)
        text = statement(rng, STATEMENTS, it, lesion.certain, lesion.change, 0.4)
        parts.append((_group(lesion), (text, (lesion.label,))))
    if facts.beading:
        text = pick(rng, "Venous beading is present.", "There is venous beading.")
        parts.append((3, (text, ())))
    parts += [
        (3, (_resolved(rng, kind), (KINDS[kind],)))
        for kind in facts.resolved
        if states[KINDS[kind]] == 0 and rng.random() < 0.6
    ]
    parts += [(3, said) for said in denials(rng, NEGATIONS, states)]
    if rng.random() < 0.4:
        parts.append((3, (pick(rng, *PHRASES["boilerplate"]), ())))
    return [said for _, said in sorted(parts, key=lambda part: part[0])]


def _caption(
    rng: Rng, facts: EyeFacts, states: dict[str, float], eye: str
) -> list[Said]:
    """One or two sentences that name the eye, the lesions and the diagnoses."""
    opening = pick(
        rng,
        f"Color fundus photograph of the {eye}",
        f"Fundus photograph, {eye},",
        f"Color photograph of the fundus of the {eye}",
    )
    found = diagnoses(rng, facts, states)
    named = listed([text for text, _ in found])
    labels = tuple(dict.fromkeys(name for _, names in found for name in names))
    seen = []
    for lesion in facts.lesions:
        it = noun(rng, lesion)
        seen.append(it.full if lesion.certain else f"possible {it.text}")
    if facts.glaucoma:
        wide = "enlarged" if facts.glaucoma == 1 else "borderline"
        article = "an" if facts.glaucoma == 1 else "a"
        seen.append(f"{article} {wide} cup-to-disc ratio of {facts.cup:.1f}")
    of_lesions = tuple(dict.fromkeys(lesion.label for lesion in facts.lesions))
    if not seen:
        ending = pick(
            rng,
            "showing no abnormality",
            "showing a normal fundus",
            "showing an unremarkable fundus",
            "within normal limits",
        )
        return [(f"{opening} {ending}.", labels)]
    if rng.random() < 0.5:
        both = tuple(dict.fromkeys((*of_lesions, *labels)))
        if facts.glaucoma and "glaucoma" not in both:
            both = (*both, "glaucoma")
        link = pick(rng, "consistent with", "in keeping with")
        return [(f"{opening} showing {listed(seen)}, {link} {named}.", both)]
    first = f"{opening} showing {listed(seen)}."
    second = pick(rng, f"Diagnosis: {named}.", f"{capital(named)}.")
    return [(first, of_lesions), (second, labels)]


def _anglicised(text: str) -> str:
    for word, other in BRITISH.items():
        text = re.sub(rf"(?<![A-Za-z]){word}", other, text)
    return text


def write_report(facts: EyeFacts, quality: str, hazy: bool, rng: Rng) -> WrittenReport:
    """Report on one eye at one visit.

    Args:
        facts: What is drawn.
        quality: Quality of the picture: ``"good"``, ``"fair"`` or ``"poor"``.
        hazy: Whether cloudy media rather than focus limit it.
        rng: Generator of the wording.
    """
    states = label_states(facts)
    eye = f"{facts.eye} eye"
    british = rng.random() < 0.12
    spell = _anglicised if british else str
    if rng.random() < CAPTIONS:
        said = tuple(
            (spell(text), labels) for text, labels in _caption(rng, facts, states, eye)
        )
        text = " ".join(sentence for sentence, _ in said)
        if rng.random() < 0.02:
            text = slip(text, rng)
        report = Report(text=text, findings=text)
        return WrittenReport(report, mentioned(said, states), said, "caption")

    spoken = _spoken(rng, facts, states, _quality(rng, quality, hazy))
    closing = _closing(rng, facts, states, eye)
    # About one report in seven has only one of the two main sections.
    roll = rng.random()
    if roll < 0.07:
        closing = [item for item in spoken if item[1]] + closing
        spoken = []
    elif roll < 0.14:
        spoken, closing = spoken + closing, []
    spoken = [(spell(text), labels) for text, labels in spoken]
    closing = [(spell(text), labels) for text, labels in closing]
    findings, impression = findings_and_impression(rng, spoken, closing, 0.4)
    impression = impression.replace("\n", " ")

    sides = {"right": "OD", "left": "OS"}
    examination = pick(
        rng,
        f"Color fundus photograph, {eye}.",
        f"Color fundus photograph, {sides[facts.eye]}.",
        f"Fundus photography of the {eye} ({sides[facts.eye]}), 45 degrees.",
    )
    if facts.number:
        comparison = pick(
            rng, "Fundus photograph of last year.", "Prior photograph of the same eye."
        )
    else:
        comparison = pick(rng, "None.", "None available.", "")
    indication = reason(rng, facts) if rng.random() < 0.85 else ""
    sections = [
        ("EXAMINATION", spell(examination)),
        (pick(rng, "INDICATION", "INDICATION", "HISTORY"), indication),
        ("COMPARISON", comparison),
        ("FINDINGS", findings),
        ("IMPRESSION", impression),
    ]
    report = Report(
        text="\n".join(f"{head}: {body}" for head, body in sections if body) + "\n",
        indication=indication,
        comparison=comparison,
        findings=findings,
        impression=impression,
    )
    said = (*spoken, *closing)
    return WrittenReport(report, mentioned(said, states), said)

"""From what is drawn to a diagnosis in words, and what is denied or said by habit."""

from __future__ import annotations

import numpy as np

from vlp_zoo.data.phantom.chest.phrases import pick
from vlp_zoo.data.phantom.fundus.facts import EyeFacts
from vlp_zoo.data.phantom.world import Said

__all__ = ["BOILERPLATE", "NEGATIONS", "diagnoses", "disc_sentence", "reason"]

RETINOPATHY = (
    "diabetic retinopathy",
    "referable diabetic retinopathy",
    "proliferative diabetic retinopathy",
)

BOILERPLATE = (
    "The retina is attached where visible.",
    "No retinal tear or detachment is seen.",
    "The vessels follow a normal course.",
    "The retinal arcades are of usual course.",
    "The vessels are of usual branching pattern.",
)
"""True of every phantom."""

NEGATIONS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("microaneurysms", "hemorrhages"),
        (
            "No microaneurysms or hemorrhages are seen.",
            "There are no retinal hemorrhages or microaneurysms.",
            "No hemorrhages or microaneurysms.",
        ),
    ),
    (
        ("hemorrhages",),
        ("No retinal hemorrhage is seen.", "There is no evidence of hemorrhage."),
    ),
    (
        ("hard exudates", "cotton wool spots"),
        (
            "No hard exudates or cotton wool spots.",
            "There are no hard exudates or soft exudates.",
        ),
    ),
    (
        ("cotton wool spots",),
        ("No cotton wool spots are seen.", "There are no cotton wool spots."),
    ),
    (
        ("neovascularization",),
        (
            "There is no neovascularization.",
            "No neovascularization of the disc or elsewhere.",
            "No new vessels are seen.",
        ),
    ),
    (
        ("macular edema",),
        ("No evidence of macular edema.", "There is no macular edema."),
    ),
    (
        ("drusen", "geographic atrophy"),
        (
            "No drusen or geographic atrophy.",
            "There are no drusen or geographic atrophy.",
        ),
    ),
    (("drusen",), ("No drusen are seen.", "There are no drusen.")),
    (
        ("glaucoma",),
        ("There is no evidence of glaucoma.", "No glaucomatous cupping is seen."),
    ),
    (("laser scars",), ("No laser scars are seen.",)),
)


def reason(rng: np.random.Generator, facts: EyeFacts) -> str:
    """Why the patient comes: the INDICATION section."""
    who = f"{facts.age}-year-old {'woman' if facts.sex == 'F' else 'man'}"
    matters = {
        "routine": ("routine examination", "headache", "a new pair of glasses"),
        "diabetes": (
            "type 2 diabetes",
            "diabetes, screening",
            f"diabetes for {5 + facts.patient % 20} years",
        ),
        "glaucoma clinic": (
            "raised intraocular pressure",
            "family history of glaucoma",
            "pressure check",
        ),
        "loss of vision": (
            "blurred central vision",
            "gradual loss of vision",
            "distorted lines",
        ),
    }
    matter = pick(rng, *matters[facts.scenario])
    return pick(rng, f"{who}, {matter}.", f"{who} with {matter}.")


def disc_sentence(rng: np.random.Generator, facts: EyeFacts) -> Said:
    """What the nerve head looks like; the ratio is always stated."""
    ratio = f"{facts.cup:.1f}" if rng.random() < 0.6 else f"{facts.cup:.2f}"
    named = pick(
        rng, "cup-to-disc ratio", "vertical cup-to-disc ratio", "C/D ratio", "CDR"
    )
    if facts.glaucoma == 0:
        text = pick(
            rng,
            f"The optic disc is pink with sharp margins, {named} {ratio}.",
            f"Optic disc margins are sharp with a {named} of {ratio}.",
            f"The {named} is {ratio}.",
            f"Healthy neuroretinal rim, {named} {ratio}.",
        )
        return text, ()
    if facts.glaucoma < 0:
        text = pick(
            rng,
            f"The {named} is {ratio}, suspicious for glaucoma.",
            f"Borderline {named} of {ratio}; glaucoma is suspected.",
            f"Large cup with a {named} of {ratio}, possible glaucoma.",
        )
        return text, ("glaucoma",)
    rim = pick(rng, "with thinning of the neuroretinal rim", "with a thin rim")
    if facts.notch:
        rim = pick(
            rng,
            f"with {facts.notch} notching of the rim",
            f"with a notch of the {facts.notch} rim and a nerve fiber layer defect",
            f"with {facts.notch} rim loss",
        )
    text = pick(
        rng,
        f"Enlarged {named} of {ratio} {rim}, consistent with glaucoma.",
        f"Glaucomatous cupping, {named} {ratio}, {rim}.",
        f"The {named} is increased to {ratio} {rim}, as in glaucoma.",
    )
    return text, ("glaucoma",)


GRADE_WORDS = (
    "",
    "mild nonproliferative diabetic retinopathy",
    "moderate nonproliferative diabetic retinopathy",
    "severe nonproliferative diabetic retinopathy",
    "proliferative diabetic retinopathy",
)
SHORT_WORDS = ("", "mild NPDR", "moderate NPDR", "severe NPDR", "PDR")


def _retinopathy(
    rng: np.random.Generator, facts: EyeFacts, states: dict[str, float]
) -> tuple[str, bool]:
    """A noun phrase without its capital, and whether it must be hedged."""
    known, referable, fresh = (states[name] for name in RETINOPATHY)
    name = GRADE_WORDS[facts.dr_grade]
    if known < 0:
        return name, True
    if fresh < 0:
        least = "at least moderate " if referable == 1 else ""
        maybe = "" if referable == 1 else "moderate or "
        return f"{least}diabetic retinopathy, possibly {maybe}proliferative", False
    if referable < 0:
        word = "moderate" if facts.dr_grade == 2 else "severe"
        return f"diabetic retinopathy, possibly {word}", False
    if rng.random() < 0.25:
        name = SHORT_WORDS[facts.dr_grade]
    elif rng.random() < 0.2:
        name = name.replace("nonprolif", "non-prolif")
    return name, False


def _hedged(rng: np.random.Generator, name: str) -> str:
    return pick(rng, f"possible {name}", f"suspected {name}", f"questionable {name}")


def _degeneration(rng: np.random.Generator, facts: EyeFacts, doubt: bool) -> str:
    kinds = {lesion.kind for lesion in facts.lesions}
    name = pick(rng, "age-related macular degeneration", "AMD")
    if facts.amd != "late":
        text = pick(rng, f"{facts.amd} {name}", f"{facts.amd} dry {name}")
    elif "geographic atrophy" in kinds:
        text = pick(rng, f"late dry {name}", f"advanced atrophic {name}")
    else:
        text = pick(rng, f"exudative {name}", f"wet {name}")
    return _hedged(rng, text) if doubt else text


def diagnoses(
    rng: np.random.Generator, facts: EyeFacts, states: dict[str, float]
) -> list[Said]:
    """Noun phrases without capital or full stop, the gravest first."""
    if states["normal"] == 1:
        text = pick(
            rng,
            "normal fundus",
            "normal fundus photograph",
            "no abnormality detected",
            "unremarkable fundus",
            "fundus within normal limits",
        )
        return [(text, ("normal",))]
    found: list[Said] = []
    if states["diabetic retinopathy"] != 0:
        name, doubt = _retinopathy(rng, facts, states)
        text = _hedged(rng, name) if doubt else name
        labels: tuple[str, ...] = RETINOPATHY
        if facts.change and not doubt:
            word = {
                "progressed": pick(rng, "progressed", "worse than before"),
                "regressed": pick(rng, "regressed", "improved"),
                "unchanged": pick(rng, "unchanged in grade", "of stable grade"),
            }[facts.change]
            text += f", {word}" if rng.random() < 0.7 else ""
        found.append((text, labels))
    edema = states["macular edema"]
    if edema == 1:
        text = pick(rng, "diabetic macular edema", "macular edema", "DME")
        found.append((text, ("macular edema",)))
    elif edema < 0:
        found.append((_hedged(rng, "macular edema"), ("macular edema",)))
    if facts.amd:
        label = "age-related macular degeneration"
        found.append((_degeneration(rng, facts, states[label] < 0), (label,)))
    if facts.glaucoma == 1:
        text = pick(rng, "glaucoma", "glaucomatous optic neuropathy")
        if facts.cup > 0.8:
            text = f"advanced {text}"
        found.append((text, ("glaucoma",)))
    elif facts.glaucoma < 0:
        text = pick(rng, "glaucoma suspect", "possible glaucoma")
        found.append((text, ("glaucoma",)))
    if states["laser scars"] == 1:
        text = pick(
            rng, "status post panretinal photocoagulation", "previous laser treatment"
        )
        found.append((text, ("laser scars",)))
    if states["drusen"] == 1 and not facts.amd:
        text = "hard drusen without macular degeneration"
        found.append((text, ("drusen", "age-related macular degeneration")))
    return found

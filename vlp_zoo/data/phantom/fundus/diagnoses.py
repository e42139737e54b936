"""From what is drawn to a diagnosis in words, and what is denied or said by habit."""

from __future__ import annotations

from vlp_zoo.data.phantom.canvas import Rng
from vlp_zoo.data.phantom.fundus.facts import EyeFacts
from vlp_zoo.data.phantom.wording import denial_table, pick, wordings
from vlp_zoo.data.phantom.world import Said

__all__ = [
    "NEGATIONS",
    "PHRASES",
    "RETINOPATHY",
    "diagnoses",
    "disc_sentence",
    "reason",
]

RETINOPATHY = (
    "diabetic retinopathy",
    "referable diabetic retinopathy",
    "proliferative diabetic retinopathy",
)

PHRASES = wordings("""
boilerplate
    The retina is attached where visible.
    No retinal tear or detachment is seen.
    The vessels follow a normal course.
    The retinal arcades are of usual course.
    The vessels are of usual branching pattern.
routine
    routine examination | headache | a new pair of glasses
diabetes
    type 2 diabetes | diabetes, screening | diabetes for {years} years
glaucoma clinic
    raised intraocular pressure | family history of glaucoma | pressure check
loss of vision
    blurred central vision | gradual loss of vision | distorted lines
ratio
    cup-to-disc ratio | vertical cup-to-disc ratio | C/D ratio | CDR
healthy disc
    The optic disc is pink with sharp margins, {named} {ratio}.
    Optic disc margins are sharp with a {named} of {ratio}.
    The {named} is {ratio}.
    Healthy neuroretinal rim, {named} {ratio}.
suspicious disc
    The {named} is {ratio}, suspicious for glaucoma.
    Borderline {named} of {ratio}; glaucoma is suspected.
    Large cup with a {named} of {ratio}, possible glaucoma.
glaucomatous disc
    Enlarged {named} of {ratio} {rim}, consistent with glaucoma.
    Glaucomatous cupping, {named} {ratio}, {rim}.
    The {named} is increased to {ratio} {rim}, as in glaucoma.
thin rim
    with thinning of the neuroretinal rim
    with a thin rim
notch
    with {notch} notching of the rim
    with a notch of the {notch} rim and a nerve fiber layer defect
    with {notch} rim loss
normal
    normal fundus
    normal fundus photograph
    no abnormality detected
    unremarkable fundus
    fundus within normal limits
hedged
    possible {name} | suspected {name} | questionable {name}
degeneration
    age-related macular degeneration
    AMD
early
    {amd} {name} | {amd} dry {name}
atrophic
    late dry {name} | advanced atrophic {name}
exudative
    exudative {name} | wet {name}
progressed
    progressed | worse than before
regressed
    regressed | improved
unchanged
    unchanged in grade | of stable grade
edema
    diabetic macular edema | macular edema | DME
glaucoma
    glaucoma | glaucomatous optic neuropathy
suspect
    glaucoma suspect | possible glaucoma
laser
    status post panretinal photocoagulation
    previous laser treatment
""")
"""Set phrases, true of every phantom, reasons to come, discs and diagnoses."""

NEGATIONS = denial_table("""
0.5 microaneurysms, hemorrhages
    No microaneurysms or hemorrhages are seen.
    There are no retinal hemorrhages or microaneurysms.
    No hemorrhages or microaneurysms.
0.5 hemorrhages
    No retinal hemorrhage is seen.
    There is no evidence of hemorrhage.
0.5 hard exudates, cotton wool spots
    No hard exudates or cotton wool spots.
    There are no hard exudates or soft exudates.
0.5 cotton wool spots
    No cotton wool spots are seen.
    There are no cotton wool spots.
0.5 neovascularization
    There is no neovascularization.
    No neovascularization of the disc or elsewhere.
    No new vessels are seen.
0.5 macular edema
    No evidence of macular edema.
    There is no macular edema.
0.3 drusen, geographic atrophy
    No drusen or geographic atrophy.
    There are no drusen or geographic atrophy.
0.3 drusen
    No drusen are seen.
    There are no drusen.
0.3 glaucoma
    There is no evidence of glaucoma.
    No glaucomatous cupping is seen.
0.04 laser scars
    No laser scars are seen.
""")
"""What is denied where none of it is present, how often, and in which words."""


def reason(rng: Rng, facts: EyeFacts) -> str:
    """Why the patient comes: the INDICATION section."""
    who = f"{facts.age}-year-old {'woman' if facts.sex == 'F' else 'man'}"
    matter = _say(rng, facts.scenario, years=5 + facts.patient % 20)
    return pick(rng, f"{who}, {matter}.", f"{who} with {matter}.")


def _say(rng: Rng, key: str, **words: object) -> str:
    return pick(rng, *PHRASES[key]).format_map(words)


def disc_sentence(rng: Rng, facts: EyeFacts) -> Said:
    """What the nerve head looks like; the ratio is always stated."""
    ratio = f"{facts.cup:.1f}" if rng.random() < 0.6 else f"{facts.cup:.2f}"
    named = _say(rng, "ratio")
    if facts.glaucoma == 0:
        return _say(rng, "healthy disc", named=named, ratio=ratio), ()
    if facts.glaucoma < 0:
        text = _say(rng, "suspicious disc", named=named, ratio=ratio)
        return text, ("glaucoma",)
    rim = _say(rng, "thin rim")
    if facts.notch:
        rim = _say(rng, "notch", notch=facts.notch)
    text = _say(rng, "glaucomatous disc", named=named, ratio=ratio, rim=rim)
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
    rng: Rng, facts: EyeFacts, states: dict[str, float]
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


def _degeneration(rng: Rng, facts: EyeFacts, doubt: bool) -> str:
    kinds = {lesion.kind for lesion in facts.lesions}
    name = _say(rng, "degeneration")
    form = "atrophic" if "geographic atrophy" in kinds else "exudative"
    form = form if facts.amd == "late" else "early"
    text = _say(rng, form, amd=facts.amd, name=name)
    return _say(rng, "hedged", name=text) if doubt else text


def diagnoses(rng: Rng, facts: EyeFacts, states: dict[str, float]) -> list[Said]:
    """Noun phrases without capital or full stop, the gravest first."""
    if states["normal"] == 1:
        return [(_say(rng, "normal"), ("normal",))]
    found: list[Said] = []
    if states["diabetic retinopathy"] != 0:
        text, doubt = _retinopathy(rng, facts, states)
        if doubt:
            text = _say(rng, "hedged", name=text)
        elif facts.change:
            changes = {
                change: _say(rng, change)
                for change in ("progressed", "regressed", "unchanged")
            }
            text += f", {changes[facts.change]}" if rng.random() < 0.7 else ""
        found.append((text, RETINOPATHY))
    edema = states["macular edema"]
    if edema:
        sure = edema == 1
        text = _say(rng, "edema" if sure else "hedged", name="macular edema")
        found.append((text, ("macular edema",)))
    if facts.amd:
        label = "age-related macular degeneration"
        found.append((_degeneration(rng, facts, states[label] < 0), (label,)))
    if facts.glaucoma:
        text = _say(rng, "glaucoma" if facts.glaucoma == 1 else "suspect")
        if facts.glaucoma == 1 and facts.cup > 0.8:
            text = f"advanced {text}"
        found.append((text, ("glaucoma",)))
    if states["laser scars"] == 1:
        found.append((_say(rng, "laser"), ("laser scars",)))
    if states["drusen"] == 1 and not facts.amd:
        text = "hard drusen without macular degeneration"
        found.append((text, ("drusen", "age-related macular degeneration")))
    return found

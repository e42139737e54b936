"""What ophthalmologists call things: lesions, amounts, places."""

from __future__ import annotations

from vlp_zoo.data.phantom import wording
from vlp_zoo.data.phantom.canvas import Rng
from vlp_zoo.data.phantom.fundus.facts import QUADRANTS, Lesion
from vlp_zoo.data.phantom.wording import Noun, listed, pick, pick_noun, wordings

__all__ = ["LEXICON", "STATEMENTS", "mentions", "noun", "where"]

LEXICON = {
    "normal": r"normal fundus|normal (colou?r )?(fundus|retin)|no abnormality"
    r"|unremarkable|w[a-z]+ normal l[a-z]+",
    "diabetic retinopathy": r"diabetic retinopathy|\bn?pdr\b",
    "referable diabetic retinopathy": r"(moderate|severe|(?<!non)(?<!non-)proliferative)[a-z -]*"
    r"(retinopathy|disease)|(moderate|severe) npdr|\bpdr\b|possibly (moderate|severe)"
    r"|possibly proliferative",
    "proliferative diabetic retinopathy": r"(?<!non)(?<!non-)proliferative|\bpdr\b",
    "macular edema": r"macular o?edema|\bdme\b",
    "glaucoma": r"glaucoma",
    "age-related macular degeneration": r"macular degeneration|\bamd\b",
    "microaneurysms": r"microaneurysm",
    "hemorrhages": r"ha?emorrhage",
    "hard exudates": r"(hard|lipid) exudate|circinate",
    "cotton wool spots": r"cotton[ -]wool|soft exudate",
    "neovascularization": r"neovasculari[sz]ation|new vessel|\bnv[de]\b",
    "drusen": r"drusen",
    "geographic atrophy": r"geographic atrophy|atrophy of the retinal pigment",
    "laser scars": r"laser|photocoagulation",
}
"""Label to a pattern that finds any of the words this world uses for it."""

COUNTS = {
    "mild": ("few", "occasional", "a few"),
    "moderate": ("several", "scattered", "multiple"),
    "severe": ("numerous", "many", "extensive"),
}
SIZES = {"mild": "small", "moderate": "moderate", "severe": "large"}

COUNTED = wordings("""
microaneurysms
    microaneurysms | retinal microaneurysms
blot hemorrhages
    dot and blot hemorrhages
    blot hemorrhages
    intraretinal hemorrhages
    dot-blot hemorrhages
flame hemorrhages
    flame-shaped hemorrhages | flame hemorrhages
hard exudates
    hard exudates | hard exudates | clustered lipid exudates
cotton wool spots
    cotton wool spots | cotton-wool spots | soft exudates
drusen
    {size} drusen | drusen
""")
"""Names of lesions that come in numbers."""

SINGLE = wordings("""
subretinal hemorrhage
    subretinal hemorrhage
preretinal hemorrhage
    preretinal hemorrhage
    boat-shaped preretinal hemorrhage
    subhyaloid hemorrhage
""")
"""Names of lesions that have a size."""

NOUNS = wordings("""
macular exudates
    some {count} hard exudates within one disc diameter of {near}
    some {count} hard exudates in the macula near {near}
    a circinate ring of {count} hard exudates in the macula
geographic atrophy
    a {size} area of geographic atrophy {place}
    a {size} patch of geographic atrophy {place}
    a {size} area of atrophy of the retinal pigment epithelium {place}
laser scars
    some laser scars {place}
    some panretinal photocoagulation scars {place}
    some laser photocoagulation scars {place}
disc hemorrhage
    a splinter hemorrhage at the disc margin
    an optic disc hemorrhage
    a flame-shaped hemorrhage at the margin of the optic disc
disc neovascularization
    neovascularization of the disc
    neovascularization of the optic disc (NVD)
    some new vessels on the disc
peripheral neovascularization
    neovascularization elsewhere (NVE) {place}
    retinal neovascularization {place}
    a frond of new vessels {place}
""")
"""Noun phrases of the other kinds, with their place."""

STATEMENTS = wordings("""
doubtful
    There may be {it.full}.
    Possible {it.text}.
    {it.head} cannot be excluded.
    Questionable {it.text}.
    {it.head} {it.be} suspected but not certain.
new
    New {it.text}.
    {it.head} {it.be} new since the last visit.
    Interval appearance of {it.full}.
unchanged
    Unchanged {it.text}.
    {it.head}, stable.
    {it.head} {it.be} unchanged from the prior photograph.
    Again seen {it.be} {it.full}.
increased
    {it.head}, increased since the prior photograph.
    {it.head} {it.have} increased.
    Interval worsening of {it.full}.
decreased
    {it.head}, decreased since the prior photograph.
    {it.head} {it.have} decreased.
    Interval improvement of {it.full}.
seen
    There {it.be} {it.full}.
    {it.head} {it.be} seen.
    {it.head} {it.be} present.
    {it.head} {it.be} noted.
    {it.alone}.
""")
"""Statements about a kind of lesion, see `wording.statement`."""


def mentions(label: str, text: str) -> bool:
    """Whether a text names a label at all, affirmed or denied."""
    return wording.mentions(LEXICON[label], text)


def where(rng: Rng, places: tuple[str, ...]) -> str:
    """``"in the superotemporal and inferonasal quadrants"``."""
    quarters = [place for place in QUADRANTS if place in places]
    macula = "macula" in places
    if not quarters:
        return pick(rng, "in the macula", "at the macula", "in the macular region")
    if len(quarters) == len(QUADRANTS):
        text = pick(rng, "in all four quadrants", "in all quadrants")
    elif len(quarters) == 1 and not macula and rng.random() < 0.3:
        return f"{quarters[0]}ly"
    else:
        text = f"in the {listed(quarters)} quadrant{'s' if len(quarters) > 1 else ''}"
    return f"{text} and in the macula" if macula else text


def noun(rng: Rng, lesion: Lesion) -> Noun:
    """The noun phrase of a kind of lesion, with place and amount."""
    kind, size, places = lesion.kind, SIZES[lesion.severity], lesion.places
    words = {"size": size, "place": where(rng, places)}
    if kind == "hard exudates" and "macula" in places:
        kind = "macular exudates"
        words["count"] = pick(rng, *COUNTS[lesion.severity]).removeprefix("a ")
        near = ("the fovea", "the foveal center", "the center of the macula")
        words["near"] = pick(rng, *near)
    elif kind == "drusen":
        words["size"] = size.replace("moderate", "medium-sized")
        if "macula" not in places:
            words["size"] = "hard"
    if kind in COUNTED:
        count = pick(rng, *COUNTS[lesion.severity])
        name = pick(rng, *COUNTED[kind]).format_map(words)
        article = "a" if count.startswith("a ") else ""
        text = f"{count.removeprefix('a ')} {name} {where(rng, places)}"
        return Noun(text, article, True)
    if kind in SINGLE:
        return Noun(f"{size} {pick(rng, *SINGLE[kind])} {where(rng, places)}", "a")
    return pick_noun(rng, NOUNS[kind], words)

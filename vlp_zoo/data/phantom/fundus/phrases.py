"""What ophthalmologists call things: lesions, amounts, places."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from vlp_zoo.data.phantom.chest.phrases import Noun, pick, pick_noun
from vlp_zoo.data.phantom.fundus.facts import QUADRANTS, Lesion

__all__ = ["LEXICON", "listed", "mentions", "noun", "statement", "where"]

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


def mentions(label: str, text: str) -> bool:
    """Whether a text names a label at all, affirmed or denied."""
    flat = re.sub(r"\s+", " ", text.lower())
    return re.search(LEXICON[label], flat) is not None


def listed(parts: Sequence[str]) -> str:
    """``"a, b and c"``."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def where(rng: np.random.Generator, places: tuple[str, ...]) -> str:
    """``"in the superotemporal and inferonasal quadrants"``."""
    quarters = [place for place in QUADRANTS if place in places]
    macula = "macula" in places
    if len(quarters) == len(QUADRANTS):
        text = pick(rng, "in all four quadrants", "in all quadrants")
        return f"{text} and in the macula" if macula else text
    if not quarters:
        return pick(rng, "in the macula", "at the macula", "in the macular region")
    if len(quarters) == 1 and not macula and rng.random() < 0.3:
        return f"{quarters[0]}ly"
    plural = "quadrants" if len(quarters) > 1 else "quadrant"
    text = f"in the {listed(quarters)} {plural}"
    return f"{text} and in the macula" if macula else text


def _many(rng: np.random.Generator, lesion: Lesion, *names: str) -> Noun:
    """Lesions that are counted: amount, name, place."""
    count = pick(rng, *COUNTS[lesion.severity])
    article = "a" if count.startswith("a ") else ""
    text = f"{count.removeprefix('a ')} {pick(rng, *names)}"
    return Noun(f"{text} {where(rng, lesion.places)}", article, True)


def _one(rng: np.random.Generator, lesion: Lesion, *names: str) -> Noun:
    """A single lesion: size, name, place."""
    text = f"{SIZES[lesion.severity]} {pick(rng, *names)} {where(rng, lesion.places)}"
    return Noun(text, "a")


def _exudates(rng: np.random.Generator, lesion: Lesion) -> Noun:
    if "macula" not in lesion.places:
        return _many(
            rng, lesion, "hard exudates", "hard exudates", "clustered lipid exudates"
        )
    count = pick(rng, *COUNTS[lesion.severity]).removeprefix("a ")
    near = pick(rng, "the fovea", "the foveal center", "the center of the macula")
    return pick_noun(
        rng,
        Noun(f"{count} hard exudates within one disc diameter of {near}", "", True),
        Noun(f"{count} hard exudates in the macula near {near}", "", True),
        Noun(f"circinate ring of {count} hard exudates in the macula", "a"),
    )


def noun(rng: np.random.Generator, lesion: Lesion) -> Noun:
    """The noun phrase of a kind of lesion, with place and amount."""
    place = where(rng, lesion.places)
    match lesion.kind:
        case "microaneurysms":
            return _many(rng, lesion, "microaneurysms", "retinal microaneurysms")
        case "blot hemorrhages":
            return _many(
                rng,
                lesion,
                "dot and blot hemorrhages",
                "blot hemorrhages",
                "intraretinal hemorrhages",
                "dot-blot hemorrhages",
            )
        case "flame hemorrhages":
            return _many(rng, lesion, "flame-shaped hemorrhages", "flame hemorrhages")
        case "hard exudates":
            return _exudates(rng, lesion)
        case "cotton wool spots":
            return _many(
                rng, lesion, "cotton wool spots", "cotton-wool spots", "soft exudates"
            )
        case "drusen":
            size = "hard" if "macula" not in lesion.places else SIZES[lesion.severity]
            size = {"moderate": "medium-sized"}.get(size, size)
            return _many(rng, lesion, f"{size} drusen", "drusen")
        case "geographic atrophy":
            size = SIZES[lesion.severity]
            return pick_noun(
                rng,
                Noun(f"{size} area of geographic atrophy {place}", "a"),
                Noun(f"{size} patch of geographic atrophy {place}", "a"),
                Noun(
                    f"{size} area of atrophy of the retinal pigment epithelium {place}",
                    "a",
                ),
            )
        case "laser scars":
            return pick_noun(
                rng,
                Noun(f"laser scars {place}", "", True),
                Noun(f"panretinal photocoagulation scars {place}", "", True),
                Noun(f"laser photocoagulation scars {place}", "", True),
            )
        case "disc hemorrhage":
            return pick_noun(
                rng,
                Noun("splinter hemorrhage at the disc margin", "a"),
                Noun("optic disc hemorrhage", "an"),
                Noun("flame-shaped hemorrhage at the margin of the optic disc", "a"),
            )
        case "subretinal hemorrhage":
            return _one(rng, lesion, "subretinal hemorrhage")
        case "preretinal hemorrhage":
            return _one(
                rng,
                lesion,
                "preretinal hemorrhage",
                "boat-shaped preretinal hemorrhage",
                "subhyaloid hemorrhage",
            )
        case "disc neovascularization":
            return pick_noun(
                rng,
                Noun("neovascularization of the disc"),
                Noun("neovascularization of the optic disc (NVD)"),
                Noun("new vessels on the disc", "", True),
            )
        case _:
            return pick_noun(
                rng,
                Noun(f"neovascularization elsewhere (NVE) {place}"),
                Noun(f"retinal neovascularization {place}"),
                Noun(f"frond of new vessels {place}", "a"),
            )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def statement(rng: np.random.Generator, it: Noun, certain: bool, change: str) -> str:
    """One sentence about something that is there.

    Args:
        rng: Generator of the wording.
        it: What is there.
        certain: False to hedge.
        change: Against the prior visit, "" without one.
    """
    head = _capital(it.full)
    if not certain:
        sentence = pick(
            rng,
            f"There may be {it.full}.",
            f"Possible {it.text}.",
            f"{head} cannot be excluded.",
            f"Questionable {it.text}.",
            f"{head} {it.be} suspected but not certain.",
        )
        if change == "unchanged" and rng.random() < 0.4:
            sentence += " This is unchanged."
        return sentence
    match change:
        case "new":
            return pick(
                rng,
                f"New {it.text}.",
                f"{head} {it.be} new since the last visit.",
                f"Interval appearance of {it.full}.",
            )
        case "unchanged":
            return pick(
                rng,
                f"Unchanged {it.text}.",
                f"{head}, stable.",
                f"{head} {it.be} unchanged from the prior photograph.",
                f"Again seen {it.be} {it.full}.",
            )
        case "increased":
            return pick(
                rng,
                f"{head}, increased since the prior photograph.",
                f"{head} {it.have} increased.",
                f"Interval worsening of {it.full}.",
            )
        case "decreased":
            return pick(
                rng,
                f"{head}, decreased since the prior photograph.",
                f"{head} {it.have} decreased.",
                f"Interval improvement of {it.full}.",
            )
    return pick(
        rng,
        f"There {it.be} {it.full}.",
        f"{head} {it.be} seen.",
        f"{head} {it.be} present.",
        f"{head} {it.be} noted.",
        f"{_capital(it.text)}.",
    )

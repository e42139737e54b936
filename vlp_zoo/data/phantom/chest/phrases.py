"""What radiologists call things: nouns, severities, places."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from vlp_zoo.data.phantom.chest.facts import Finding, catheter_route, tube_height

__all__ = [
    "LEXICON",
    "Noun",
    "device_sentence",
    "mentions",
    "noun",
    "pick",
    "pick_noun",
]

FIELD_CM = 40.0
"""Width of the exposed field: turns body units into centimetres."""

LEXICON = {
    "Atelectasis": r"atelecta(sis|tic)|volume loss",
    "Cardiomegaly": r"cardiomegaly|enlarge[a-z]+ (of )?(the )?(heart|cardiac)"
    r"|(heart|cardiac)( silhouette| size)? (is|remains) [a-z ]*enlarged",
    "Consolidation": r"consolidati",
    "Edema": r"edema|vascular congestion|fluid overload",
    "Enlarged Cardiomediastinum": r"mediastin[a-z]+[a-z ]* (widen|enlarg|wide)"
    r"|(widen|enlarg|prominen|wide)[a-z]* (of )?(the )?[a-z ]*mediastin",
    "Fracture": r"fracture",
    "Lung Lesion": r"nodul|\bmass\b|lesion",
    "Lung Opacity": r"opaci|infiltrate|airspace disease",
    "No Finding": r"no [a-z ]*acute|normal chest|\bclear\b|unremarkable",
    "Pleural Effusion": r"effusion|pleural fluid",
    "Pleural Other": r"pleural (thicken|plaque|scar)|apical cap",
    "Pneumonia": r"pneumonia|infectious process",
    "Pneumothorax": r"pneumothora",
    "Support Devices": r"tube|catheter|pacemaker|pacer|\bport\b|port-a-cath|wires|line"
    r"|leads|drain",
}
"""Label to a pattern that finds any of the words this world uses for it."""


def mentions(label: str, text: str) -> bool:
    """Whether a text names a label at all, affirmed or denied."""
    flat = re.sub(r"\s+", " ", text.lower())
    return re.search(LEXICON[label], flat) is not None


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun phrase without article.

    Attributes:
        text: ``"small right pleural effusion"``.
        article: ``"a"``, ``"an"`` or "" for what is not counted.
        plural: Whether the verb is in the plural.
    """

    text: str
    article: str = ""
    plural: bool = False

    @property
    def full(self) -> str:
        """With article."""
        return f"{self.article} {self.text}".strip()

    @property
    def be(self) -> str:
        """``is`` or ``are``."""
        return "are" if self.plural else "is"

    @property
    def have(self) -> str:
        """``has`` or ``have``."""
        return "have" if self.plural else "has"


def pick(rng: np.random.Generator, *choices: str) -> str:
    """One of several wordings."""
    return choices[int(rng.integers(len(choices)))]


def _counted(text: str, plural: bool = False) -> Noun:
    if plural:
        return Noun(text, "", True)
    return Noun(text, "an" if text[:1] in "aeiou" else "a")


SIZES = {
    "mild": ("small",),
    "moderate": ("moderate", "moderate-sized"),
    "severe": ("large",),
}
GRADES = {
    "mild": ("mild", "minimal", "slight"),
    "moderate": ("moderate",),
    "severe": ("severe", "marked"),
}


def _size(rng: np.random.Generator, finding: Finding) -> str:
    return pick(rng, *SIZES[finding.severity])


def _grade(rng: np.random.Generator, finding: Finding) -> str:
    return pick(rng, *GRADES[finding.severity])


def _place(rng: np.random.Generator, finding: Finding) -> str:
    """``"right lower lobe"``: adjectival, before a noun or after "in the"."""
    side, zone = finding.side, finding.zone
    if side == "bilateral":
        return f"bilateral {zone} lung"
    names = {
        "upper": ("upper lobe", "upper lung", "upper lung zone"),
        "mid": ("mid lung", "mid lung zone"),
        "lower": ("lower lobe", "lower lung", "lower lung zone", "basilar"),
        "apical": ("apical",),
    }[zone]
    if side == "right" and zone == "mid":
        names = (*names, "middle lobe")
    return f"{side} {pick(rng, *names)}"


def _where(rng: np.random.Generator, finding: Finding) -> str:
    """``"in the right lower lobe"``."""
    if finding.side == "bilateral":
        return pick(
            rng,
            f"in the {finding.zone} lungs bilaterally",
            f"in both {finding.zone} lungs",
        )
    place = _place(rng, finding)
    if place.endswith("basilar"):
        return f"at the {finding.side} base"
    return f"in the {place}"


def _diameter(finding: Finding) -> str:
    radius = (
        0.042 + 0.05 * (finding.amount - 0.5)
        if finding.kind == "mass"
        else 0.021 + 0.024 * finding.amount
    )
    return f"{2 * radius * FIELD_CM:.1f} cm"


def noun(rng: np.random.Generator, finding: Finding) -> Noun:
    """The noun phrase of a finding other than a device, with place and severity."""
    side, both = finding.side, finding.side == "bilateral"
    match finding.label:
        case "Atelectasis":
            grade = _grade(rng, finding)
            if both:
                text = pick(
                    rng,
                    f"{grade} bibasilar atelectasis",
                    f"{grade} bibasilar linear atelectasis",
                    f"{grade} atelectasis {_where(rng, finding)}",
                )
            else:
                text = pick(
                    rng,
                    f"{grade} {_place(rng, finding)} atelectasis",
                    f"{grade} plate-like atelectasis {_where(rng, finding)}",
                    f"{grade} linear atelectasis {_where(rng, finding)}",
                    f"{grade} {_place(rng, finding)} subsegmental atelectasis",
                )
            return Noun(text)
        case "Cardiomegaly":
            grade = _grade(rng, finding)
            return pick_noun(
                rng,
                Noun(f"{grade} cardiomegaly"),
                Noun(f"{grade} enlargement of the cardiac silhouette"),
                Noun(f"{grade} enlargement of the heart"),
            )
        case "Consolidation":
            size = _size(rng, finding)
            return pick_noun(
                rng,
                _counted(
                    f"{size} dense {_place(rng, finding)} opacity consistent with consolidation"
                ),
                _counted(
                    f"{size} area of consolidative opacity {_where(rng, finding)}"
                ),
                _counted(f"{size} {_place(rng, finding)} consolidative opacity"),
                _counted(
                    f"{size} airspace opacity {_where(rng, finding)} representing consolidation"
                ),
            )
        case "Pneumonia":
            grade = _grade(rng, finding)
            ending = pick(rng, "pneumonia", "pneumonia", "an infectious process")
            link = pick(rng, "consistent with", "compatible with", "representing")
            if not finding.certain:
                link = pick(rng, "concerning for", "suspicious for")
            return pick_noun(
                rng,
                _counted(
                    f"{grade} patchy opacities {_where(rng, finding)} {link} {ending}",
                    True,
                ),
                _counted(
                    f"{grade} patchy {_place(rng, finding)} airspace opacities {link} {ending}",
                    True,
                ),
                _counted(
                    f"{grade} {_place(rng, finding)} multifocal infiltrates {link} pneumonia",
                    True,
                ),
            )
        case "Lung Opacity":
            size = _size(rng, finding)
            return pick_noun(
                rng,
                _counted(f"{size} hazy opacity {_where(rng, finding)}"),
                _counted(f"{size} ground-glass opacity {_where(rng, finding)}"),
                _counted(f"{size} {_place(rng, finding)} hazy opacification"),
            )
        case "Edema":
            grade = _grade(rng, finding)
            return pick_noun(
                rng,
                Noun(f"{grade} pulmonary edema"),
                Noun(f"{grade} bilateral perihilar pulmonary edema"),
                Noun(f"{grade} interstitial pulmonary edema"),
                Noun(f"{grade} pulmonary vascular congestion and edema"),
            )
        case "Enlarged Cardiomediastinum":
            grade = _grade(rng, finding)
            return pick_noun(
                rng,
                Noun(f"{grade} widening of the upper mediastinum"),
                Noun(f"{grade} enlargement of the mediastinal silhouette"),
                Noun(f"{grade} mediastinal widening"),
            )
        case "Lung Lesion":
            where = _where(rng, finding)
            name = finding.kind
            return pick_noun(
                rng,
                _counted(f"{_diameter(finding)} {name} {where}"),
                _counted(f"{_diameter(finding)} rounded {name} {where}"),
                _counted(f"well-defined {name} {where} measuring {_diameter(finding)}"),
                _counted(
                    f"{_place(rng, finding)} {name} measuring {_diameter(finding)}"
                ),
            )
        case "Pleural Effusion":
            size = _size(rng, finding)
            if both:
                return pick_noun(
                    rng,
                    _counted(f"{size} bilateral pleural effusions", True),
                    _counted(f"{size} layering bilateral pleural effusions", True),
                )
            return pick_noun(
                rng,
                _counted(f"{size} {side} pleural effusion"),
                _counted(f"{size} {side}-sided pleural effusion"),
                _counted(f"{size} amount of {side} pleural fluid"),
                _counted(f"{size} pleural effusion on the {side}"),
            )
        case "Pleural Other":
            grade = _grade(rng, finding)
            if finding.zone == "apical":
                return pick_noun(
                    rng,
                    Noun(f"{grade} {side} apical pleural thickening"),
                    Noun(f"{grade} pleural thickening at the {side} apex"),
                    Noun(f"{grade} {side} apical pleural scarring"),
                )
            if finding.kind == "calcified pleural plaque":
                return _counted(
                    f"{grade} calcified pleural plaque along the {side} lateral chest wall"
                )
            return pick_noun(
                rng,
                Noun(f"{grade} {side} lateral pleural thickening"),
                Noun(f"{grade} pleural thickening along the {side} chest wall"),
            )
        case "Pneumothorax":
            size = _size(rng, finding)
            return pick_noun(
                rng,
                _counted(f"{size} {side} apical pneumothorax"),
                _counted(f"{size} {side} pneumothorax"),
                _counted(f"{size} {side}-sided pneumothorax"),
            )
        case _:
            if finding.kind == "clavicle fracture":
                return _counted(f"displaced fracture of the {side} clavicle")
            return pick_noun(
                rng,
                _counted(f"displaced {side} rib fractures", True),
                _counted(f"fractures of multiple {side} lateral ribs", True),
                _counted(f"{side} posterolateral rib fractures", True),
            )


def pick_noun(rng: np.random.Generator, *choices: Noun) -> Noun:
    """One of several noun phrases."""
    return choices[int(rng.integers(len(choices)))]


def device_sentence(rng: np.random.Generator, finding: Finding) -> str:
    """Where a device lies."""
    side = finding.side
    match finding.kind:
        case "endotracheal tube":
            height = f"{tube_height(finding) * FIELD_CM:.1f} cm above the carina"
            return pick(
                rng,
                f"The endotracheal tube terminates {height}.",
                f"Endotracheal tube tip is {height}.",
                f"An ET tube ends {height}.",
            )
        case "enteric tube":
            return pick(
                rng,
                "An enteric tube courses below the diaphragm into the stomach.",
                "The nasogastric tube terminates in the stomach.",
                "Orogastric tube tip projects over the stomach.",
            )
        case "central venous catheter":
            route = catheter_route(finding)
            return pick(
                rng,
                f"A {side} {route} central venous catheter terminates in the SVC.",
                f"{side.capitalize()} {route} line tip projects over the SVC.",
                f"{side.capitalize()}-sided central venous catheter ends in the SVC.",
            )
        case "pacemaker":
            return pick(
                rng,
                f"A {side} chest wall pacemaker has leads in the right atrium and "
                "right ventricle.",
                f"{side.capitalize()}-sided dual-lead pacemaker is in place.",
                f"Dual-chamber pacer over the {side} chest with leads in standard "
                "position.",
            )
        case "port":
            return pick(
                rng,
                f"A {side} chest wall port ends in the SVC.",
                f"{side.capitalize()}-sided Port-A-Cath tip is in the SVC.",
            )
        case "chest tube":
            return pick(
                rng,
                f"A {side} chest tube is in place.",
                f"{side.capitalize()}-sided pleural drain projects over the "
                f"{side} hemithorax.",
            )
        case _:
            return pick(
                rng,
                "Median sternotomy wires are intact.",
                "The patient is status post median sternotomy with intact wires.",
            )

"""What radiologists call things: nouns, severities, places."""

from __future__ import annotations

from vlp_zoo.data.phantom import wording
from vlp_zoo.data.phantom.canvas import Rng
from vlp_zoo.data.phantom.chest.facts import Finding, catheter_route, tube_height
from vlp_zoo.data.phantom.wording import Noun, pick, pick_noun, wordings

__all__ = ["LEXICON", "device_sentence", "mentions", "noun"]

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

NOUNS = wordings("""
bilateral Atelectasis
    {grade} bibasilar atelectasis
    {grade} bibasilar linear atelectasis
    {grade} atelectasis {where}
Atelectasis
    {grade} {place} atelectasis
    {grade} plate-like atelectasis {where}
    {grade} linear atelectasis {where}
    {grade} {place} subsegmental atelectasis
Cardiomegaly
    {grade} cardiomegaly
    {grade} enlargement of the cardiac silhouette
    {grade} enlargement of the heart
Consolidation
    a {size} dense {place} opacity consistent with consolidation
    a {size} area of consolidative opacity {where}
    a {size} {place} consolidative opacity
    a {size} airspace opacity {where} representing consolidation
Pneumonia
    some {grade} patchy opacities {where} {link} {ending}
    some {grade} patchy {place} airspace opacities {link} {ending}
    some {grade} {place} multifocal infiltrates {link} pneumonia
Lung Opacity
    a {size} hazy opacity {where}
    a {size} ground-glass opacity {where}
    a {size} {place} hazy opacification
Edema
    {grade} pulmonary edema
    {grade} bilateral perihilar pulmonary edema
    {grade} interstitial pulmonary edema
    {grade} pulmonary vascular congestion and edema
Enlarged Cardiomediastinum
    {grade} widening of the upper mediastinum
    {grade} enlargement of the mediastinal silhouette
    {grade} mediastinal widening
Lung Lesion
    a {diameter} {kind} {where}
    a {diameter} rounded {kind} {where}
    a well-defined {kind} {where} measuring {diameter}
    a {place} {kind} measuring {diameter}
bilateral Pleural Effusion
    some {size} bilateral pleural effusions
    some {size} layering bilateral pleural effusions
Pleural Effusion
    a {size} {side} pleural effusion
    a {size} {side}-sided pleural effusion
    a {size} amount of {side} pleural fluid
    a {size} pleural effusion on the {side}
apical Pleural Other
    {grade} {side} apical pleural thickening
    {grade} pleural thickening at the {side} apex
    {grade} {side} apical pleural scarring
calcified pleural plaque
    a {grade} calcified pleural plaque along the {side} lateral chest wall
Pleural Other
    {grade} {side} lateral pleural thickening
    {grade} pleural thickening along the {side} chest wall
Pneumothorax
    a {size} {side} apical pneumothorax
    a {size} {side} pneumothorax
    a {size} {side}-sided pneumothorax
clavicle fracture
    a displaced fracture of the {side} clavicle
Fracture
    some displaced {side} rib fractures
    some fractures of multiple {side} lateral ribs
    some {side} posterolateral rib fractures
""")
"""Noun phrases of a label, or of one side, zone or kind of it."""

DEVICES = wordings("""
endotracheal tube
    The endotracheal tube terminates {height} cm above the carina.
    Endotracheal tube tip is {height} cm above the carina.
    An ET tube ends {height} cm above the carina.
enteric tube
    An enteric tube courses below the diaphragm into the stomach.
    The nasogastric tube terminates in the stomach.
    Orogastric tube tip projects over the stomach.
central venous catheter
    A {side} {route} central venous catheter terminates in the SVC.
    {Side} {route} line tip projects over the SVC.
    {Side}-sided central venous catheter ends in the SVC.
pacemaker
    A {side} chest wall pacemaker has leads in the right atrium and right ventricle.
    {Side}-sided dual-lead pacemaker is in place.
    Dual-chamber pacer over the {side} chest with leads in standard position.
port
    A {side} chest wall port ends in the SVC.
    {Side}-sided Port-A-Cath tip is in the SVC.
chest tube
    A {side} chest tube is in place.
    {Side}-sided pleural drain projects over the {side} hemithorax.
sternotomy wires
    Median sternotomy wires are intact.
    The patient is status post median sternotomy with intact wires.
""")
"""Where a device lies."""

WORDS = {
    "size": {
        "mild": ("small",),
        "moderate": ("moderate", "moderate-sized"),
        "severe": ("large",),
    },
    "grade": {
        "mild": ("mild", "minimal", "slight"),
        "moderate": ("moderate",),
        "severe": ("severe", "marked"),
    },
}
ZONES = {
    "upper": ("upper lobe", "upper lung", "upper lung zone"),
    "mid": ("mid lung", "mid lung zone"),
    "lower": ("lower lobe", "lower lung", "lower lung zone", "basilar"),
    "apical": ("apical",),
}


def mentions(label: str, text: str) -> bool:
    """Whether a text names a label at all, affirmed or denied."""
    return wording.mentions(LEXICON[label], text)


class _Words(dict[str, str]):
    """What fills the templates: severity is drawn once, places each time."""

    def __init__(self, rng: Rng, finding: Finding) -> None:
        super().__init__(side=finding.side, kind=finding.kind)
        self._rng = rng
        self._finding = finding

    def __missing__(self, key: str) -> str:
        finding, rng = self._finding, self._rng
        match key:
            case "place":
                return self._place()
            case "where":
                return self._where()
            case "diameter":
                return f"{2 * finding.radius * FIELD_CM:.1f} cm"
            case "height":
                return f"{tube_height(finding) * FIELD_CM:.1f}"
            case "route":
                return catheter_route(finding)
            case "Side":
                return finding.side.capitalize()
        self[key] = pick(rng, *WORDS[key][finding.severity])
        return self[key]

    def _place(self) -> str:
        """``"right lower lobe"``: adjectival, before a noun or after "in the"."""
        side, zone = self._finding.side, self._finding.zone
        if side == "bilateral":
            return f"bilateral {zone} lung"
        names = ZONES[zone]
        if side == "right" and zone == "mid":
            names = (*names, "middle lobe")
        return f"{side} {pick(self._rng, *names)}"

    def _where(self) -> str:
        """``"in the right lower lobe"``."""
        side, zone = self._finding.side, self._finding.zone
        if side == "bilateral":
            both = (f"in the {zone} lungs bilaterally", f"in both {zone} lungs")
            return pick(self._rng, *both)
        place = self._place()
        return f"at the {side} base" if place.endswith("basilar") else f"in the {place}"


def noun(rng: Rng, finding: Finding) -> Noun:
    """The noun phrase of a finding other than a device, with place and severity."""
    words = _Words(rng, finding)
    if finding.label == "Lung Lesion":
        words["where"] = words["where"]
    elif finding.label == "Pneumonia":
        words["grade"] = words["grade"]
        words["ending"] = pick(rng, "pneumonia", "pneumonia", "an infectious process")
        words["link"] = pick(rng, "consistent with", "compatible with", "representing")
        if not finding.certain:
            words["link"] = pick(rng, "concerning for", "suspicious for")
    label = finding.label
    keys = (f"{finding.zone} {label}", f"{finding.side} {label}", finding.kind, label)
    return pick_noun(rng, NOUNS[next(key for key in keys if key in NOUNS)], words)


def device_sentence(rng: Rng, finding: Finding) -> str:
    """Where a device lies."""
    return pick(rng, *DEVICES[finding.kind]).format_map(_Words(rng, finding))

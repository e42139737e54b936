"""Which regions a statement is about, where its words leave it open: readable tables.

The rules that ASG's authors designed with radiologists (arXiv 2403.09294) were not
released; these are ours. Sites are those of `anatomy`: "lung" stands for the right and
the left lung unless a side is named.
"""

from __future__ import annotations

from vlp_zoo.reports.words.anatomy import PAIRED_SITES, SINGLE_SITES

__all__ = ["ALWAYS_AT", "TAG_SITES", "lung_of", "regions_at"]

ALWAYS_AT: dict[str, tuple[str, ...]] = {
    r"(?:endotracheal|et|tracheostomy|trach) tubes?|ett|tracheostomy": ("trachea",),
    (
        r"(?:enteric|nasogastric|orogastric|feeding|ng|og|gastric|dobhoff)(?: \w+)?"
        r" tubes?|ngt|dobhoff"
    ): ("mediastinum", "abdomen"),
    r"(?:chest|thoracostomy|pleural)(?: \w+)? tubes?": ("lung",),
    r"(?:cardiac )?pace-?makers?|pacers?": ("cardiac silhouette", "upper lung zone"),
    r"(?:chest wall |infusion |power )?ports?(?:-?a-?cath\w*)?": (
        "svc",
        "upper lung zone",
    ),
    r"(?:sternotomy |sternal |cerclage )?wires?": ("mediastinum",),
    r"cardiomegaly|.*\b(?:heart|cardiac|cardiopericardial)\b.*": (
        "cardiac silhouette",
    ),
    r".*\bcardio-?mediastin.*": ("cardiac silhouette", "mediastinum"),
    r".*\bmediastin.*": ("upper mediastinum", "mediastinum"),
}
"""Mentions that say by themselves where they are, whatever else the sentence names."""

_IN_A_LUNG = """
opacity atelectasis consolidation pneumonia infiltration collapse aerate aspiration
marking emphysema hyperinflate nodule mass lesion scar fracture drainage
"""
TAG_SITES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((*_IN_A_LUNG.split(), "pleural thicken"), ("lung",)),
    "pleural effusion": ("costophrenic angle",),
    "blunt": ("costophrenic angle",),
    "pneumothorax": ("apical zone", "lung"),
    "edema": ("hilar structures", "lung"),
    "engorgement": ("hilar structures", "lung"),
    "cardiomegaly": ("cardiac silhouette",),
    "enlarged cardiomediastinum": ("upper mediastinum", "mediastinum"),
    "pacemaker": ("cardiac silhouette",),
    "line": ("svc",),
    "hernia": ("mediastinum", "abdomen"),
    "shift": ("mediastinum",),
}
"""Tag to the sites it is at where the sentence names none, or only "lung" ("pulmonary
edema"); other tags have no place."""


def regions_at(side: str, sites: tuple[str, ...]) -> tuple[str, ...]:
    """The regions that sites on a side stand for.

    Args:
        side: ``"left"``, ``"right"``, ``"bilateral"``, or "" = both sides.
        sites: Keys of `anatomy.PAIRED_SITES` or `SINGLE_SITES`.

    >>> regions_at("left", ("costophrenic angle", "cardiac silhouette"))
    ('left costophrenic angle', 'cardiac silhouette')
    """
    sides = (side,) if side in ("left", "right") else ("right", "left")
    found: list[str] = []
    for site in sites:
        if site in SINGLE_SITES:
            found.append(site)
        elif site in PAIRED_SITES:
            found += [f"{one} {site}" for one in sides]
    return tuple(found)


def lung_of(region: str) -> str | None:
    """The lung that a zone is part of; None for the lungs and all else.

    >>> lung_of("left lower lung zone")
    'left lung'
    """
    side, _, site = region.partition(" ")
    parts = ("zone", "costophrenic angle", "hilar structures")
    return f"{side} lung" if site.endswith(parts) else None

"""Where a finding is: words to the 29 regions of Chest ImaGenome, as tables.

A region is named with its side in front, as in the boxes of `vlp_zoo.types.Box`:
"right lower lung zone". Sides are the patient's.
"""

from __future__ import annotations

__all__ = [
    "DEFAULT_SITES",
    "PAIRED_SITES",
    "REGIONS",
    "SIDES",
    "SINGLE_SITES",
    "WHOLE_LUNG",
    "regions_of",
]

PAIRED_SITES: dict[str, tuple[str, ...]] = {
    "costophrenic angle": (r"costophrenic(?: angles?| sulc[iu]s?| recess(?:es)?)?",),
    "hilar structures": (r"(?:peri|supra|infra)?hil(?:um|a|ar)",),
    "apical zone": (r"apex|apices|(?:bi|sub)?apical",),
    "upper lung zone": (r"upper (?:lobes?|lungs?|zones?)(?: zones?| fields?)?",),
    "mid lung zone": (
        r"mid(?:dle)?[ -](?:lungs?|zones?)(?: zones?| fields?)?",
        r"middle lobe",
        r"lingula(?:r)?",
    ),
    "lower lung zone": (
        r"lower (?:lobes?|lungs?|zones?)(?: zones?| fields?)?",
        r"(?:lung |lower )?bases?",
        r"(?:bi)?basilar",
        r"(?:bi)?basal",
        r"retrocardiac",
    ),
    "hemidiaphragm": (r"(?:hemi)?diaphragms?(?:atic)?",),
    "clavicle": (r"clavic(?:les?|ular)",),
    "lung": (
        r"lungs?",
        r"hemithora(?:x|ces)",
        r"pulmonary",
        r"parenchym(?:a|al)",
    ),
}
"""Site to its words; the region is the side followed by the site."""

SINGLE_SITES: dict[str, tuple[str, ...]] = {
    "trachea": (r"trache(?:a|al)",),
    "spine": (r"(?:t-)?spin(?:e|al)|vertebra(?:e|l)?|thoracolumbar|dis[ck]",),
    "aortic arch": (r"aort(?:a|ic)(?: arch| knob)?",),
    "upper mediastinum": (r"(?:upper|superior) mediastin(?:um|al)|paratracheal",),
    "mediastinum": (r"mediastin(?:um|al)",),
    "svc": (r"svc|superior vena cava",),
    "cavoatrial junction": (r"cavo-?atrial(?: junction)?",),
    "right atrium": (r"right atri(?:um|al)",),
    "carina": (r"carina(?:l)?",),
    "cardiac silhouette": (r"heart|cardiac|cardiopericardial",),
    "abdomen": (r"abdom(?:en|inal)|stomach|gastric",),
}

REGIONS: tuple[str, ...] = (
    *(f"{side} {site}" for side in ("right", "left") for site in PAIRED_SITES),
    *SINGLE_SITES,
)
"""The 29 region names."""

SIDES: dict[str, tuple[str, ...]] = {
    "bilateral": (
        r"bilateral(?:ly)?",
        r"both",
        r"bi(?:basilar|basal|apical)",
        r"(?:right|left) (?:and|greater than|more than|>) (?:the )?(?:left|right)",
    ),
    "left": (
        r"left(?:[ -]sided)?(?! (?:atri|ventric|heart|main))",
        r"lingula(?:r)?|retrocardiac",
    ),
    "right": (
        r"right(?:[ -]sided)?(?! (?:atri|ventric|heart|main))",
        r"middle lobe",
    ),
}

WHOLE_LUNG: frozenset[str] = frozenset({"low lung volume", "hyperinflation"})
"""Findings of the lungs as a whole: of both unless a side is named."""

DEFAULT_SITES: dict[str, str] = {
    "cardiomegaly": "cardiac silhouette",
    "aortic abnormality": "aortic arch",
    "enlarged mediastinum": "mediastinum",
    "spine degenerative": "spine",
    "pleural effusion": "costophrenic angle",
}
"""Where a finding sits when the text names no site; a side is still needed."""


def regions_of(side: str, sites: tuple[str, ...], finding: str) -> tuple[str, ...]:
    """The regions that a side and the sites named with it stand for.

    Args:
        side: ``"left"``, ``"right"``, ``"bilateral"`` or "".
        sites: Keys of `PAIRED_SITES` or `SINGLE_SITES`.
        finding: Decides the site where none is named.

    Returns:
        Names of `REGIONS`; none where a paired site has no side.

    >>> regions_of("left", (), "pleural effusion")
    ('left costophrenic angle',)
    """
    if finding in WHOLE_LUNG:
        side, sites = side or "bilateral", ("lung",)
    sides = ("right", "left") if side == "bilateral" else (side,) if side else ()
    named = tuple(site for site in sites if site != "lung") or sites[:1]
    single = [site for site in named if site in SINGLE_SITES]
    paired = [site for site in named if site in PAIRED_SITES]
    if not named:
        site = DEFAULT_SITES.get(finding, "lung" if side else "")
        single = [site] if site in SINGLE_SITES else []
        paired = [site] if site in PAIRED_SITES else []
    return (*(f"{one} {site}" for site in paired for one in sides), *single)

"""Data sets that share images with each other, and what that does to a score.

An encoder that was pre-trained on a data set has seen the images of every other data
set that was made from it. `OVERLAPS` says which were made from which, as their papers
and releases tell; `contamination` asks it for an encoder and a data set to evaluate on.
That two names are not in the table proves nothing: ``vlpzoo audit`` compares pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "OVERLAPS",
    "Contamination",
    "Overlap",
    "contamination",
    "plain_name",
    "related",
]


Kind = Literal["subset", "member", "shares"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """One fact: images of ``part`` are in ``whole``.

    Attributes:
        part: The smaller or later data set.
        whole: The data set its images are from, or the pool it is a member of.
        kind: ``"subset"``: drawn from the images of the other, so that two subsets of
            one data set may share images; ``"member"``: taken into a pool whole, beside
            others; ``"shares"``: some images are in both.
        mechanism: How it came about.
        detect: ``"patient_id"``, ``"image_id"``, ``"hash"`` (identifiers were
            replaced: only pixels tell), ``"mapping"`` (a published table of ids) or
            ``"name"`` (of the data set).
    """

    part: str
    whole: str
    kind: Kind
    mechanism: str
    detect: tuple[str, ...]


_PARTS: dict[tuple[str, Kind, tuple[str, ...]], dict[str, str]] = {
    ("nih14", "subset", ("mapping", "hash")): {
        "rsna": "all 30,000 images are ChestX-ray14's, annotated again",
    },
    ("nih14", "subset", ("hash",)): {
        "siim": "drawn from the same archive under new names",
    },
    ("nih14", "subset", ("image_id",)): {
        "chestx_det": "ChestX-ray14 images with instance masks",
        "nih_google": "ChestX-ray14 images read again by radiologists",
        "nih_lt": "ChestX-ray14 with more labels and another split",
    },
    ("covidx", "member", ("image_id", "hash")): {
        "rsna": "normal and pneumonia images of COVIDx are RSNA's",
        "ricord": "COVID images of COVIDx's test set are RICORD's",
        "covid_image_collection": "COVID images of COVIDx's training set are from the "
        "collection",
    },
    ("mimic_cxr", "subset", ("image_id", "patient_id")): {
        "ms_cxr": "MIMIC-CXR images with boxes for phrases",
        "cxr_lt": "MIMIC-CXR with more labels and another split",
        "chest_imagenome": "scene graphs of MIMIC-CXR images",
        "reflacx": "gaze on MIMIC-CXR images",
        "mimic_5x200": "a selection for zero-shot classification",
    },
    ("chexpert", "subset", ("patient_id",)): {
        "chexlocalize": "masks on CheXpert's validation and test images",
        "chexpert_5x200": "a selection from CheXpert's training set",
        "chexpert_plus": "the same studies with reports and DICOM",
    },
    ("tbx11k", "member", ("image_id", "hash")): dict.fromkeys(
        ("shenzhen", "montgomery", "da_tb", "db_tb"),
        "bundled with TBX11K's extra images",
    ),
    ("mured", "member", ("image_id", "hash")): dict.fromkeys(
        ("rfmid", "stare", "aria"), "MuReD is re-packed from RFMiD, STARE and ARIA"
    ),
    ("messidor", "shares", ("hash",)): {
        "riga": "460 of RIGA's images are MESSIDOR's",
        "messidor2": "MESSIDOR-2 extends MESSIDOR with images of the same archive",
    },
    ("flair_pool", "member", ("name",)): dict.fromkeys(
        (
            *("eyepacs", "idrid", "rfmid", "jsiec", "deepeyenet", "lag", "odir"),
            *("papila", "paraguay", "stare", "aria", "agar300", "aptos", "fund_oct"),
            *("diaretdb1", "drions_db", "drishti_gs1", "e_ophtha", "g1020", "hrf"),
            *("origa", "roc", "brset", "oia_ddr", "airogs", "sustech_sysu", "jichi"),
            *("chaksu", "dr12", "cataract", "scardat"),
        ),
        "in the pool that FLAIR and KeepFIT are pre-trained on",
    ),
}
"""Whole, kind and how to detect it, to parts with their mechanism."""

OVERLAPS: tuple[Overlap, ...] = tuple(
    Overlap(part, whole, kind, mechanism, detect)
    for (whole, kind, detect), parts in _PARTS.items()
    for part, mechanism in parts.items()
)

_OTHER_NAMES = {
    "nih14": "nihchestxray14 chestxray14 chestxray8 nih nihcxr14",
    "rsna": "rsnapneumonia",
    "siim": "siimacr siimacrpneumothorax siimpneumothorax",
    "mimic_cxr": "mimic mimiccxrjpg mimiccxrv2",
    "chexpert": "chexpertv1 chexpertsmall",
    "covidx": "covidx9a covidxcxr covidxcxr2 covidxcxr3 covidxcxr4",
    "covid_image_collection": "covidchestxray",
    "odir": "odir5k",
    "aptos": "aptos2019",
    "messidor": "messidor1",
    "riga": "rigaplus",
    "flair_pool": "flair keepfit",
    "jsiec": "1000x39",
    "deepeyenet": "den",
}


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_KNOWN = {_bare(name): name for o in OVERLAPS for name in (o.part, o.whole)}
_KNOWN |= {other: name for name, row in _OTHER_NAMES.items() for other in row.split()}


def plain_name(name: str) -> str:
    """The name that the table uses for a data set, or the name as it is.

    Example:
        >>> plain_name("NIH ChestX-ray14"), plain_name("MS-CXR"), plain_name("mine")
        ('nih14', 'ms_cxr', 'mine')
    """
    return _KNOWN.get(_bare(name), name)


@dataclass(frozen=True, slots=True)
class Contamination:
    """Why a score on a data set may be too high.

    Attributes:
        source: What the encoder was pre-trained on, as given.
        dataset: What it is evaluated on, as given.
        certain: Images are shared by construction; else they may be.
        chain: Names from source to data set, those between included.
        mechanism: In words.
        detect: How to find out which images, as of `Overlap`.
    """

    source: str
    dataset: str
    certain: bool
    chain: tuple[str, ...]
    mechanism: str
    detect: tuple[str, ...]


def contamination(sources: Iterable[str], dataset: str) -> list[Contamination]:
    """Which pre-training sources of an encoder share images with a data set.

    Args:
        sources: Names of data sets, or of pools such as ``"flair"``.
        dataset: What the encoder is to be evaluated on.

    Returns:
        One finding per source that overlaps, certain ones first.

    Example:
        >>> for found in contamination(["NIH ChestX-ray14", "chexpert"], "covidx"):
        ...     print(found.certain, " > ".join(found.chain))
        True nih14 > rsna > covidx
    """
    found = [
        finding
        for source in dict.fromkeys(sources)
        if (finding := related(source, dataset)) is not None
    ]
    return sorted(found, key=lambda finding: not finding.certain)


def related(source: str, dataset: str) -> Contamination | None:
    """What the table says of two data sets, in either order; None for nothing."""
    a, b = plain_name(source), plain_name(dataset)
    if a == b:
        return Contamination(
            source, dataset, True, (a,), "the same data set", ("name",)
        )
    downs, others = _inside(a), _inside(b)
    # Shared images are those of something that is inside of both.
    common = [name for name in downs if name in others]
    if common:
        middle = min(common, key=lambda n: (len(downs[n]) + len(others[n]), n))
        links = [*downs[middle], *reversed(others[middle])]
        return _finding(source, dataset, a, links, certain=True)
    # Two selections from one data set, or neighbours of a shared archive.
    ups = {o.whole: o for o in OVERLAPS if o.part == a and o.kind != "member"}
    for name, path in others.items():
        for link in OVERLAPS:
            if link.part == name and link.kind != "member" and link.whole in ups:
                both = [ups[link.whole], link, *reversed(path)]
                return _finding(source, dataset, a, both, certain=False)
    return None


def _inside(name: str) -> dict[str, list[Overlap]]:
    """What is inside of a data set, itself included, with the links that lead there.

    A "shares" link is entered from both ends, but no link is followed from its far end.
    """
    reached: dict[str, list[Overlap]] = {name: []}
    queue = [name]
    while queue:
        whole = queue.pop(0)
        for link in OVERLAPS:
            if link.whole != whole or link.part in reached:
                continue
            if link.kind == "shares" and whole != name:
                continue
            reached[link.part] = [*reached[whole], link]
            if link.kind != "shares":
                queue.append(link.part)
    return reached


def _finding(
    source: str, dataset: str, start: str, links: list[Overlap], *, certain: bool
) -> Contamination:
    chain = [start]
    for link in links:
        chain.append(link.whole if link.part == chain[-1] else link.part)
    words = "; ".join(dict.fromkeys(link.mechanism for link in links))
    if not certain:
        words = f"both were drawn from {links[0].whole}: {words}"
    detect = tuple(dict.fromkeys(way for link in links for way in link.detect))
    return Contamination(source, dataset, certain, tuple(chain), words, detect)

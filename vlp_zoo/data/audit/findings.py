"""The audit itself: patients, copies, contradictions and files, as one list of findings.

`audit` takes data sets as mappings from split to source, looks at every image once and
says what it found. Four grades, worst first:

* ``leak``: a patient or study in two splits, or copies of an image in two splits,
  of one data set or of two.
* ``twin``: copies inside of one split, or in two data sets on the same side.
* ``contradiction``: copies with different labels (exact and near ones only; a crop
  may have lost what its label names, a mirrored copy swaps the sides).
* ``unreadable``: files that are missing, empty, truncated, undecodable or blank.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vlp_zoo.data.audit.prints import Prints, grey_pixels, look_at_all
from vlp_zoo.data.audit.twins import Twin, find_twins
from vlp_zoo.data.records import split_sha256
from vlp_zoo.data.studies import FileStudies
from vlp_zoo.overlaps import related
from vlp_zoo.types import StudySource

__all__ = ["GRADES", "SCHEMA", "Audit", "Finding", "Image", "audit"]

SCHEMA = 1
"""Version of `Audit.to_dict`; goes up when a key changes its meaning or goes away."""

Grade = Literal["leak", "twin", "contradiction", "unreadable"]
GRADES: tuple[Grade, ...] = ("leak", "twin", "contradiction", "unreadable")
"""Worst first."""

Splits = Mapping[str, StudySource]


@dataclass(frozen=True, slots=True)
class Image:
    """Where one image stands.

    Attributes:
        dataset: Name of the data set.
        split: Name of the split.
        index: In the source of that split.
        uid: Identifier of the image in its source.
        patient_id: Identifier of the patient in its source.
        study_id: Identifier of the study in its source; "" where it has none.
        path: Path of the image file; "" for synthetic images.
        row: Line in its table; 0 where there is none.
    """

    dataset: str
    split: str
    index: int
    uid: str
    patient_id: str
    study_id: str
    path: str
    row: int


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        grade: One of `GRADES`.
        kind: ``"patients"``, ``"studies"``, ``"copies"``, ``"labels"`` or ``"file"``.
        summary: One sentence.
        images: Indices into the images of the audit.
        twins: The pairs that hold copies together.
        details: Ids, labels, reasons: what a program wants to know.
    """

    grade: Grade
    kind: str
    summary: str
    images: tuple[int, ...] = ()
    twins: tuple[Twin, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Audit:
    """All that was looked at, and what was found.

    Attributes:
        datasets: Name to split to source, the data that was audited.
        images: All images, in the order of data sets and splits.
        prints: One per image.
        findings: Worst grade first.
    """

    datasets: Mapping[str, Splits]
    images: tuple[Image, ...]
    prints: Prints
    findings: tuple[Finding, ...]

    def count(self, grade: str) -> int:
        """Findings of one grade."""
        return sum(finding.grade == grade for finding in self.findings)

    def reaches(self, grade: str) -> bool:
        """Whether there is a finding of this grade or a worse one."""
        return any(self.count(g) for g in GRADES[: GRADES.index(_known(grade)) + 1])

    def to_dict(self) -> dict[str, Any]:
        """All of it for a file: counts, ids, hashes, findings; no pixels."""
        return {
            "schema": SCHEMA,
            "datasets": {
                name: _describe(splits) for name, splits in self.datasets.items()
            },
            "related": _related(list(self.datasets)),
            "counts": {grade: self.count(grade) for grade in GRADES},
            "findings": [self._finding(finding) for finding in self.findings],
        }

    def _finding(self, finding: Finding) -> dict[str, Any]:
        return {
            "grade": finding.grade,
            "kind": finding.kind,
            "summary": finding.summary,
            "images": [_place_of(self.images[i]) for i in finding.images],
            "pairs": [
                {
                    **asdict(twin),
                    "first": finding.images.index(twin.first),
                    "second": finding.images.index(twin.second),
                }
                for twin in finding.twins
            ],
            **finding.details,
        }


def _known(grade: str) -> Grade:
    return next(g for g in GRADES if g == grade)


def _place_of(image: Image) -> dict[str, Any]:
    return {name: value for name, value in asdict(image).items() if name != "index"}


def audit(
    datasets: Mapping[str, Splits],
    *,
    crops: bool = True,
    workers: int | None = None,
    progress: bool = True,
) -> Audit:
    """Look for leaks, copies, contradictions and bad files.

    Args:
        datasets: Name to the sources of its splits. Patients and studies are compared
            within a data set, and between two that are known to use the same ids;
            images are compared with all others.
        crops: Look for cropped copies too.
        workers: Threads; None = one per core.
        progress: Show a bar on a terminal.
    """
    images = tuple(_images(datasets))
    prints = look_at_all(
        (source for splits in datasets.values() for source in splits.values()),
        workers=workers,
        progress=progress,
    )

    def read(i: int) -> npt.NDArray[np.uint8]:
        image = images[i]
        return grey_pixels(datasets[image.dataset][image.split], image.index)

    twins = find_twins(prints, read if crops else None, workers=workers)
    labels = _labels(datasets)
    findings = [
        *_shared_ids(images),
        *_copies(images, twins),
        *_contradictions(images, twins, labels),
        *_files(images, prints),
    ]
    findings.sort(key=lambda finding: GRADES.index(finding.grade))
    return Audit(datasets, images, prints, tuple(findings))


def _images(datasets: Mapping[str, Splits]) -> Iterator[Image]:
    for name, splits in datasets.items():
        for split, source in splits.items():
            studies = getattr(source, "study_ids", None)
            files = source if isinstance(source, FileStudies) else None
            for i, uid in enumerate(source.uids):
                yield Image(
                    name,
                    split,
                    i,
                    uid,
                    source.patient_ids[i],
                    studies[i] if studies else "",
                    str(files.images[i]) if files else "",
                    files.rows[i] if files else 0,
                )


def _shared_ids(images: Sequence[Image]) -> Iterator[Finding]:
    """Patients and studies on two sides."""
    for kind, attribute in (("patients", "patient_id"), ("studies", "study_id")):
        where: dict[tuple[str, str], dict[str, list[int]]] = {}
        for i, image in enumerate(images):
            if value := getattr(image, attribute):
                side = where.setdefault((image.dataset, image.split), {})
                side.setdefault(value, []).append(i)
        for one, other in combinations(where, 2):
            if one[0] != other[0] and not _same_ids(one[0], other[0]):
                continue
            shared = sorted(set(where[one]) & set(where[other]))
            if not shared:
                continue
            counts = [sum(len(where[s][v]) for v in shared) for s in (one, other)]
            # Between data sets, the same side is no leak but the same people twice.
            grade: Grade = "leak" if one[1] != other[1] else "twin"
            places = " and ".join(
                _place(side, one[0] == other[0]) for side in (one, other)
            )
            yield Finding(
                grade,
                kind,
                f"{_number(len(shared), kind)} in both {places} "
                f"({counts[0]} and {counts[1]} images)",
                details={"between": [list(one), list(other)], "ids": shared},
            )


def _number(n: int, plural: str) -> str:
    singular = {"patients": "patient", "studies": "study"}.get(plural, plural)
    return f"{n} {singular if n == 1 else plural}"


def _place(side: tuple[str, str], same: bool) -> str:
    return side[1] + (f" of {side[0]}" if not same else "")


def _same_ids(one: str, other: str) -> bool:
    known = related(_base(one), _base(other))
    return known is not None and "patient_id" in known.detect


def _base(name: str) -> str:
    return name.partition(":")[0]


def _related(names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "between": [one, other],
            "certain": known.certain,
            "chain": list(known.chain),
            "mechanism": known.mechanism,
            "detect": list(known.detect),
        }
        for one, other in combinations(names, 2)
        if _base(one) != _base(other)
        and (known := related(_base(one), _base(other))) is not None
    ]


def _copies(images: Sequence[Image], twins: Sequence[Twin]) -> Iterator[Finding]:
    for members, pairs in _groups(twins):
        shown = [images[i] for i in members]
        sides = list(dict.fromkeys((image.dataset, image.split) for image in shown))
        splits = {split for _, split in sides}
        sets = {dataset for dataset, _ in sides}
        kinds = Counter(pair.kind for pair in pairs)
        what = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
        patients = len({(image.dataset, image.patient_id) for image in shown})
        where = " and ".join(_place(side, len(sets) == 1) for side in sides)
        listed = len({image.path for image in shown if image.path}) == 1
        yield Finding(
            "leak" if len(splits) > 1 else "twin",
            "copies",
            f"{len(members)} copies ({what}) in {where}"
            + (f", {patients} patients" if patients > 1 and len(sets) == 1 else "")
            + (": one file, listed again" if listed else ""),
            members,
            pairs,
            {"sides": [list(side) for side in sides], "patients": patients},
        )


def _contradictions(
    images: Sequence[Image],
    twins: Sequence[Twin],
    labels: Mapping[str, npt.NDArray[np.float32]],
) -> Iterator[Finding]:
    close = [twin for twin in twins if twin.kind in ("exact", "near")]
    for members, pairs in _groups(close):
        disputed: dict[str, dict[str, list[str]]] = {}
        for name, column in labels.items():
            values = column[list(members)]
            if (values == 0).any() and (values == 1).any():
                disputed[name] = {
                    word: [images[i].uid for i in members if column[i] == value]
                    for word, value in (("1", 1), ("0", 0))
                }
        if disputed:
            yield Finding(
                "contradiction",
                "labels",
                f"{len(members)} copies disagree on {', '.join(disputed)}",
                members,
                pairs,
                {"labels": disputed},
            )


def _files(images: Sequence[Image], prints: Prints) -> Iterator[Finding]:
    for i, reason in enumerate(prints.reasons):
        if reason:
            image = images[i]
            yield Finding(
                "unreadable",
                "file",
                f"{reason}: {image.path or image.uid} in {image.split} "
                f"of {image.dataset}",
                (i,),
                details={"reason": reason},
            )


def _labels(datasets: Mapping[str, Splits]) -> dict[str, npt.NDArray[np.float32]]:
    """Label name to (N,) over all images; NaN where unknown or not a label there."""
    total = sum(len(s) for splits in datasets.values() for s in splits.values())
    columns: dict[str, npt.NDArray[np.float32]] = {}
    start = 0
    for splits in datasets.values():
        for source in splits.values():
            for k, name in enumerate(source.label_names):
                key = name.strip().lower().replace(" ", "_")
                column = columns.setdefault(key, np.full(total, np.nan, np.float32))
                column[start : start + len(source)] = source.labels[:, k]
            start += len(source)
    return columns


def _groups(
    twins: Sequence[Twin],
) -> Iterator[tuple[tuple[int, ...], tuple[Twin, ...]]]:
    """Images that hang together by twins, and those twins."""
    if not twins:
        return
    ends = np.array([(twin.first, twin.second) for twin in twins]).T
    size = int(ends.max()) + 1
    graph = coo_array((np.ones(len(twins)), tuple(ends)), shape=(size, size))
    _, group_of = connected_components(graph, directed=False)
    groups: dict[int, list[Twin]] = {}
    for twin in twins:
        groups.setdefault(int(group_of[twin.first]), []).append(twin)
    # Groups are numbered by their first image.
    for _, pairs in sorted(groups.items()):
        members = {i for twin in pairs for i in (twin.first, twin.second)}
        yield tuple(sorted(members)), tuple(pairs)


def _describe(splits: Splits) -> dict[str, Any]:
    uids = [uid for source in splits.values() for uid in source.uids]
    names = [split for split, source in splits.items() for _ in source.uids]
    return {
        "split_sha256": split_sha256(uids, names),
        "splits": {
            split: {
                "images": len(source),
                "patients": len(set(source.patient_ids)),
                "fingerprint": source.fingerprint,
                "uids_sha256": hashlib.sha256(
                    "\n".join(sorted(source.uids)).encode()
                ).hexdigest(),
                "labels": _prevalence(source),
            }
            for split, source in splits.items()
        },
    }


def _prevalence(source: StudySource) -> dict[str, dict[str, int]]:
    values = source.labels
    return {
        name: {
            "positive": int((values[:, k] == 1).sum()),
            "negative": int((values[:, k] == 0).sum()),
            "unknown": int(np.isnan(values[:, k]).sum()),
        }
        for k, name in enumerate(source.label_names)
    }

"""FFA-IR: 10,790 reports on fluorescein angiographies, 1,048,584 frames.

Layout::

    ffair_annotation.json     # {"train": {case: {"En_Report", ..., "Image_path"}}, ...}
    FFAIR/<case>/<number>.jpg # paths in the file are relative to this folder
    lesion_info.json          # outlines on a part of the frames: not read

The frames may also lie beside the annotations, or in ``FFA-IR`` or ``images``.

A record is a frame; the frames of a case share one report, which is about all of them:
no single frame need show what it says. Text: the English report (``En_Report``).
``facts["frame"]`` and ``facts["frames"]`` are the place of a frame in its case and how
many there are. Labels: none; the 46 kinds of lesion are in the outlines.

Splits: ``official``, by case. A patient may have several cases: no patient ids.

Access: PhysioNet, credentialed; nothing of it may be passed on. Cite Li et al., "FFA-IR:
Towards an Explainable and Reliable Medical Report Generation Benchmark", NeurIPS
Datasets and Benchmarks, 2021.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from vlp_zoo.data.records import Card, Record
from vlp_zoo.data.splits import canonical_split, released
from vlp_zoo.data.tables import find_one
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.reading import read_json

__all__ = ["CARD", "read"]

FOLDERS = ("FFAIR", "FFA-IR", "images", ".")
PROBED = 20
"""Frames that are looked for to find out where the folder of the cases is."""


def read(root: Path) -> Iterator[Record]:
    """Records in the order of the file, frame by frame.

    Args:
        root: Folder with ``ffair_annotation.json``.

    Raises:
        DatasetNotFoundError: If the file is missing, or a case lacks report or frames.
        ConfigError: If the file is no JSON of three parts.
    """
    path = find_one(
        root,
        ["ffair_annotation.json", "*/ffair_annotation.json"],
        "the annotations of FFA-IR",
    )
    parts = _parts(path)
    cases = [
        (canonical_split(part) or "", str(case), entry)
        for part, entries in parts.items()
        for case, entry in entries.items()
    ]
    base: Path | None = None
    row = 1
    for split, case, entry in cases:
        if (
            not isinstance(entry, dict)
            or not {"En_Report", "Image_path"} <= entry.keys()
        ):
            raise DatasetNotFoundError(
                f"En_Report and Image_path of {case} in {path}",
                ", ".join(entry) if isinstance(entry, dict) else repr(entry)[:60],
                "download the official file again",
            )
        frames = [str(frame) for frame in entry["Image_path"]]
        base = base or _base(path.parent, cases)
        report = str(entry["En_Report"]).strip()
        for place, frame in enumerate(frames):
            row += 1
            yield Record(
                uid=PurePosixPath(frame).with_suffix("").as_posix(),
                image=base / frame,
                patient_id=case,
                study_id=case,
                text=report,
                view="FFA",
                split=split,
                row=row,
                facts={"frame": place, "frames": len(frames)},
            )


def _parts(path: Path) -> dict[str, dict[str, Any]]:
    parts = read_json(path)
    if not isinstance(parts, dict) or not all(
        isinstance(entries, dict) for entries in parts.values()
    ):
        raise ConfigError(
            f"train, val and test with their cases in {path}",
            type(parts).__name__,
            "download the official file again",
        )
    return parts


def _base(folder: Path, cases: Sequence[tuple[str, str, Any]]) -> Path:
    """The folder that most of some frames are in; a few may well be missing."""
    frames = [
        str(entry["Image_path"][0])
        for _, _, entry in cases[:PROBED]
        if isinstance(entry, dict) and entry.get("Image_path")
    ]
    return max(
        (folder / name for name in FOLDERS),
        key=lambda base: sum((base / frame).is_file() for frame in frames),
    )


CARD = Card(
    name="ffa_ir",
    title="FFA-IR",
    domain="fundus",
    read=read,
    label_names=(),
    gives=("reports",),
    patients="proxy",
    markers=("ffair_annotation.json", "*/ffair_annotation.json"),
    access="credentialed, PhysioNet",
    licence="PhysioNet Credentialed Health Data License",
    citation="Li et al., FFA-IR, NeurIPS Datasets and Benchmarks 2021",
    splits={
        "official": released(
            "the part test of ffair_annotation.json",
            "download it again",
            level="patient",
            source="released, by case",
            issues=("a case stands for a patient: there are no patient ids",),
        ),
    },
)

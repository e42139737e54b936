"""What every reader of a data set gives: records, splits by rule, and a card.

A reader is one file with one function ``read(root) -> Iterator[Record]`` and one
``CARD``. It opens tables, never images; it yields the facts of the official files,
raw (-1 stays -1), and decides nothing. What becomes of uncertain labels, which split is
used and which views are kept is decided when the records are loaded
(`vlp_zoo.data.catalogue`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vlp_zoo.errors import ConfigError
from vlp_zoo.types import Box, Report

__all__ = ["Card", "MaskRef", "Record", "SplitRule", "split_sha256"]


@dataclass(frozen=True, slots=True)
class MaskRef:
    """Where the pixels of a mask are; `vlp_zoo.data.masks.decode_mask` makes them.

    Attributes:
        name: What is marked: ``"pneumothorax"``, ``"optic disc"``.
        kind: ``"file"`` (a picture), ``"rle_relative"`` (SIIM: gap and length, column
            by column), ``"rle_coco"`` (compressed string or counts), ``"polygon"``,
            ``"ellipse"`` or ``"rectangle"``.
        ref: A path; an RLE; ``[[x, y], ...]`` in pixels; or ``(x1, y1, x2, y2)``.
        values: For files: lowest and highest pixel value that belong to the mask.
        size: (height, width) of the frame that ``ref`` is in; None is the image's.
            Where the frames differ, the mask is resized to the image by nearest pixel.
        two_valued: For files: the picture has two values, and what is not black is
            marked (`vlp_zoo.pixels.read_mask`); ``values`` is not asked.
        levels: For files of several values: all that there are, None for one whose
            number is not published; with others the picture is refused.
    """

    name: str
    kind: Literal["file", "rle_relative", "rle_coco", "polygon", "ellipse", "rectangle"]
    ref: Any
    values: tuple[int, int] = (1, 255)
    size: tuple[int, int] | None = None
    # Not in the repr: fingerprints of data sets are made of it, and stay what they were.
    two_valued: bool = field(default=False, repr=False)
    levels: tuple[int | None, ...] = field(default=(), repr=False)


_UID = "\0"
"""Stands for the record's own uid; no table has such a cell."""


@dataclass(frozen=True, slots=True)
class Record:
    """One image as its data set lists it; nothing of it is opened yet.

    Attributes:
        uid: Unique within the data set, stable between machines.
        image: The image file.
        patient_id: Grouping key; the uid itself where it is left out, as no patients
            are released.
        study_id: Images of one examination share it; the uid where it is left out.
        text: Ready sections, raw text, the file that holds it, or "" for none.
        view: ``"PA"``, ``"AP"``, ``"LATERAL"`` or None.
        split: Released split: ``"train"``, ``"val"``, ``"test"``, or "" for none.
        labels: In the order of the card's ``label_names``, as released: 1, 0, -1
            (uncertain) or NaN (not stated).
        boxes: In pixels of the image file, x to the right and y down.
        masks: References to masks.
        row: Line in the table it came from, the header being line 1.
        facts: Sex, age, device, source, grade, ...: what slices and audits use.
        original_size: (height, width) of the published image where a table says it, for
            copies that were made smaller; None is the file's own.
    """

    uid: str
    image: Path
    patient_id: str = _UID
    study_id: str = _UID
    text: Report | str | Path = ""
    view: str | None = None
    split: str = ""
    labels: tuple[float, ...] = ()
    boxes: tuple[Box, ...] = ()
    masks: tuple[MaskRef, ...] = ()
    row: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    original_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("patient_id", "study_id"):
            if getattr(self, name) == _UID:
                object.__setattr__(self, name, self.uid)


@dataclass(frozen=True)
class SplitRule:
    """A published way to divide a data set, as a rule instead of a list.

    Attributes:
        assign: Records in the order of the reader to a split name each; "" leaves a
            record out.
        level: What is kept together: patients or only images.
        source: Paper or code the rule is from, with the commit where there is one.
        counts: Images per split on the complete release, where known.
        sha256: `split_sha256` on the complete release, where known.
        issues: What is wrong with it, one sentence each; printed when it is used.
        legacy: It lets patients be on two sides, and is kept to reproduce old numbers.
    """

    assign: Callable[[Sequence[Record]], list[str]]
    level: Literal["patient", "image"]
    source: str
    counts: Mapping[str, int] = field(default_factory=dict)
    sha256: str | None = None
    issues: tuple[str, ...] = ()
    legacy: bool = False


@dataclass(frozen=True)
class Card:
    """A data set in a glance: what ``vlpzoo info datasets`` prints.

    Attributes:
        name: Name on the command line, ``"nih14"``.
        title: Name of the data set in the field.
        domain: ``"chest"`` or ``"fundus"``.
        read: ``read(root) -> Iterator[Record]``.
        label_names: Names of the label columns in order; possibly none.
        uncertain: What -1 becomes by default: one value for all labels, or a value
            per label with ``"*"`` for the rest (NaN keeps it unknown).
        gives: What studies have, among ``"reports"``, ``"labels"``, ``"boxes"`` and
            ``"masks"``.
        patients: ``"true"`` ids, a ``"proxy"`` that may join or part people, ``"none"``.
        splits: Named rules; ``"official"`` uses the released column and is first where
            there is one. Every data set also has ``"canonical"`` (`catalogue`).
        markers: Files or folders, relative to the root, of which one must be there;
            glob patterns are allowed.
        access: How one gets it.
        licence: Short.
        citation: One line.
        single_label: Classes exclude each other (grades, kinds); scores are per class.
        ordinal: Classes are grades in the order of ``label_names``.
        overlaps: Names of data sets that share images with this one.
    """

    name: str
    title: str
    domain: Literal["chest", "fundus"]
    read: Callable[[Path], Iterator[Record]]
    label_names: tuple[str, ...]
    gives: tuple[Literal["reports", "labels", "boxes", "masks"], ...]
    patients: Literal["true", "proxy", "none"]
    markers: tuple[str, ...]
    access: str
    licence: str
    citation: str
    uncertain: float | Mapping[str, float] = float("nan")
    splits: Mapping[str, SplitRule] = field(default_factory=dict)
    single_label: bool = False
    ordinal: bool = False
    overlaps: tuple[str, ...] = ()

    @property
    def colour(self) -> bool:
        """Whether images are kept in colour: fundus photographs are."""
        return self.domain == "fundus"

    def rule(self, name: str) -> SplitRule:
        """The split rule of a name.

        Raises:
            ConfigError: If there is none, naming those there are.
        """
        if name not in self.splits:
            known = ", ".join([*self.splits, "canonical"])
            raise ConfigError(
                f"a split rule {name!r} of {self.title}",
                f"the known ones are {known}",
                "choose one of them",
            )
        return self.splits[name]


def split_sha256(uids: Sequence[str], splits: Sequence[str]) -> str:
    """SHA-256 over sorted ``uid TAB split`` lines; records left out do not count."""
    lines = sorted(
        f"{uid}\t{split}\n" for uid, split in zip(uids, splits, strict=True) if split
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()

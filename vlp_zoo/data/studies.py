"""Studies whose images lie in files: the source behind every data set on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.data.boxes import box_fault, inside, parse_boxes
from vlp_zoo.data.masks import decode_mask
from vlp_zoo.data.records import MaskRef
from vlp_zoo.errors import ConfigError, DataRejectedError, DatasetNotFoundError
from vlp_zoo.pixels import read_grey, read_rgb, read_spacing
from vlp_zoo.reading import read_text
from vlp_zoo.reports.sections import parse_report, without_blanks
from vlp_zoo.types import Box, FileName, Report, Study

__all__ = [
    "FileStudies",
    "canonical_view",
    "check_views",
    "matches_view",
    "parse_boxes",
    "wanted_rows",
]

VIEWS = {
    "pa": "PA",
    "postero-anterior": "PA",
    "posteroanterior": "PA",
    "ap": "AP",
    "antero-posterior": "AP",
    "anteroposterior": "AP",
    "lateral": "LATERAL",
    "left lateral": "LATERAL",
    "right lateral": "LATERAL",
    "ll": "LATERAL",
    "rl": "LATERAL",
    "lat": "LATERAL",
}
FRONTAL = frozenset({"PA", "AP", "FRONTAL"})

COLUMNS = (
    *("uids", "patient_ids", "study_ids", "images", "texts", "rows", "views"),
    *("boxes", "masks", "facts", "original_sizes", "digests"),
)
"""Columns of `FileStudies` that are lists, or `vlp_zoo.data.packed.Column`."""

_NO_LABELS = np.empty((0, 0), np.float32)


def canonical_view(name: str) -> str | None:
    """``"PA"``, ``"AP"``, ``"LATERAL"``; other words in capitals; None where blank."""
    bare = name.strip().lower()
    return VIEWS.get(bare, bare.upper()) or None


def matches_view(view: str | None, wanted: Sequence[str]) -> bool:
    """Whether a view is among the wanted; "FRONTAL" stands for PA and AP too."""
    names = {canonical_view(name) for name in wanted}
    return view in names or ("FRONTAL" in names and view in FRONTAL)


def wanted_rows(
    splits: Sequence[str],
    present: Sequence[str | None],
    views: Sequence[str] | None,
    what: str,
) -> list[int]:
    """Rows that have a split and a wanted view.

    Args:
        splits: Split of each; "" is in none.
        present: View of each.
        views: Keep only these; None keeps all.
        what: The images, for the message.

    Raises:
        ConfigError: If a view is neither known nor there.
        DatasetNotFoundError: If no row is left.
    """
    check_views(views, present)
    kept = [
        i
        for i, (split, view) in enumerate(zip(splits, present, strict=True))
        if split and (views is None or matches_view(view, views))
    ]
    if not kept:
        raise DatasetNotFoundError(
            f"{what} with a view among {views} and a split",
            f"views {', '.join(sorted({str(view) for view in present}))}",
            "correct --data.views, or choose another --data.split",
        )
    return kept


def check_views(wanted: Sequence[str] | None, present: Iterable[str | None]) -> None:
    """Refuse a view that is neither known nor there: it would keep nothing.

    Args:
        wanted: Views to keep; None keeps all.
        present: Views of all images.

    Raises:
        ConfigError: Naming the view and what there is.
    """
    found = {view for view in present if view is not None}
    known = {*VIEWS.values(), *FRONTAL, *found}
    odd = [name for name in wanted or [] if canonical_view(name) not in known]
    if odd:
        raise ConfigError(
            f"views among {', '.join(sorted(known))}",
            ", ".join(map(repr, odd)),
            "correct --views (--data.views)",
        )


@dataclass(eq=False, repr=False, kw_only=True)
class FileStudies:
    """A `StudySource` over columns: nothing is opened until it is asked for.

    Attributes:
        name: Data set and split, for messages.
        uids: Unique names of the images.
        patient_ids: Grouping key of each.
        study_ids: Examination of each.
        images: Image file of each.
        texts: Report of each: ready sections, the raw text, or the file it is in.
        rows: Line of each in the table it came from; the header is line 1.
        views: View of each, None where unknown.
        label_names: Names of the label columns.
        labels: (N, K), NaN = unknown.
        boxes: Boxes of each, or the cell for `parse_boxes`.
        masks: References to masks of each.
        facts: What else is known of each.
        colour: Keep images in colour.
        original_sizes: (height, width) of each as published; None is the file's own.
        digests: SHA-256 of each, where already known.
        fingerprint: SHA-256 of the names of the labels and of all digests.
    """

    name: str = field(kw_only=False)
    uids: Sequence[str]
    patient_ids: Sequence[str]
    study_ids: Sequence[str]
    images: Sequence[os.PathLike[str]]
    texts: Sequence[Report | str | os.PathLike[str]]
    rows: Sequence[int]
    views: Sequence[str | None]
    label_names: tuple[str, ...] = ()
    labels: npt.NDArray[np.float32] = field(default_factory=lambda: _NO_LABELS)
    boxes: Sequence[str | tuple[Box, ...]] = ()
    masks: Sequence[tuple[MaskRef, ...]] = ()
    facts: Sequence[Mapping[str, Any]] = ()
    colour: bool = False
    original_sizes: Sequence[tuple[int, int] | None] = ()
    digests: Sequence[bytes] = ()
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.uids)
        if self.labels is _NO_LABELS:
            self.labels = np.empty((count, 0), np.float32)
        self.boxes = self.boxes or [""] * count
        self.masks = self.masks or [()] * count
        self.facts = self.facts or [{}] * count
        self.original_sizes = self.original_sizes or [None] * count
        self.digests = self.digests or [self._digest(i) for i in range(count)]
        names = json.dumps(self.label_names).encode()
        self.fingerprint = hashlib.sha256(names + b"".join(self.digests)).hexdigest()

    def __len__(self) -> int:
        return len(self.uids)

    def __getitem__(self, index: int) -> Study:
        """Decode one study.

        Raises:
            DataRejectedError: If its image or report cannot be read.
        """
        image = self.pixels(index)
        boxes = self.boxes_of(index)
        if (fault := box_fault(boxes, *image.shape[:2])) is not None:
            raise DataRejectedError(
                f"boxes of {self.uids[index]} inside of its image "
                f"({image.shape[1]} x {image.shape[0]} pixels)",
                fault,
                "use the image that the boxes were drawn on; a smaller copy needs them "
                "brought to its size",
            )
        return Study(
            uid=self.uids[index],
            patient_id=self.patient_ids[index],
            study_id=self.study_ids[index],
            image=image,
            report=self.report(index),
            view=self.views[index],
            labels=self.labels[index],
            boxes=inside(boxes, *image.shape[:2]),
            masks=self.masks_of(index, *image.shape[:2]),
            facts=dict(self.facts[index]),
            original_size=self.original_sizes[index],
        )

    def pixels(self, index: int, content: bytes | None = None) -> npt.NDArray[np.uint8]:
        """The image of one study: (H, W), or (H, W, 3) where it is kept in colour.

        Args:
            index: Index of the study.
            content: Bytes of its file, where they have been read already.
        """
        read = read_rgb if self.colour else read_grey
        return read(self.images[index], content)

    def boxes_of(self, index: int) -> tuple[Box, ...]:
        """The boxes of one study, its image left alone.

        Raises:
            DataRejectedError: If a cell holds something else.
        """
        boxes = self.boxes[index]
        if not isinstance(boxes, str):
            return boxes
        try:
            return parse_boxes(boxes)
        except (ValueError, TypeError, KeyError) as error:
            raise DataRejectedError(
                f"boxes of {self.uids[index]}, row {self.rows[index]} of {self.name}",
                f"bad_boxes: {type(error).__name__}: {error}",
                "correct the cell, or leave the study out: --data.on_error skip",
            ) from error

    def mask_names(self, index: int) -> list[str]:
        """Names of the masks of one study, nothing decoded."""
        return list(dict.fromkeys(mask.name for mask in self.masks[index]))

    def facts_of(self, index: int) -> Mapping[str, Any]:
        """What else is known of one study, nothing decoded."""
        return self.facts[index]

    def spacing_mm(self, index: int) -> tuple[float, float] | None:
        """Millimetres between pixels, (down, across); None where the file says none."""
        path = Path(self.images[index])
        return read_spacing(path) if path.suffix else None

    def masks_of(
        self, index: int, height: int, width: int
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """The masks of one study; several of one name are joined.

        Raises:
            DataRejectedError: If a mask cannot be decoded.
        """
        masks: dict[str, npt.NDArray[np.bool_]] = {}
        for reference in self.masks[index]:
            pixels = decode_mask(reference, height, width)
            if reference.name in masks:
                pixels = pixels | masks[reference.name]
            masks[reference.name] = pixels
        return masks

    def report(self, index: int) -> Report:
        """The report of one study, its image left alone.

        Raises:
            DataRejectedError: If the report's file is not there, or no text.
        """
        entry = self.texts[index]
        if isinstance(entry, Report):
            return without_blanks(entry)
        if isinstance(entry, os.PathLike):
            try:
                entry = read_text(entry, "the report")
            except (DatasetNotFoundError, ConfigError) as error:
                missing = isinstance(error, DatasetNotFoundError)
                raise DataRejectedError(
                    f"the report of {self.uids[index]} in {self.texts[index]}",
                    f"{'missing' if missing else 'unreadable'}_report: {error.found}",
                    "restore the file, or leave the study out: --data.on_error skip",
                ) from error
        return parse_report(entry)

    def reports(self) -> Iterator[Report]:
        """All reports in order, no image decoded."""
        return (self.report(index) for index in range(len(self)))

    def subset(self, indices: Sequence[int], name: str) -> FileStudies:
        """The studies at ``indices``, in that order."""
        columns: dict[str, Any] = {
            column: [getattr(self, column)[i] for i in indices] for column in COLUMNS
        }
        labels = self.labels[np.asarray(indices, np.int64)]
        return replace(self, name=name, labels=labels, **columns)

    def _digest(self, index: int) -> bytes:
        text, image = self.texts[index], self.images[index]
        # Texts in files count by name and size: reading a quarter of a million
        # reports to name a cache would take longer than filling it.
        entry = (
            f"{Path(text).name} {file_size(text)}"
            if isinstance(text, os.PathLike)
            else text
        )
        record: tuple[Any, ...] = (
            self.uids[index],
            self.patient_ids[index],
            self.views[index],
            self.labels[index].tobytes(),
            self.boxes[index],
            Path(image).name,
            file_size(image),
            entry,
        )
        if self.masks[index] or self.colour:
            # Only where there are any, so that older fingerprints stay valid.
            masks = [
                (m.name, m.kind, m.values, m.size, Path(m.ref).name)
                if isinstance(m.ref, os.PathLike)
                else m
                for m in self.masks[index]
            ]
            record = (*record, masks, self.colour)
        return hashlib.sha256(repr(record).encode()).digest()


def file_size(path: FileName) -> int:
    """Size in bytes; -1 where there is no such file."""
    try:
        return os.stat(path).st_size
    # A ValueError is a NUL byte in the name.
    except (OSError, ValueError):
        return -1

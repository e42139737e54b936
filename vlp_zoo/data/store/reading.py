"""A prepared store: a data set shrunk once, indexed, and read without loading it.

::

    store.json                    what it is; written last, so a store that has it is whole
    index/part-00000.parquet      one row per image, see `vlp_zoo.data.store.index`
    index.arrow                   the same rows, mapped into memory by readers
    images/00000/00000.jpg        one folder per part
    masks/00000/00000-0.png       one bit per pixel, at the size of the stored image
    rejects.csv                   records that cannot be used, and why

`vlp_zoo.data.store.prepare` writes it. Rows keep raw labels (-1 stays), boxes in pixels of the
stored image, the original size, hashes of the stored and of the source file, and one
column per split rule. What -1 becomes, which split and which views are wanted is
decided here, when it is opened.

Pixels are behind ``backend`` in store.json: ``"files"`` is all there is. Another one
(shards on object storage, say) would replace two functions, the writing of an encoded
image in `vlp_zoo.data.store.slices` and `PreparedStudies.pixels`; the index stays.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.data.boxes import parse_boxes
from vlp_zoo.data.catalogue import decide_labels
from vlp_zoo.data.masks import decode_mask
from vlp_zoo.data.records import MaskRef
from vlp_zoo.data.store.index import INDEX, Index
from vlp_zoo.data.studies import wanted_rows
from vlp_zoo.errors import (
    ConfigError,
    DataRejectedError,
    DatasetNotFoundError,
    StoreError,
)
from vlp_zoo.pixels import read_grey, read_rgb
from vlp_zoo.reports.sections import without_blanks
from vlp_zoo.types import Box, Report, Study

__all__ = [
    "DESCRIPTION",
    "FORMAT",
    "PreparedStudies",
    "describe",
    "is_store",
    "open_store",
]

logger = logging.getLogger(__name__)

DESCRIPTION = "store.json"
FORMAT = 1
"""Goes up when older readers could not read what is written."""

BACKEND = "files"
REPORT = ("text", "indication", "comparison", "findings", "impression", "context")
CELLS = (
    *("uid", "patient_id", "study_id", "image", "sha256", "view", "labels"),
    *("boxes", "masks", "facts"),
)

WRITTEN: dict[str, type | tuple[type, ...]] = {
    "title": str,
    "domain": str,
    "label_names": list,
    "images": dict,
    "splits": dict,
    "uncertain": (str, int, float, dict),
    "content_sha256": str,
}
"""What readers take from store.json, and of which kind it is."""

Uncertain = float | Mapping[str, float]


def describe(store: Path) -> dict[str, Any]:
    """The content of store.json.

    Raises:
        DatasetNotFoundError: If the folder is not a prepared store.
        StoreError: If it is unfinished, or of a format that is not known here.
    """
    path = store / DESCRIPTION
    if not path.is_file():
        if (store / "unfinished.json").is_file():
            raise StoreError(
                f"a finished store in {store}",
                "one whose preparation was interrupted",
                "run the same vlpzoo prepare command again; it goes on where it was",
            )
        raise DatasetNotFoundError(
            f"a prepared store in {store}",
            f"no {DESCRIPTION}",
            "make one: vlpzoo prepare DATASET --root DIR --out STORE",
        )
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = f"format {description['format']}, backend {description['backend']}"
        for name, kind in WRITTEN.items():
            if not isinstance(description[name], kind):
                raise TypeError(f"{name} is {description[name]!r}"[:200])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"the description of a prepared store in {path}",
            f"{type(error).__name__}: {error}",
            "restore the file, or prepare the data set again",
        ) from error
    if found != f"format {FORMAT}, backend {BACKEND}":
        raise StoreError(
            f"a store of format {FORMAT}, backend {BACKEND}, in {store}",
            found,
            "prepare the data set again with this version",
        )
    return description


class PreparedStudies:
    """A `StudySource` over a prepared store, with the columns of `FileStudies`.

    Only the numbers of its rows are kept and pickled; everything else is in the mapped
    index, so that a loader process stays as small as it started.

    Args:
        store: Folder of the store.
        indices: Rows, in the order wanted; None = all.
        name: For messages; None = the data set's title.
        uncertain: What -1 becomes; None = what the data set's card says.

    Raises:
        DatasetNotFoundError: If there is no store.
        StoreError: If it is not whole.
    """

    def __init__(
        self,
        store: Path,
        indices: Sequence[int] | npt.NDArray[np.int64] | None = None,
        name: str | None = None,
        uncertain: Uncertain | None = None,
    ) -> None:
        self.store = store
        self.uncertain = uncertain
        self._open()
        self.name = name or str(self.description["title"])
        self.indices: npt.NDArray[np.int64] = (
            np.arange(len(self.index), dtype=np.int64)
            if indices is None
            else np.asarray(indices, np.int64)
        )

    def _open(self) -> None:
        self.description = describe(self.store)
        self.label_names: tuple[str, ...] = tuple(self.description["label_names"])
        self.colour = self.description["domain"] == "fundus"
        self.index = Index(self.store / INDEX)
        self._has_original_size = {"original_height", "original_width"} <= set(
            self.index.names
        )
        stored = self.description["images"]["stored"]
        if len(self.index) != stored:
            raise StoreError(
                f"{stored} rows in {self.store / INDEX}",
                f"{len(self.index)}",
                "prepare the data set again",
            )
        if self.uncertain is None:
            words = self.description["uncertain"]
            self.uncertain = (
                {name: float(word) for name, word in words.items()}
                if isinstance(words, dict)
                else float(words)
            )
        # A policy that names no label of the store is found now, not at the first use.
        nothing = np.empty((0, len(self.label_names)), np.float32)
        decide_labels(nothing, self.label_names, self.uncertain)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("store", "indices", "name", "uncertain")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Study:
        """Decode one study.

        Raises:
            DataRejectedError: If its image or a mask is gone or damaged.
        """
        cells = self.index.cells(int(self.indices[index]), (*CELLS, *REPORT))
        uid, patient, study, image, sha256, view, labels, boxes, masks, facts = cells[
            : len(CELLS)
        ]
        pixels = self._decode(image, sha256)
        return Study(
            uid=uid,
            patient_id=patient,
            study_id=study,
            image=pixels,
            report=without_blanks(Report(*cells[len(CELLS) :])),
            view=view,
            labels=self._decided(np.array(labels, np.float32)),
            boxes=() if boxes == "[]" else parse_boxes(boxes),
            masks=self._decode_masks(masks, *pixels.shape[:2]),
            facts={} if facts == "{}" else _frozen(json.loads(facts)),
            original_size=self.original_size(index),
        )

    def pixels(self, index: int) -> npt.NDArray[np.uint8]:
        """The stored image of one study: (H, W), or (H, W, 3) in colour."""
        row = int(self.indices[index])
        return self._decode(*self.index.cells(row, ("image", "sha256")))

    def report(self, index: int) -> Report:
        """The report of one study, its image left alone."""
        return without_blanks(
            Report(*self.index.cells(int(self.indices[index]), REPORT))
        )

    def reports(self) -> Iterator[Report]:
        """All reports in order, no image decoded."""
        return (self.report(index) for index in range(len(self)))

    def boxes_of(self, index: int) -> tuple[Box, ...]:
        """The boxes of one study, in pixels of the stored image."""
        return parse_boxes(self._cell(index, "boxes"))

    def mask_names(self, index: int) -> list[str]:
        """Names of the masks of one study, nothing decoded."""
        entries = json.loads(self._cell(index, "masks"))
        return list(dict.fromkeys(entry["name"] for entry in entries))

    def facts_of(self, index: int) -> Mapping[str, Any]:
        """What else is known of one study, nothing decoded."""
        facts: dict[str, Any] = _frozen(json.loads(self._cell(index, "facts")))
        return facts

    def masks_of(
        self, index: int, height: int, width: int
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """The masks of one study at a size, usually that of the stored image."""
        return self._decode_masks(self._cell(index, "masks"), height, width)

    def original_size(self, index: int) -> tuple[int, int]:
        """(height, width) of the image as published; (0, 0) in stores without it."""
        if not self._has_original_size:
            return 0, 0
        row = int(self.indices[index])
        height, width = self.index.cells(row, ("original_height", "original_width"))
        return height or 0, width or 0

    def spacing_mm(self, index: int) -> tuple[float, float] | None:
        """Millimetres between stored pixels, (down, across); None where unknown."""
        spacing = self._cell(index, "spacing_mm")
        return None if spacing is None else (spacing[0], spacing[1])

    def subset(self, indices: Sequence[int], name: str) -> PreparedStudies:
        """The studies at ``indices``, in that order."""
        rows = self.indices[np.asarray(indices, np.int64)]
        return PreparedStudies(self.store, rows, name, self.uncertain)

    # Columns: read when they are asked for, and never pickled -------------------

    def column(self, name: str) -> list[Any]:
        """One column of the index as it is stored."""
        return self.index.column(name, self.indices)

    @cached_property
    def uids(self) -> list[str]:
        """One per study, unique."""
        return self.column("uid")

    @cached_property
    def patient_ids(self) -> list[str]:
        """One per study."""
        return self.column("patient_id")

    @cached_property
    def study_ids(self) -> list[str]:
        """One per study; images of one examination share it."""
        return self.column("study_id")

    @cached_property
    def views(self) -> list[str | None]:
        """One per study."""
        return self.column("view")

    @cached_property
    def rows(self) -> list[int]:
        """Line of each study in the table it came from."""
        return self.column("row")

    @cached_property
    def images(self) -> list[Path]:
        """Stored file of each study."""
        return [self.store / name for name in self.column("image")]

    @cached_property
    def labels(self) -> npt.NDArray[np.float32]:
        """(N, K), -1 decided, NaN = unknown."""
        return self._decided(self.index.labels(self.indices, len(self.label_names)))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the store's content, the rows and what -1 becomes."""
        policy = self.uncertain
        words = sorted(policy.items()) if isinstance(policy, Mapping) else policy
        start = f"{self.description['content_sha256']} {words} "
        return hashlib.sha256(start.encode() + self.indices.tobytes()).hexdigest()

    def _cell(self, index: int, name: str) -> Any:
        return self.index.cells(int(self.indices[index]), (name,))[0]

    def _decode(self, image: str, sha256: str) -> npt.NDArray[np.uint8]:
        read = read_rgb if self.colour else read_grey
        return read(_unchanged(self.store / image, sha256))

    def _decode_masks(
        self, cell: str, height: int, width: int
    ) -> dict[str, npt.NDArray[np.bool_]]:
        if cell == "[]":
            return {}
        return {
            entry["name"]: decode_mask(
                MaskRef(
                    entry["name"],
                    "file",
                    _unchanged(self.store / entry["file"], entry["sha256"]),
                ),
                height,
                width,
            )
            for entry in json.loads(cell)
        }

    def _decided(self, raw: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self.uncertain is None or not raw.size:
            return raw
        wide = decide_labels(np.atleast_2d(raw), self.label_names, self.uncertain)
        return wide.reshape(raw.shape)


def _unchanged(path: Path, sha256: str) -> Path:
    """A stored file that is still what was prepared.

    Raises:
        DataRejectedError: If it is gone, or holds something else: another picture at
            its place would be read with the labels and the report of this one.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataRejectedError(
            f"the stored file {path}",
            f"missing_image: {error.strerror or error}",
            "restore the store, or prepare the data set again",
        ) from error
    if found != sha256:
        raise DataRejectedError(
            f"the stored file {path} as it was prepared (SHA-256 {sha256[:12]}...)",
            f"changed: SHA-256 {found[:12]}...",
            "vlpzoo prepare --verify finds all such files; restore them, or prepare "
            "the data set again",
        )
    return path


def is_store(folder: Path) -> bool:
    """Whether a folder is a prepared store rather than a raw data set."""
    return (folder / DESCRIPTION).is_file()


def open_store(
    store: Path,
    *,
    split: str = "canonical",
    views: Sequence[str] | None = None,
    uncertain: Uncertain | None = None,
) -> tuple[PreparedStudies, list[str]]:
    """Open a prepared store.

    Args:
        store: Folder of the store.
        split: A rule whose splits were stored.
        views: Keep only these; None keeps all.
        uncertain: What -1 becomes; None is what the data set's card says.

    Returns:
        The studies that the rule does not leave out, and the split of each.

    Raises:
        DatasetNotFoundError: If there is no store, or no image has a view that is
            wanted.
        ConfigError: If the store has no such split.
        StoreError: If it is not whole.
    """
    everything = PreparedStudies(store, uncertain=uncertain)
    rules = everything.description["splits"]
    if split not in rules or "left_out" in rules[split]:
        known = [name for name, facts in rules.items() if "left_out" not in facts]
        reason = str(rules.get(split, {}).get("left_out", ""))
        raise ConfigError(
            f"a split rule {split!r} in {store}",
            f"the store has {', '.join(known)}" + (f"; {reason}" if reason else ""),
            "choose one of them, or prepare the data set again",
        )
    for issue in rules[split].get("issues", []):
        logger.warning("%s, split %s: %s", everything.name, split, issue)
    splits = everything.column(f"split_{split}")
    kept = wanted_rows(splits, everything.views, views, f"images in {store}")
    studies = everything.subset(kept, everything.name)
    return studies, [splits[i] for i in kept]


def _frozen(value: Any) -> Any:
    """Lists back to the tuples that readers give; JSON has no others."""
    if isinstance(value, dict):
        return {name: _frozen(entry) for name, entry in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value

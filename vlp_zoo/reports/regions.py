"""Where the 29 anatomical regions of a chest radiograph are: boxes from any source.

Boxes are looked up by name, in this order: Chest ImaGenome's scene graphs, the study's
own boxes (a ``boxes`` column, the truth of a synthetic chest), and, where one is named, a
statistical atlas for frontal images, which knows where a region usually is. The atlas that
travels with the package was fitted on synthetic chests; nothing takes it for others unasked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np

from vlp_zoo.errors import ConfigError, DataRejectedError, DatasetNotFoundError
from vlp_zoo.files import write_whole
from vlp_zoo.reading import parse_json, read_text
from vlp_zoo.reports.words.anatomy import REGIONS
from vlp_zoo.reports.words.region_atlas import PHANTOM_ATLAS
from vlp_zoo.types import Box, Study, StudySource

__all__ = ["RegionAtlas", "RegionBoxes", "read_scene_graph"]

XYXY = tuple[float, float, float, float]
ROUNDING = 0.5
"""Pixels that a box may reach over an edge of its image."""
LEAST = 5
"""Fewer boxes than this make no average."""
LOOKED_AT = 2000
"""Studies that shares are counted on, at equal distances."""
DECODED = 64
"""The same where a study's boxes come with its image only, and images whose scene
graphs are tried."""


@dataclass(frozen=True)
class RegionAtlas:
    """Where regions usually are, as shares of the image.

    Attributes:
        boxes: Region to (x1, y1, x2, y2) in shares of width and height.
        origin: What it was fitted on, for cards and messages.
    """

    boxes: Mapping[str, XYXY]
    origin: str = "unknown"

    @classmethod
    def phantom(cls) -> Self:
        """The atlas that travels with the package, fitted on synthetic chests."""
        return cls(PHANTOM_ATLAS, "phantom_chest")

    @classmethod
    def fit(
        cls, examples: Iterable[tuple[Sequence[Box], int, int]], origin: str = "data"
    ) -> Self:
        """Medians of the edges of many boxes.

        Args:
            examples: Boxes of an image with its width and height in pixels. Names
                outside the 29 regions and lesions are passed over.
            origin: Recorded in the atlas.

        Raises:
            DataRejectedError: If no region has at least five boxes.
        """
        found: dict[str, list[list[float]]] = {}
        for boxes, width, height in examples:
            for box in boxes:
                if box.kind == "region" and box.name in REGIONS:
                    x1, y1, x2, y2 = box.xyxy
                    row = [x1 / width, y1 / height, x2 / width, y2 / height]
                    found.setdefault(box.name, []).append(row)
        boxes_of = {
            name: _four(np.median(np.array(found[name]), axis=0).round(4).tolist())
            for name in REGIONS
            if len(found.get(name, ())) >= LEAST
        }
        if not boxes_of:
            raise DataRejectedError(
                f"at least {LEAST} boxes of one of the 29 regions ({REGIONS[0]}, ...)",
                f"boxes named {', '.join(sorted(found)) or 'otherwise, or none'}",
                "name the boxes as Chest ImaGenome does",
            )
        return cls(boxes_of, origin)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            DatasetNotFoundError: If the file is missing or no atlas.
        """
        try:
            content = parse_json(read_text(Path(path)))
            boxes = {name: _four(content["boxes"][name]) for name in content["boxes"]}
            return cls(boxes, str(content.get("origin", path)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetNotFoundError(
                f"an atlas of regions in {path}",
                f"{type(error).__name__}: {error}",
                "give a JSON file that RegionAtlas.save wrote, or 'phantom'",
            ) from error

    def save(self, path: str | Path) -> None:
        """Write the atlas as JSON."""
        content = {"origin": self.origin, "boxes": dict(self.boxes)}
        write_whole(Path(path), json.dumps(content, indent=1) + "\n")

    def place(self, name: str, width: int, height: int) -> Box | None:
        """A region in pixels of an image; None where the atlas does not know it."""
        if name not in self.boxes:
            return None
        x1, y1, x2, y2 = self.boxes[name]
        return Box(name, (x1 * width, y1 * height, x2 * width, y2 * height))


def _four(values: Sequence[float]) -> XYXY:
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2


@dataclass(frozen=True)
class RegionBoxes:
    """Looks up the boxes of a study.

    Attributes:
        atlas: For frontal images without a box of a region; None = never.
        scene_graphs: Folder of ``UID_SceneGraph.json`` files; None = none.
    """

    atlas: RegionAtlas | None = None
    scene_graphs: Path | None = None

    @classmethod
    def open(cls, source: str, atlas: str | None, scene_graphs: str | None) -> Self:
        """From plain settings.

        Args:
            source: ``"auto"``, or ``"study"`` for no atlas.
            atlas: ``"phantom"``, a file, or None for no atlas.
            scene_graphs: Folder, or None.

        Raises:
            ConfigError: For another source.
            DatasetNotFoundError: If atlas or folder cannot be read.
        """
        if source not in ("auto", "study"):
            raise ConfigError("region_source among auto, study", f"{source!r}", "pick")
        folder = None if scene_graphs is None else Path(scene_graphs)
        if folder is not None and not folder.is_dir():
            raise DatasetNotFoundError(
                f"the folder of scene graphs {folder}",
                "no such folder",
                "give the scene_graph folder of Chest ImaGenome, unpacked",
            )
        if source == "study" or atlas is None:
            return cls(None, folder)
        phantom = atlas == "phantom"
        return cls(
            RegionAtlas.phantom() if phantom else RegionAtlas.load(atlas), folder
        )

    def find(self, study: Study, names: Iterable[str]) -> dict[str, Box]:
        """Boxes of the named regions in pixels of the study's image.

        Args:
            study: Image, its original size, boxes, view and uid are read.
            names: Names of regions, among `anatomy.REGIONS`.

        Returns:
            Region to box, those without any box left out.

        Raises:
            DataRejectedError: If a scene graph is none, does not fit the image, or the
                size that its image had is not known.
        """
        height, width = study.image.shape[:2]
        own = {box.name: box for box in study.boxes if box.kind == "region"}
        if (path := self._graph(study.uid)) is not None:
            own |= _fitted(_cached_graph(path), path, study)
        found = {}
        for name in names:
            box = own.get(name)
            if box is None and self.atlas is not None and study.view != "LATERAL":
                box = self.atlas.place(name, width, height)
            if box is not None:
                found[name] = box
        return found

    def _graph(self, uid: str) -> Path | None:
        if self.scene_graphs is None:
            return None
        path = self.scene_graphs / f"{uid}_SceneGraph.json"
        return path if path.is_file() else None

    def shares(self, source: StudySource) -> dict[str, float]:
        """Where the regions of a source's studies come from.

        Args:
            source: Images are decoded only if its boxes cannot be had without.

        Returns:
            ``scene_graphs``, ``study``, ``atlas`` and ``none`` to shares of the studies,
            each counted where its first box is looked for; ``looked_at``, how many
            studies these are shares of.

        Raises:
            DataRejectedError: If a scene graph of the first `DECODED` studies that have
                one does not fit its image.
        """
        inner: Any = source
        # A source with contexts joined to it holds the one that knows the boxes.
        while not hasattr(inner, "boxes_of") and hasattr(inner, "source"):
            inner = inner.source
        cheap, views = getattr(inner, "boxes_of", None), getattr(inner, "views", None)
        number = min(len(source), DECODED if cheap is None else LOOKED_AT)
        found = dict.fromkeys(("scene_graphs", "study", "atlas", "none"), 0)
        for index in (
            np.linspace(0, len(source) - 1, number).round().astype(int).tolist()
        ):
            if (path := self._graph(source.uids[index])) is not None:
                if found["scene_graphs"] < DECODED:
                    # Graphs of another release leave their images: said before training.
                    _fitted(_cached_graph(path), path, source[index])
                found["scene_graphs"] += 1
                continue
            if cheap is not None and views is not None:
                boxes, view = cheap(index), views[index]
            else:
                study = source[index]
                boxes, view = study.boxes, study.view
            if any(box.kind == "region" and box.name in REGIONS for box in boxes):
                found["study"] += 1
            else:
                atlas = self.atlas is not None and view != "LATERAL"
                found["atlas" if atlas else "none"] += 1
        shares = {
            name: round(count / max(1, number), 4) for name, count in found.items()
        }
        return {**shares, "looked_at": number}


def _fitted(boxes: Mapping[str, Box], path: Path, study: Study) -> dict[str, Box]:
    """Boxes of the published image in pixels of the image at hand."""
    height, width = study.image.shape[:2]
    rows, columns = study.original_size or (height, width)
    if not (rows and columns):
        raise DataRejectedError(
            f"the original size of the image of {study.uid}, which boxes are in",
            "a store that does not hold it",
            "prepare the data set again: vlpzoo prepare",
        )
    fitted = {}
    for name, box in boxes.items():
        x1, y1, x2, y2 = box.xyxy
        if min(x1, y1, columns - x2, rows - y2) < -ROUNDING:
            raise DataRejectedError(
                f"boxes inside of the image of {study.uid} ({columns} x {rows} pixels) "
                f"in {path}",
                f"outside_box: {name} at {x1:g}, {y1:g}, {x2:g}, {y2:g}",
                "give scene graphs and images of one release; a copy that was made "
                "smaller needs Rows and Columns in its table",
            )
        across, down = width / columns, height / rows
        xyxy = (
            *(max(x1, 0.0) * across, max(y1, 0.0) * down),
            *(min(x2, float(columns)) * across, min(y2, float(rows)) * down),
        )
        fitted[name] = Box(name, xyxy, box.kind)
    return fitted


@lru_cache(maxsize=4096)
def _cached_graph(path: Path) -> dict[str, Box]:
    return {box.name: box for box in read_scene_graph(path)}


def read_scene_graph(path: str | Path) -> list[Box]:
    """The boxes of a Chest ImaGenome scene graph (Wu et al., arXiv 2108.00316).

    Args:
        path: ``DICOMID_SceneGraph.json``. Its ``original_*`` coordinates are read, which
            are those of the MIMIC-CXR-JPG image; the others are of a padded copy.

    Returns:
        Boxes of the 29 regions in pixels of the published image; empty and other boxes
        are passed over.

    Raises:
        DataRejectedError: If the file is no scene graph, or without ``original_*``.
    """
    try:
        content: Any = parse_json(read_text(Path(path)))
        objects = content["objects"]
        boxes = []
        for entry in objects:
            full = "original_x1" in entry
            names = [f"{'original_' if full else ''}{e}" for e in _EDGES]
            xyxy = _four([entry[name] for name in names])
            empty = xyxy[2] <= xyxy[0] or xyxy[3] <= xyxy[1]
            if entry["bbox_name"] in REGIONS and not empty:
                if not full:
                    raise KeyError("original_x1")
                boxes.append(Box(entry["bbox_name"], xyxy))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataRejectedError(
            f"a Chest ImaGenome scene graph in {path}",
            f"{type(error).__name__}: {error}",
            "restore the file, or move it out of the folder",
        ) from error
    return boxes


_EDGES = ("x1", "y1", "x2", "y2")

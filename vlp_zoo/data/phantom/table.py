"""A synthetic world as a folder of images, with masks if any, and one ``pairs.csv``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from vlp_zoo.data.phantom.folder import Layout
from vlp_zoo.data.phantom.world import World
from vlp_zoo.types import Study

__all__ = ["pair_columns", "write_pairs_layout"]


def pair_columns(world: type[World[Any]]) -> tuple[str, ...]:
    """The columns of a world's ``pairs.csv``, in order."""
    labels = (label.lower().replace(" ", "_") for label in world.label_names)
    return (*world.columns, *(f"label_{name.replace('-', '_')}" for name in labels))


def _write_masks(layout: Layout[Any], study: Study) -> dict[str, str]:
    """One PNG of 0 and 255 for each mask; returns name to path within the folder."""
    paths = {}
    for name, mask in study.masks.items():
        paths[name] = f"masks/{name.replace(' ', '_')}/{study.uid}.png"
        layout.write_image(paths[name], mask.astype(np.uint8) * 255)
    return paths


def write_pairs_layout(layout: Layout[Any]) -> int:
    """Write ``images/*.jpg``, ``pairs.csv`` and, where a world has them, masks.

    Boxes and paths of ``masks/NAME/*.png`` are JSON in their columns; blank labels are
    uncertain.

    Args:
        layout: What is written, and where to.

    Returns:
        The number of images.

    Raises:
        ConfigError: If the folder may not be written.
    """
    world = layout.world
    masked = "masks" in world.columns
    layout.begin("pairs", ("images", *(["masks"] if masked else []), "pairs.csv"))
    rows = []
    for source, _, study in layout.images():
        name = f"images/{study.uid}.jpg"
        layout.write_image(name, study.image)
        boxes = [
            {"name": box.name, "kind": box.kind, "xyxy": np.round(box.xyxy, 1).tolist()}
            for box in study.boxes
        ]
        cells = {
            "image": name,
            "indication": study.report.indication,
            "comparison": study.report.comparison,
            "findings": study.report.findings,
            "impression": study.report.impression,
            "patient_id": study.patient_id,
            "study_id": study.study_id,
            "view": study.view,
            "split": source.split,
            "boxes": json.dumps(boxes),
            "masks": json.dumps(_write_masks(layout, study) if masked else {}),
        }
        known = study.facts | cells
        labels = ["" if np.isnan(value) else f"{value:.0f}" for value in study.labels]
        row = [*(known[column] for column in world.columns), *labels]
        rows.append(dict(zip(pair_columns(world), row, strict=True)))
    layout.write_table("pairs.csv", rows)
    return sum(map(len, layout.sources))

"""Boxes as data sets give them: from cells, checked, and clipped where they round over."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from vlp_zoo.reading import parse_json
from vlp_zoo.types import Box

__all__ = ["ROUNDING", "box_fault", "inside", "parse_boxes"]

ROUNDING = 0.5
"""Pixels that a box may reach over an edge of its image: what rounding comes to."""


def parse_boxes(cell: str) -> tuple[Box, ...]:
    """Boxes from a table cell.

    Args:
        cell: JSON: a list of ``[x1, y1, x2, y2]`` or of objects with ``xyxy`` and
            optionally ``name`` and ``kind``; blank for none.

    Raises:
        ValueError: If it is anything else; TypeError and KeyError too. Values are not
            checked here.
    """
    if not cell.strip():
        return ()
    entries = parse_json(cell, finite=False)
    if not isinstance(entries, list):
        raise TypeError(f"{type(entries).__name__} instead of a list of boxes")
    boxes = []
    for entry in entries:
        record = entry if isinstance(entry, dict) else {"xyxy": entry}
        x1, y1, x2, y2 = (_pixels(value) for value in _four(record["xyxy"]))
        kind = str(record.get("kind", "region"))
        boxes.append(Box(str(record.get("name", "")), (x1, y1, x2, y2), kind))
    return tuple(boxes)


def _four(entry: Any) -> list[Any]:
    # A text of four digits would unpack too.
    if not isinstance(entry, list) or len(entry) != 4:
        raise ValueError(f"{entry!r} instead of four edges")
    return entry


def _pixels(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def inside(boxes: Iterable[Box], height: int, width: int) -> tuple[Box, ...]:
    """Boxes with edges that reach over the image by rounding set on its border.

    The one rule for all boxes: up to `ROUNDING` pixels are clipped, anything beyond
    stays as it is, for `box_fault` to refuse.

    Args:
        boxes: In pixels of an image.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Example:
        >>> inside([Box("heart", (-0.4, 3, 32.5, 30))], 24, 32)[0].xyxy
        (0.0, 3, 32.0, 30)
    """

    def clipped(value: float, most: int) -> float:
        near = min(max(value, 0.0), float(most))
        return near if value != near and abs(value - near) <= ROUNDING else value

    found = []
    for box in boxes:
        x1, y1, x2, y2 = map(clipped, box.xyxy, (width, height, width, height))
        found.append(replace(box, xyxy=(x1, y1, x2, y2)))
    return tuple(found)


def box_fault(boxes: Iterable[Box], height: int, width: int) -> str | None:
    """What is wrong with the first box that cannot be used; None if all can.

    Args:
        boxes: In pixels of an image; see `inside` for those that round over its edge.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    for box in inside(boxes, height, width):
        x1, y1, x2, y2 = box.xyxy
        if not all(math.isfinite(value) for value in box.xyxy):
            return "nan_box"
        if x2 <= x1 or y2 <= y1:
            return "inverted_box"
        if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
            return "outside_box"
    return None

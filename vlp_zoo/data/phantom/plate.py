"""What a picture shows, gathered while it is drawn: boxes, masks, lesions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vlp_zoo.data.phantom.canvas import Canvas, Field, Mask, Picture
from vlp_zoo.data.phantom.world import Drawing
from vlp_zoo.types import Box

__all__ = ["Plate"]


class Plate:
    """Truth to the pixel about one picture.

    Args:
        canvas: The pixel grid.
        regions: Name to outline (N, 2) in body coordinates; each has a box.
        structures: Masks of what is no disease.
    """

    def __init__(
        self,
        canvas: Canvas,
        regions: Mapping[str, Field],
        structures: Mapping[str, Mask],
    ) -> None:
        self._masks = dict(structures)
        self._lesions: list[dict[str, Any]] = []
        self._boxes: list[Box] = []
        if regions:
            points = canvas.pixels(np.concatenate(list(regions.values())))
            points = np.clip(points, 0, canvas.size)
            starts = np.cumsum([0, *map(len, regions.values())])[:-1]
            low, high = (f.reduceat(points, starts) for f in (np.minimum, np.maximum))
            self._boxes += [
                Box(name, (x1, y1, x2, y2))
                for name, (x1, y1), (x2, y2) in zip(
                    regions, low.tolist(), high.tolist(), strict=True
                )
            ]

    def add(self, name: str, mask: Mask, **known: object) -> None:
        """Note what was drawn of a lesion, if any of it lies in the picture.

        Args:
            name: The name of its box and mask; masks of one name are united.
            mask: Its pixels, (H, W).
            known: What else is known of it.
        """
        if not mask.any():
            return
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (
            float(columns[0]),
            float(rows[0]),
            float(columns[-1] + 1),
            float(rows[-1] + 1),
        )
        self._masks[name] = self._masks[name] | mask if name in self._masks else mask
        self._boxes.append(Box(name, box, "lesion"))
        self._lesions.append({**known, "box": box})

    def drawing(self, image: Picture) -> Drawing:
        """The picture with all that was noted."""
        return Drawing(image, tuple(self._boxes), self._masks, tuple(self._lesions))

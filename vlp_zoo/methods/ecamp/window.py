"""ECAMP's image side in the workers, and where its super-resolution window lies.

The super-resolution loss looks at a window of 12 x 12 of the 14 x 14 patches. The
authors' window labels and the code that made them were never released; their figure
ties the window to an "entity-specific attention map". `attention_window` follows that
description with the model's own cross-attention.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.methods.ecamp.text import ReportTransform
from vlp_zoo.transforms import CropGeometry, planes, training_view
from vlp_zoo.types import Box, Example, Study

__all__ = ["ECAMPTransform", "attention_window", "cut", "window_cells"]


def window_cells(grid: tuple[int, int]) -> int:
    """Side of the window in patches: 12 of 14, and in proportion for other grids."""
    return max(round(12 / 14 * min(grid)), 1)


def attention_window(
    attention: Tensor,
    entity_mask: Tensor,
    keep_ids: Tensor,
    grid: tuple[int, int],
) -> Tensor:
    """The window that gathers most of the attention of entity tokens.

    Args:
        attention: (B, T, V) attention of tokens over visible patches.
        entity_mask: (B, T) bool, the tokens that ask.
        keep_ids: (B, V) patch numbers of the visible patches.
        grid: Rows and columns of the patches.

    Returns:
        (B, 2) int64, first row and column; the centre where no entity is named.
    """
    cells = window_cells(grid)
    asking = entity_mask.to(attention.dtype)
    mass = torch.einsum("bt,btv->bv", asking, attention)
    whole = mass.new_zeros(len(mass), grid[0] * grid[1]).scatter(1, keep_ids, mass)
    # All places of the window at once: a box filter over the map.
    boxed = functional.avg_pool2d(whole.view(-1, 1, *grid), cells, stride=1)
    columns = boxed.shape[-1]
    best = boxed.flatten(1).argmax(1)
    found = torch.stack([best // columns, best % columns], dim=1)
    middle = [torch.full_like(best, (side - cells) // 2) for side in grid]
    centre = torch.stack(middle, dim=1)
    return torch.where(entity_mask.any(1)[:, None], found, centre)


def cut(images: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Cut a window out of each image.

    Args:
        images: (B, C, H, W).
        rows: (B, R) row numbers; those beyond the border repeat it.
        columns: (B, Q) as above.

    Returns:
        (B, C, R, Q), and (B, 1, R, Q) bool, True = inside the image.
    """
    channels, height, width = images.shape[1:]
    index = rows.clamp(0, height - 1)[:, None, :, None]
    part = images.gather(2, index.expand(-1, channels, -1, width))
    index = columns.clamp(0, width - 1)[:, None, None]
    part = part.gather(3, index.expand(*part.shape[:3], -1))
    tall, wide = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    return part, tall[:, None, :, None] & wide[:, None, None]


@dataclass(frozen=True)
class ECAMPTransform:
    """Study to example: what the workers run.

    Args:
        report: Text part.
        image_px: Side of the large image (twice the encoder's input).
        grid: Rows and columns of patches.
        train: Crop at random; else the whole image is resized.
        crop_scale: Smallest share of the image that a crop shows.
        flip: Chance of mirroring.
        window: ``"boxes"`` or ``"batch"`` to add ``window_origin``; else nothing.
        follow_crop: Move a given window along with crop and flip.
    """

    report: ReportTransform
    image_px: int
    grid: tuple[int, int]
    train: bool
    crop_scale: float = 0.2
    flip: float = 0.0
    window: str = "attention"
    follow_crop: bool = True

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Fields of one example; see the batch of `vlp_zoo.methods.ecamp`."""
        fields = self.report(study, rng)
        image = study.image
        height, width = image.shape[:2]
        pixels, geometry = training_view(
            image,
            rng,
            self.image_px,
            train=self.train,
            crop_scale=self.crop_scale,
            flip=self.flip,
        )
        example: Example = {
            "uid": study.uid,
            "image": planes(pixels),
            # Corruption is drawn on the device from this key, not from the worker.
            "noise_key": np.int64(rng.integers(0, 2**63 - 1)),
            **fields,
        }
        if self.window in ("boxes", "batch"):
            box = self._window_box(study, width, height)
            if not self.follow_crop:
                geometry = CropGeometry(0, 0, width, height, self.image_px)
            example["window_origin"] = self._origin(box, geometry)
        return example

    def _window_box(self, study: Study, width: int, height: int) -> Box | None:
        """The rectangle of interest in pixels of the study's image."""
        if self.window == "batch":
            origin = study.facts.get("window_origin")
            if origin is None:
                return None
            cells, (rows, columns) = window_cells(self.grid), self.grid
            x, y = origin[0] * width / columns, origin[1] * height / rows
            side_x, side_y = cells * width / columns, cells * height / rows
            return Box("window", (x, y, x + side_x, y + side_y))
        lesions = [box for box in study.boxes if box.kind == "lesion"]
        corners = np.array([box.xyxy for box in lesions or study.boxes])
        if not len(corners):
            return None
        low, high = corners[:, :2].min(0), corners[:, 2:].max(0)
        return Box("window", (low[0], low[1], high[0], high[1]))

    def _origin(self, box: Box | None, geometry: CropGeometry) -> Tensor:
        """First column and row of the window centred on the box, inside the grid."""
        cells, (rows, columns) = window_cells(self.grid), self.grid
        free = (columns - cells, rows - cells)
        seen = geometry.apply_boxes([box]) if box is not None else ()
        if not seen:
            return torch.tensor([free[0] // 2, free[1] // 2])
        x1, y1, x2, y2 = seen[0].xyxy
        step = (geometry.size / columns, geometry.size / rows)
        corner = ((x1 + x2) / 2 / step[0], (y1 + y2) / 2 / step[1])
        return torch.tensor(
            [
                min(max(round(middle - cells / 2), 0), most)
                for middle, most in zip(corner, free, strict=True)
            ]
        )

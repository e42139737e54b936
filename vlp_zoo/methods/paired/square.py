"""Images as ASG, MGCA and GLoRIA see them: centred on a black square, cut out of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from vlp_zoo.transforms import CropGeometry, training_view
from vlp_zoo.types import Box

__all__ = ["Placement", "cut_out", "enlarged", "fit_square", "square_crop"]


@dataclass(frozen=True)
class Placement:
    """Where an image went: scaled by its longer side, centred in a square, cropped.

    Attributes:
        across: Factor on x.
        down: Factor on y.
        left: Columns added on the left, less the crop's first column.
        top: Rows added at the top, less the crop's first row.
        size: Side of the crop.
    """

    across: float
    down: float
    left: int
    top: int
    size: int

    def apply(self, box: Box) -> Box | None:
        """A box in pixels of the crop, cut at its border; None if nothing is left."""
        x1, y1, x2, y2 = box.xyxy
        x1, x2 = (
            min(max(x * self.across + self.left, 0.0), self.size) for x in (x1, x2)
        )
        y1, y2 = (min(max(y * self.down + self.top, 0.0), self.size) for y in (y1, y2))
        if x2 <= x1 or y2 <= y1:
            return None
        return replace(box, xyxy=(x1, y1, x2, y2))


def fit_square(
    image: npt.NDArray[np.uint8], side: int, antialias: bool, official: bool = False
) -> tuple[npt.NDArray[np.uint8], Placement]:
    """Scale the longer side to ``side`` and centre the image on a black square.

    Args:
        image: (H, W) or (H, W, 3).
        side: Side of the square in pixels.
        antialias: Shrink by area averaging; False is plain bilinear, as ASG does.
        official: What MGCA and GLoRIA do: the shorter side (the width of a square) is
            cut to whole pixels, not rounded, and small images are enlarged by
            OpenCV's area interpolation too.
    """
    height, width = image.shape[:2]
    factor = side / max(height, width)
    whole = int if official else round
    w, h = max(whole(width * factor), 1), max(whole(height * factor), 1)
    # Exact, where a quotient may fall just short of it and be cut.
    w, h = (side, h) if width > height else (w, side)
    area = official or (antialias and factor < 1)
    how = cv2.INTER_AREA if area else cv2.INTER_LINEAR
    scaled = image
    if (h, w) != (height, width):
        scaled = np.asarray(cv2.resize(image, (w, h), interpolation=how), np.uint8)
    top, left = (side - h) // 2, (side - w) // 2
    square = np.zeros((side, side, *image.shape[2:]), np.uint8)
    square[top : top + h, left : left + w] = scaled
    return square, Placement(w / width, h / height, left, top, side)


def cut_out(
    square: npt.NDArray[np.uint8], fitted: Placement, x: int, y: int, size: int
) -> tuple[npt.NDArray[np.uint8], Placement]:
    """Crop (size, size) at (x, y) of a square from `fit_square`."""
    part = np.ascontiguousarray(square[y : y + size, x : x + size])
    return part, replace(fitted, left=fitted.left - x, top=fitted.top - y, size=size)


def square_crop(
    image: npt.NDArray[np.uint8],
    rng: np.random.Generator,
    size: int,
    resize: int,
    train: bool,
    antialias: bool = True,
    official: bool = False,
    crop_scale: float | None = None,
) -> tuple[npt.NDArray[np.uint8], Placement | CropGeometry]:
    """A square of the image, at random in training, else its centre; and its place.

    Args:
        image: (H, W) or (H, W, 3).
        rng: Draws the place.
        size: Side of the result.
        resize: Side of the square that it is cut out of.
        train: Cut at random.
        antialias: Shrink by area averaging, as for `fit_square`.
        official: Sizes and interpolation of MGCA, as for `fit_square`.
        crop_scale: Smallest share of the image that a crop of any size shows, out of
            the image itself; None cuts it out of the square.
    """
    if crop_scale is not None:
        return training_view(image, rng, size, train=train, crop_scale=crop_scale)
    square, fitted = fit_square(image, resize, antialias, official)
    free = resize - size
    x, y = free // 2, free // 2
    if train:
        x, y = (int(offset) for offset in rng.integers(0, free + 1, 2))
    return cut_out(square, fitted, x, y, size)


def enlarged(images: Tensor, side: int) -> Tensor:
    """Images (B, C, S, S) at another side, corners on corners: a ResNet reads 224 as 299."""
    if images.shape[-1] == side:
        return images
    return functional.interpolate(
        images, (side, side), mode="bilinear", align_corners=True
    )

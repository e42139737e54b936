"""Pixels: cropping, resizing, and what that does to boxes.

Everything here takes and gives uint8 arrays, (H, W) or in colour (H, W, 3), and draws
only from the generator it is handed. Images stay 8-bit, and grey ones one-channel, until
the device, where a method normalises them and makes three channels of one: that is a
twelfth of the bytes to move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError, DataRejectedError
from vlp_zoo.types import Box

__all__ = [
    "CropGeometry",
    "centre_crop",
    "content_box",
    "planes",
    "random_resized_crop",
    "resize",
    "training_view",
]

Grey = npt.NDArray[np.uint8]

INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
}


@dataclass(frozen=True, slots=True)
class CropGeometry:
    """Where a square of output pixels comes from in the original image.

    Attributes:
        left: Left edge of the crop in original pixels.
        top: Top edge.
        width: Width of the crop in original pixels.
        height: Height.
        size: Side of the output in pixels.
        mirrored: Whether left and right were swapped after cropping.
    """

    left: int
    top: int
    width: int
    height: int
    size: int
    mirrored: bool = False

    def apply(self, box: Box) -> Box | None:
        """A box in output pixels, cut at the border; None if nothing is left."""
        return next(iter(self.apply_boxes([box])), None)

    def apply_boxes(
        self, boxes: Sequence[Box], min_visible: float = 0.0
    ) -> tuple[Box, ...]:
        """Boxes in output pixels, cut at the border.

        A mirrored image shows the patient's left where the right was, so mirrored
        boxes also trade the words left and right in their names.

        Args:
            boxes: In pixels of the original image.
            min_visible: Share of a box's area that must lie inside the crop, above
                which it is kept; 0 keeps every box that is not wholly outside.

        Returns:
            The boxes that are left, in order.
        """
        kept = []
        for box in boxes:
            x1, y1, x2, y2 = box.xyxy
            area = (x2 - x1) * (y2 - y1)
            left = min(max(x1 - self.left, 0.0), self.width)
            right = min(max(x2 - self.left, 0.0), self.width)
            top = min(max(y1 - self.top, 0.0), self.height)
            bottom = min(max(y2 - self.top, 0.0), self.height)
            visible = (right - left) * (bottom - top)
            if area <= 0 or visible / area <= min_visible:
                continue
            across, down = self.size / self.width, self.size / self.height
            left, right = left * across, right * across
            top, bottom = top * down, bottom * down
            name = box.name
            if self.mirrored:
                left, right = self.size - right, self.size - left
                name = _swap_sides(name)
            kept.append(replace(box, name=name, xyxy=(left, top, right, bottom)))
        return tuple(kept)


def planes(image: Grey) -> Grey:
    """Channels first, as batches have them: (H, W) to (1, H, W), (H, W, 3) to (3, H, W).

    Raises:
        DataRejectedError: If the image is neither grey nor of three colours.

    Example:
        >>> planes(np.zeros((4, 5, 3), np.uint8)).shape
        (3, 4, 5)
    """
    if image.ndim == 2:
        return image[None]
    if image.ndim != 3 or image.shape[2] != 3:
        raise DataRejectedError(
            "an image of shape (H, W), or (H, W, 3) in colour",
            f"shape {image.shape}",
            "let the source drop alpha and single channels, as vlp_zoo.pixels does",
        )
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _swap_sides(name: str) -> str:
    sides = {"left": "right", "right": "left"}
    return " ".join(sides.get(word, word) for word in name.split(" "))


def random_resized_crop(
    image: Grey,
    rng: np.random.Generator,
    size: int,
    *,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.0,
    interpolation: str = "cubic",
) -> tuple[Grey, CropGeometry]:
    """Crop a random rectangle and resize it to a square.

    The rectangle is drawn as torchvision's RandomResizedCrop draws it: area uniform in
    ``scale``, aspect ratio log-uniform in ``ratio``, ten tries, then the largest
    central rectangle whose ratio is allowed.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        rng: Draws the rectangle and the flip.
        size: Side of the output in pixels.
        scale: Bounds of the crop's share of the image area.
        ratio: Bounds of width over height.
        flip: Probability of mirroring. 0 for chests: the heart has a side.
        interpolation: "nearest", "bilinear" or "cubic", where pixels must be made.

    Returns:
        uint8 (size, size) or (size, size, 3), and the geometry that maps boxes.
    """
    height, width = image.shape[:2]
    left, top, w, h = _draw_rectangle(rng, width, height, scale, ratio)
    # One draw even when it cannot matter keeps later draws the same for any flip.
    mirrored = bool(rng.random() < flip)
    crop = _rescale(image[top : top + h, left : left + w], size, size, interpolation)
    if mirrored:
        crop = np.ascontiguousarray(crop[:, ::-1])
    return crop, CropGeometry(left, top, w, h, size, mirrored)


def training_view(
    image: Grey,
    rng: np.random.Generator,
    size: int,
    *,
    train: bool,
    crop_scale: float,
    flip: float = 0.0,
) -> tuple[Grey, CropGeometry]:
    """A random crop in training, else the whole image; `random_resized_crop` has more.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        rng: Draws the crop and the flip.
        size: Side of the output in pixels.
        train: Whether to draw.
        crop_scale: Smallest share of the image that a crop shows.
        flip: Probability of mirroring.

    Returns:
        uint8 (size, size) or (size, size, 3), and the geometry that maps boxes.
    """
    if train:
        return random_resized_crop(image, rng, size, scale=(crop_scale, 1.0), flip=flip)
    height, width = image.shape[:2]
    return resize(image, size), CropGeometry(0, 0, width, height, size)


def _draw_rectangle(
    rng: np.random.Generator,
    width: int,
    height: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    for _ in range(10):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(*log_ratio))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(rng.integers(0, height - h + 1))
            left = int(rng.integers(0, width - w + 1))
            return left, top, w, h
    w, h = width, height
    if width / height < ratio[0]:
        h = min(height, round(w / ratio[0]))
    elif width / height > ratio[1]:
        w = min(width, round(h * ratio[1]))
    return (width - w) // 2, (height - h) // 2, w, h


def resize(
    image: Grey,
    size: int,
    *,
    keep_aspect: bool = False,
    pad: bool = False,
    interpolation: str = "cubic",
) -> Grey:
    """Resize to a square, or by the side.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        size: Target side in pixels.
        keep_aspect: Scale both sides alike, so that the shorter one becomes ``size``
            (with ``pad`` the longer one); else both sides become ``size``.
        pad: With ``keep_aspect``, add black to make the result (size, size).
        interpolation: "nearest", "bilinear" or "cubic", where pixels must be made.

    Returns:
        uint8; (size, size) unless ``keep_aspect`` without ``pad``.
    """
    height, width = image.shape[:2]
    if not keep_aspect:
        return _rescale(image, size, size, interpolation)
    factor = size / (max(height, width) if pad else min(height, width))
    w, h = max(1, round(width * factor)), max(1, round(height * factor))
    scaled = _rescale(image, w, h, interpolation)
    if not pad:
        return scaled
    top, left = (size - h) // 2, (size - w) // 2
    edges = (top, size - h - top, left, size - w - left)
    padded = cv2.copyMakeBorder(scaled, *edges, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(padded, dtype=np.uint8)


def centre_crop(image: Grey, size: int) -> Grey:
    """The central (size, size) part.

    Args:
        image: uint8 (H, W), both sides at least ``size``.
        size: Side in pixels.

    Raises:
        ConfigError: If the image is smaller.
    """
    height, width = image.shape[:2]
    if min(height, width) < size:
        raise ConfigError(
            f"an image of at least {size} x {size} pixels to crop",
            f"{width} x {height}",
            "resize with keep_aspect=True first, or ask for a smaller crop",
        )
    top, left = (height - size) // 2, (width - size) // 2
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def _rescale(image: Grey, width: int, height: int, interpolation: str) -> Grey:
    if interpolation not in INTERPOLATIONS:
        raise ConfigError(
            f"an interpolation among {', '.join(INTERPOLATIONS)}",
            repr(interpolation),
            "choose one of them",
        )
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return np.ascontiguousarray(image)
    method = INTERPOLATIONS[interpolation]
    if interpolation != "nearest" and width <= columns and height <= rows:
        # cv2's other kernels have a fixed support and alias when they shrink; area
        # averaging is its only antialiased one (Pillow's and torchvision's all are).
        method = cv2.INTER_AREA
    scaled = cv2.resize(image, (width, height), interpolation=method)
    return np.asarray(scaled, dtype=np.uint8)


def content_box(image: Grey, threshold: int = 12) -> tuple[int, int, int, int]:
    """The rectangle that holds a picture inside a dark surround.

    For the field of view of fundus photographs and for scanned films with black
    borders. A row or column belongs to the picture if at least 2 % of it is brighter
    than the threshold, so that burnt-in letters and hot pixels do not count.

    Args:
        image: uint8 (H, W) or (H, W, 3); of a colour pixel the brightest channel counts.
        threshold: Grey level that the surround does not exceed.

    Returns:
        ``(x1, y1, x2, y2)``; the whole image where nothing or nearly nothing is bright.

    Example:
        >>> picture = np.zeros((10, 12), np.uint8)
        >>> picture[2:8, 3:9] = 90
        >>> content_box(picture)
        (3, 2, 9, 8)
    """
    height, width = image.shape[:2]
    bright = (image if image.ndim == 2 else image.max(axis=2)) > threshold
    rows = np.nonzero(bright.mean(axis=1) >= 0.02)[0]
    columns = np.nonzero(bright.mean(axis=0) >= 0.02)[0]
    if len(rows) < height // 10 or len(columns) < width // 10:
        return 0, 0, width, height
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

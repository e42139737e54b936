"""Deep pixel values to 256 grey levels."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["luma", "own_range", "reddened", "to_levels"]

Values = npt.NDArray[Any]


def own_range(values: Values) -> tuple[float, float]:
    """Lowest and highest value of a picture, defective pixels left out.

    A detector's hot or dead pixel would press the anatomy into a few grey levels. Where
    no more than one pixel in 10,000 (one, in pictures of 1,000 to 20,000) lies in the
    upper or in the lower half of the range, the range ends before that half; the
    pixels become white or black.

    Args:
        values: Pixel values in an array of any shape, all finite.

    Example:
        >>> picture = np.arange(1024) % 400
        >>> own_range(picture)
        (0.0, 399.0)
        >>> picture[7] = 65_535
        >>> own_range(picture)
        (0.0, 399.0)
    """
    if not values.size:
        return 0.0, 0.0
    wide = values.astype(np.float64) if values.dtype.kind == "f" else values
    low, high = float(wide.min()), float(wide.max())
    left = max(values.size // 10_000, int(values.size >= 1000))
    while high > low and left:
        middle = (low + high) / 2
        inside = wide[(wide >= low) & (wide <= high)]
        above = int(np.count_nonzero(inside > middle))
        below = int(np.count_nonzero(inside < middle))
        few = min(above, below)
        # Two values of which one is rare are a picture of two values.
        if few > left or inside.size - few <= few:
            break
        rest = inside[inside <= middle] if above <= below else inside[inside >= middle]
        if not float(rest.max()) > float(rest.min()):
            break
        low, high, left = float(rest.min()), float(rest.max()), left - few
    return low, high


def to_levels(
    values: Values, low: float | None = None, high: float | None = None
) -> npt.NDArray[np.uint8]:
    """Values from ``low`` to ``high``, by default `own_range`, as 0 to 255."""
    if values.dtype == np.uint8 and low is None:
        return np.asarray(values, np.uint8)
    if low is None or high is None:
        low, high = own_range(values)
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    # float64 for what float32 cannot hold: 32-bit integers.
    wide: Values = values.astype(
        np.float32 if values.dtype.itemsize <= 2 else np.float64
    )
    scaled = ((wide - low) * (255 / (high - low))).clip(0, 255)
    return np.asarray(np.rint(scaled), np.uint8)


def luma(colour: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The brightness of colours (ITU-R BT.601).

    Args:
        colour: (H, W, 3), red first.
    """
    return np.asarray(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY), np.uint8)


def reddened(
    image: npt.NDArray[np.uint8], heat: npt.NDArray[Any]
) -> npt.NDArray[np.uint8]:
    """The lightness of an image, with a map over it in red.

    A red map could not be read on the red of a fundus.

    Args:
        image: (H, W, 3).
        heat: (H, W) from 0 to 1, all red.

    Example:
        >>> reddened(np.full((1, 2, 3), 100, np.uint8), np.array([[0.0, 1.0]])).tolist()
        [[[70, 70, 70], [255, 70, 70]]]
    """
    light = np.repeat(image.mean(2, keepdims=True) * 0.7, 3, 2)
    light[..., 0] += heat * (255 - light[..., 0])
    return light.astype(np.uint8)

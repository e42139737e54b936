"""How an image was made, in a few numbers that know nothing of the anatomy."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["ACQUISITION", "acquisition_features", "shrunk"]

Grey = npt.NDArray[np.uint8]

ACQUISITION = (
    "log height",
    "log width",
    "log aspect",
    "mean",
    "sd",
    *(f"border q{q:02d}" for q in (5, 25, 50, 75, 95)),
    "corner top left",
    "corner top right",
    "corner bottom left",
    "corner bottom right",
    "share black",
    "share white",
    "log sharpness",
    "log noise",
)
"""What is measured of the acquisition, and nothing of the anatomy on purpose. Mean and
sd of a radiograph do hang on disease a little."""

LONG_SIDE = 512
FRAME = 0.05


def shrunk(pixels: Grey) -> Grey:
    """The image with its longer side at 512 pixels; smaller ones as they are."""
    factor = LONG_SIDE / max(pixels.shape)
    if factor >= 1:
        return pixels
    height, width = (max(1, round(side * factor)) for side in pixels.shape)
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def acquisition_features(
    pixels: Grey, small: Grey | None = None
) -> npt.NDArray[np.float32]:
    """How an image was made, in a few numbers.

    Args:
        pixels: uint8 (H, W).
        small: `shrunk` of it, where that is already there.

    Returns:
        (F,) in the order of `ACQUISITION`.
    """
    small = shrunk(pixels) if small is None else small
    height, width = pixels.shape
    frame = max(1, round(FRAME * min(small.shape)))
    border = np.concatenate(
        [
            part.ravel()
            for part in (
                small[:frame],
                small[-frame:],
                small[frame:-frame, :frame],
                small[frame:-frame, -frame:],
            )
        ]
    )
    corner = max(1, round(0.08 * min(small.shape)))
    ends = (slice(None, corner), slice(-corner, None))
    corners = [float(small[y, x].mean()) for y in ends for x in ends]
    # Sharpness and noise at the pixels' own size: a resize leaves its mark there.
    middle = pixels[height // 4 : -(height // 4) or None, width // 4 : -(width // 4)]
    middle = middle if middle.size else pixels
    laplacian = cv2.Laplacian(middle, cv2.CV_32F)
    grain = middle.astype(np.float32) - cv2.medianBlur(np.ascontiguousarray(middle), 3)
    return np.array(
        [
            np.log(height),
            np.log(width),
            np.log(width / height),
            small.mean(),
            small.std(),
            *np.percentile(border, [5, 25, 50, 75, 95]),
            *corners,
            (small <= 2).mean(),
            (small >= 253).mean(),
            np.log1p(float(laplacian.var())),
            np.log1p(float(np.abs(grain).mean())),
        ],
        np.float32,
    )

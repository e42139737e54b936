"""Views of an image as IMITATE and M-FLAG make them: border cut, warped, stretched."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.transforms import centre_crop, resize, training_view

__all__ = ["RandomView", "cut_border"]

Grey = npt.NDArray[np.uint8]


def cut_border(image: Grey) -> Grey:
    """The bounding box of the pixels above 0, stretched to 0..255.

    Args:
        image: uint8 (H, W), or (H, W, 3), whose channels are stretched alike.

    Returns:
        uint8; the image itself if it is black, and unstretched if it is of one value.
    """
    bright = image if image.ndim == 2 else image.max(2)
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    if not len(rows):
        return image
    inside = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _stretch(inside)


def _stretch(image: Grey) -> Grey:
    low, high = int(image.min()), int(image.max())
    if high <= low or (low, high) == (0, 255):
        return image
    table = (np.arange(256, dtype=np.float32) - low) * (255.0 / (high - low))
    return np.asarray(np.rint(table.clip(0, 255)).astype(np.uint8)[image], np.uint8)


@dataclass(frozen=True)
class RandomView:
    """How a training view differs from the image; defaults are IMITATE's.

    Attributes:
        margin: Side of the resized image over that of the crop.
        crop_scale: Smallest share of the image that a crop of any size shows; None
            crops the resized image.
        horizontal_flip: Chance of mirroring.
        vertical_flip: Chance of turning upside down.
        rotation: Least and largest angle in degrees, anticlockwise.
        perspective: Chance of a perspective distortion.
        distortion: Its strength: how far corners move, over half the side.
        autocontrast: Chance of stretching values to 0..255, channels alike.
    """

    margin: float = 256 / 224
    crop_scale: float | None = None
    horizontal_flip: float = 0.5
    vertical_flip: float = 0.5
    rotation: tuple[float, float] = (-30.0, 30.0)
    perspective: float = 0.5
    distortion: float = 0.5
    autocontrast: float = 0.5

    def prepare(self, image: Grey, size: int) -> Grey:
        """What views of a side are cropped from."""
        if self.crop_scale is not None:
            return image
        side = max(round(size * self.margin), size)
        return resize(image, side, interpolation="bilinear")

    def whole(self, image: Grey, size: int) -> Grey:
        """The view without chance, of an image from `prepare`: its centre, or all."""
        if self.crop_scale is not None:
            return resize(image, size)
        return centre_crop(image, size)

    def _crop(self, image: Grey, rng: np.random.Generator, size: int) -> Grey:
        if self.crop_scale is not None:
            return training_view(
                image, rng, size, train=True, crop_scale=self.crop_scale
            )[0]
        height, width = image.shape[:2]
        left = int(rng.integers(0, width - size + 1))
        top = int(rng.integers(0, height - size + 1))
        return image[top : top + size, left : left + size]

    def __call__(self, image: Grey, rng: np.random.Generator, size: int) -> Grey:
        """One view.

        Crop, flips, rotation and perspective are one map of the plane, so pixels are
        interpolated once.

        Args:
            image: uint8 (H, W) or (H, W, 3), from `prepare`.
            rng: Draws everything.
            size: Side S of the view.

        Returns:
            uint8 (S, S) or (S, S, 3); black where the image does not reach.
        """
        view = self._crop(image, rng, size)
        mirrored, turned, stretched = (
            rng.random() < chance
            for chance in (self.horizontal_flip, self.vertical_flip, self.autocontrast)
        )
        angle = rng.uniform(*self.rotation)
        plane = np.eye(3)
        if mirrored:
            plane = np.array([[-1.0, 0, size - 1], [0, 1, 0], [0, 0, 1]])
        if turned:
            plane = np.array([[1.0, 0, 0], [0, -1, size - 1], [0, 0, 1]]) @ plane
        if angle:
            middle = ((size - 1) / 2, (size - 1) / 2)
            around = cv2.getRotationMatrix2D(middle, angle, 1.0)
            plane = np.vstack([around, [0, 0, 1]]) @ plane
        if rng.random() < self.perspective:
            plane = self._tilt(rng, size) @ plane
        if not np.array_equal(plane, np.eye(3)):
            warped = cv2.warpPerspective(
                view, plane, (size, size), flags=cv2.INTER_CUBIC
            )
            view = np.asarray(warped, np.uint8)
        return np.ascontiguousarray(_stretch(view) if stretched else view)

    def _tilt(self, rng: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
        """Each corner moves inwards by up to half of ``distortion`` of the side."""
        reach = self.distortion * (size // 2)
        edge = size - 1
        corners = np.array([[0, 0], [edge, 0], [edge, edge], [0, edge]], np.float32)
        inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float32)
        moved = corners + inwards * rng.uniform(0, reach, (4, 2)).astype(np.float32)
        found = cv2.getPerspectiveTransform(corners, moved)
        return np.asarray(found, np.float64)

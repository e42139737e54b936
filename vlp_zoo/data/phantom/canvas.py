"""Drawing on an attenuation map: shapes in body coordinates, pixels at any size.

Body coordinates run from 0 to 1 in both axes over the exposed field; an affine map
(`Canvas.affine`) takes them to pixels, so that position, rotation and zoom of an
exposure change no shape and nothing is resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

__all__ = [
    "Canvas",
    "Field",
    "Grid",
    "Mask",
    "Picture",
    "Rng",
    "noise_tile",
    "sigmoid",
    "smooth",
    "spline",
]

Field = npt.NDArray[np.float32]
"""(H, W) of a physical quantity, or (N, 2) of body coordinates."""

Grid = npt.NDArray[np.floating[Any]]
"""The same before it is rounded to single precision."""

Mask = npt.NDArray[np.bool_]
"""(H, W), True where something is."""

Picture = npt.NDArray[np.uint8]
"""(H, W) in grey, or (H, W, 3) with red first."""

Rng = np.random.Generator

TILE = 512
"""Side of the noise tiles in pixels."""

SHIFT = 4
"""Fractional bits of the coordinates handed to OpenCV."""


@lru_cache(maxsize=8)
def _basis(steps: int) -> Field:
    """Catmull-Rom weights, (steps, 4)."""
    t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[:, None]
    powers = np.concatenate([t**0, t, t**2, t**3], 1)
    matrix = 0.5 * np.array(
        [[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]], np.float32
    )
    return np.asarray(powers @ matrix, np.float32)


def spline(
    points: npt.ArrayLike, closed: bool = False, steps: int = 8
) -> npt.NDArray[np.float32]:
    """A smooth curve through control points, or many curves at once.

    Args:
        points: (..., N, 2).
        closed: Whether the last point joins the first.
        steps: Samples per span.

    Returns:
        (..., N * steps, 2) if closed, else (..., (N - 1) * steps + 1, 2).
    """
    knots = np.asarray(points, np.float32)
    first, last = knots[..., :1, :], knots[..., -1:, :]
    if closed:
        padded = np.concatenate([last, knots, knots[..., :2, :]], -2)
        spans = knots.shape[-2]
    else:
        padded = np.concatenate([first, knots, last], -2)
        spans = knots.shape[-2] - 1
    windows = np.stack([padded[..., i : i + spans, :] for i in range(4)], -2)
    curve = (_basis(steps) @ windows).reshape(*knots.shape[:-2], spans * steps, 2)
    return curve if closed else np.concatenate([curve, last], -2)


def sigmoid(field: Grid) -> Field:
    """Logistic function that cannot overflow."""
    bounded = np.clip(np.asarray(field, np.float32), -30, 30)
    return np.asarray(1 / (1 + np.exp(-bounded)), np.float32)


def smooth(field: Grid, sigma: float) -> Field:
    """Gaussian blur; wide ones are computed on a reduced grid.

    Args:
        field: (H, W).
        sigma: Standard deviation in pixels.
    """
    field = np.asarray(field, np.float32)
    if sigma < 0.3:
        return field
    if sigma <= 3.0:
        return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32)
    height, width = field.shape
    factor = min(8, int(sigma // 1.5))
    small = cv2.resize(
        field,
        (max(1, width // factor), max(1, height // factor)),
        interpolation=cv2.INTER_AREA,
    )
    small = cv2.GaussianBlur(
        small, (0, 0), sigma / factor, borderType=cv2.BORDER_REPLICATE
    )
    wide = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide, np.float32)


@lru_cache(maxsize=4)
def noise_tile(kind: str, side: int = TILE) -> Field:
    """A tile of unit-variance noise that wraps around, the same in every process.

    Args:
        kind: ``"white"``, ``"cloud"`` (1/f^1.6, body texture) or ``"patch"`` (band of
            middle frequencies, patchy disease).
        side: Pixels.
    """
    rng = np.random.default_rng({"white": 11, "cloud": 12, "patch": 13}[kind])
    white = rng.standard_normal((side, side)).astype(np.float32)
    if kind == "white":
        return white
    frequency = np.hypot(
        np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]
    ) * float(side)
    frequency[0, 0] = 1.0
    if kind == "cloud":
        gain = frequency**-1.6
    else:
        gain = np.exp(-0.5 * (np.log(frequency / 14.0) / 0.45) ** 2)
    gain[0, 0] = 0.0
    tile = np.fft.irfft2(np.fft.rfft2(white) * gain, s=(side, side))
    return np.asarray(tile / tile.std(), np.float32)


def _unit(page: Picture) -> Field:
    """A page of 0 to 255 as a field from 0 to 1."""
    return np.multiply(page, np.float32(1 / 255), dtype=np.float32)


def _band(lines: npt.ArrayLike, width: float) -> Field:
    """Outlines (..., 2 N, 2) of lines (..., N, 2) with a width."""
    axis = np.asarray(lines, np.float32)
    along = np.empty_like(axis)
    along[..., 1:-1, :] = axis[..., 2:, :] - axis[..., :-2, :]
    along[..., 0, :] = axis[..., 1, :] - axis[..., 0, :]
    along[..., -1, :] = axis[..., -1, :] - axis[..., -2, :]
    length = np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-6)
    across = along[..., ::-1] * (0.5 * width / length)[..., None]
    across[..., 0] *= -1
    return np.concatenate([axis + across, (axis - across)[..., ::-1, :]], -2)


class Canvas:
    """A pixel grid that knows where the body is.

    Args:
        size: Side of the square image in pixels.
        affine: (2, 3), body coordinates to body coordinates (rotation, zoom, shift of
            the exposure), applied before the scaling to pixels.

    Attributes:
        x: (H, W) body x of each pixel centre.
        y: (H, W) body y of each pixel centre.
    """

    def __init__(self, size: int, affine: npt.ArrayLike) -> None:
        self.size = size
        self.affine = np.asarray(affine, np.float32)
        full = np.concatenate([self.affine, [[0, 0, 1]]])
        (a, b, c), (d, e, f) = np.linalg.inv(full)[:2].astype(np.float32)
        centre = (np.arange(size, dtype=np.float32) + 0.5) / size
        column, row = centre[None, :], centre[:, None]
        self.x: Field = a * column + (b * row + c)
        self.y: Field = d * column + (e * row + f)
        self.scale = float(size * np.sqrt(abs(np.linalg.det(full[:2, :2]))))
        """Pixels per body unit."""

    def pixels(self, points: npt.ArrayLike) -> Field:
        """Body coordinates (N, 2) to pixel coordinates, pixel edges at integers."""
        body = np.asarray(points, np.float32)
        return np.asarray(
            (body @ self.affine[:, :2].T + self.affine[:, 2]) * self.size, np.float32
        )

    def _fixed(self, points: npt.ArrayLike) -> npt.NDArray[np.int32]:
        fixed = np.rint((self.pixels(points) - 0.5) * (1 << SHIFT))
        return np.asarray(fixed, np.int32)

    def _many(self, lines: Sequence[npt.ArrayLike]) -> list[npt.NDArray[np.int32]]:
        """All lines in one transform: there may be hundreds of short ones."""
        parts = [np.asarray(line, np.float32) for line in lines]
        fixed = self._fixed(np.concatenate(parts))
        ends = list(accumulate(len(part) for part in parts))
        return [fixed[end - len(p) : end] for p, end in zip(parts, ends, strict=True)]

    def polygon(self, points: npt.ArrayLike, blur: float = 0.0) -> Field:
        """A filled outline as a field from 0 to 1.

        Args:
            points: (N, 2) body coordinates.
            blur: Width of the soft edge in body units.
        """
        return self.polygons([points], blur)

    def polygons(self, outlines: Sequence[npt.ArrayLike], blur: float = 0.0) -> Field:
        """Several filled outlines that do not overlap, as one field."""
        page = np.zeros((self.size, self.size), np.uint8)
        for outline in self._many(outlines):
            cv2.fillPoly(page, [outline], 255, cv2.LINE_AA, SHIFT)
        return smooth(_unit(page), blur * self.scale)

    def strokes(
        self,
        lines: Sequence[npt.ArrayLike],
        width: float,
        page: Picture | None = None,
        value: float = 1.0,
    ) -> Picture:
        """Lines of one width on a uint8 page (255 = full).

        A line thinner than a pixel is drawn one pixel wide and fainter, so that a
        stroke keeps its weight at every image size.

        Args:
            lines: Each (N, 2) body coordinates.
            width: Body units.
            page: Drawn over; a new one if None.
            value: Strength from 0 to 1.
        """
        if page is None:
            page = np.zeros((self.size, self.size), np.uint8)
        thickness = width * self.scale
        strength = int(255 * value * min(1.0, max(thickness, 0.25)))
        if thickness > 2.5:
            # Filling the outline of a band is much quicker than a thick line.
            same = len({len(np.asarray(line)) for line in lines}) == 1
            bands = (
                list(_band(np.stack([np.asarray(line) for line in lines]), width))
                if same
                else [_band(line, width) for line in lines]
            )
            for band in self._many(bands):
                cv2.fillPoly(page, [band], strength, cv2.LINE_AA, SHIFT)
            return page
        cv2.polylines(
            page,
            self._many(lines),
            False,
            strength,
            max(1, round(thickness)),
            cv2.LINE_AA,
            SHIFT,
        )
        return page

    def lines(self, lines: Sequence[npt.ArrayLike], width: float) -> Field:
        """`strokes` on a new page, as a field from 0 to 1."""
        return _unit(self.strokes(lines, width))

    def stamp(
        self,
        page: Picture,
        anchor: npt.ArrayLike,
        matrix: npt.ArrayLike,
    ) -> Field:
        """A page of body-sized pixels put at a point, as a field from 0 to 1.

        Args:
            page: uint8 (h, w), one pixel for each ``1 / size`` of a body unit.
            anchor: Body point that the page's middle comes to.
            matrix: (2, 2), what the page goes through first: mirror, turn, stretch.
        """
        linear = self.affine[:, :2] @ np.asarray(matrix, np.float32)
        middle = 0.5 * (np.array(page.shape[::-1], np.float32) - 1)
        shift = self.pixels(np.asarray(anchor)[None])[0] - 0.5 - linear @ middle
        moved = cv2.warpAffine(
            page, np.column_stack([linear, shift]), (self.size, self.size)
        )
        return _unit(np.asarray(moved, np.uint8))

    def discs(self, centres: npt.ArrayLike, radius: float) -> Field:
        """Filled discs as a field from 0 to 1; centres (N, 2) in body units."""
        page = np.zeros((self.size, self.size), np.uint8)
        reach = max(1, round(radius * self.scale * (1 << SHIFT)))
        for x, y in self._fixed(centres):
            cv2.circle(page, (int(x), int(y)), reach, 255, -1, cv2.LINE_AA, SHIFT)
        return _unit(page)

    def noise(self, kind: str, rng: Rng, period: float = 1.0) -> Field:
        """A random window of a noise tile.

        Args:
            kind: ``"white"``, ``"cloud"`` or ``"patch"``, see `noise_tile`.
            rng: Where the window lies.
            period: Body units that the tile spans; smaller is finer.
        """
        side = TILE
        if kind != "white":
            side = min(TILE, max(16, int(self.size * period)))
        tile = _wrapped(kind, side, self.size)
        top, left = (int(v) for v in rng.integers(0, side, 2))
        window = tile[top : top + self.size, left : left + self.size]
        return np.ascontiguousarray(window)


@lru_cache(maxsize=32)
def _wrapped(kind: str, side: int, size: int) -> Field:
    """A noise tile at another size, repeated so that any window is a slice."""
    tile = noise_tile(kind)
    if side != TILE:
        tile = np.asarray(cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA))
    return np.pad(tile, ((0, size), (0, size)), mode="wrap")

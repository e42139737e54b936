"""How an eye was photographed: field, tint, light, blur, noise, haze.

Nothing here sees a lesion. The last steps set mean and spread of each colour inside the
field to numbers drawn beforehand, so that exudates or blood cannot give themselves
away by making the picture brighter or darker.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.data.phantom.canvas import Canvas, Field, Picture, Rng, smooth
from vlp_zoo.data.phantom.fundus.anatomy import FIELD_MIDDLE

__all__ = ["CAMERAS", "Camera", "measured_camera", "photograph"]

CAMERAS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "alpha": ((190, 62, 34), (30, 15, 9)),
    "beta": ((164, 84, 26), (29, 18, 9)),
    "gamma": ((182, 108, 72), (26, 19, 14)),
    "delta": ((150, 76, 48), (31, 18, 12)),
}
"""Invented makes: mean and spread of red, green and blue that each tends to."""

LAPLACIAN = 0.6745 * 20**0.5
"""Median size of the Laplacian of white noise of unit variance."""


@dataclass(frozen=True, slots=True)
class Camera:
    """Settings of one photograph, independent of the state of the eye.

    Attributes:
        model: Key of `CAMERAS`.
        field: Diameter of the field of view in disc diameters.
        aim: What lies in its middle, in the coordinates of the eye.
        roll: Rotation in degrees.
        radius: Radius of the lit disc as a share of half the picture's side.
        shift: Displacement of the disc in the picture, as a share of its side.
        crop: Where top and bottom are cut, as a share of the radius; 1 for nowhere.
        tab: Quarter of the margin that has a notch; -1 for none.
        mean: Mean of red, green and blue inside the field of view.
        spread: Standard deviation of red, green and blue inside the field of view.
        falloff: How much darker the margin is.
        lamp: Where the light is strongest, as shares of the radius.
        haze: Scattered light from cloudy media, 0 to 1.
        blur: Standard deviation in pixels of a picture of 224.
        sharpen: Strength of the camera's own sharpening.
        noise: Standard deviation of grain and fine texture together, in grey levels of
            a picture of 224 pixels.
        glare: Light that leaks in at the margin, 0 to 1.
        seed: Seed of the noise.
    """

    model: str
    field: float
    aim: tuple[float, float]
    roll: float
    radius: float
    shift: tuple[float, float]
    crop: float
    tab: int
    mean: tuple[float, float, float]
    spread: tuple[float, float, float]
    falloff: float
    lamp: tuple[float, float]
    haze: float
    blur: float
    sharpen: float
    noise: float
    glare: float
    seed: int

    @classmethod
    def draw(cls, rng: Rng) -> Camera:
        """Random settings."""
        model = str(rng.choice(list(CAMERAS)))
        mean, spread = CAMERAS[model]
        gain = rng.uniform(0.88, 1.1)
        tint = rng.uniform(0.9, 1.1, 3)
        reach = rng.uniform(0.9, 1.1) * rng.uniform(0.92, 1.08, 3)
        cut = bool(rng.random() < 0.35)
        cloudy, soft = rng.random(2)
        return cls(
            model=model,
            field=float(rng.uniform(6.5, 7.8)),
            aim=(
                float(FIELD_MIDDLE[0] + rng.uniform(-0.55, 0.55)),
                float(FIELD_MIDDLE[1] + rng.uniform(-0.15, 0.15)),
            ),
            roll=float(np.clip(rng.normal(0, 3), -8, 8)),
            radius=float(rng.uniform(0.93, 1.0)),
            shift=(float(rng.uniform(-0.01, 0.01)), float(rng.uniform(-0.01, 0.01))),
            crop=float(rng.uniform(0.80, 0.92)) if cut else 1.0,
            tab=int(rng.integers(0, 4)) if rng.random() < 0.5 else -1,
            mean=_triple(np.array(mean) * gain * tint),
            spread=_triple(np.array(spread) * reach),
            falloff=float(rng.uniform(0.12, 0.5)),
            lamp=(float(rng.normal(0, 0.16)), float(rng.normal(0, 0.16))),
            haze=float(rng.uniform(0.35, 0.75) if cloudy < 0.12 else 0.3 * cloudy**3),
            blur=float(rng.uniform(0.8, 1.3) if soft < 0.1 else rng.uniform(0.2, 0.7)),
            sharpen=float(rng.uniform(0.0, 0.6)),
            noise=float(rng.uniform(1.4, 4.6)),
            glare=float(max(0.0, rng.uniform(-1.2, 0.8))),
            seed=int(rng.integers(2**31)),
        )

    @property
    def quality(self) -> str:
        """``"good"``, ``"fair"`` or ``"poor"``, by haze and blur."""
        if self.haze > 0.55 or self.blur > 1.1 or self.haze + 0.5 * self.blur > 0.9:
            return "poor"
        return "fair" if self.haze > 0.3 or self.blur > 0.75 else "good"

    def affine(self, eye: str) -> npt.NDArray[np.float64]:
        """(2, 3) map of eye coordinates to the unit square of the picture.

        Args:
            eye: ``"right"`` or ``"left"``; the left one is mirrored.
        """
        angle = np.deg2rad(self.roll)
        mirror = np.diag([1.0 if eye == "right" else -1.0, 1.0])
        turn = np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
        linear = self.radius / self.field * turn @ mirror
        middle = np.array([0.5, 0.5]) + np.array(self.shift)
        return np.column_stack([linear, middle - linear @ np.array(self.aim)])


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _window(size: int, camera: Camera) -> tuple[Field, Field, Field]:
    """What the stop lets through (0 to 1), and x, y in radii about its middle."""
    radius = 0.5 * camera.radius
    along = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    x = ((along - np.float32(camera.shift[0])) / np.float32(radius))[None, :]
    y = ((along - np.float32(camera.shift[1])) / np.float32(radius))[:, None]
    pixels = radius * size
    distance = np.sqrt(x * x + y * y)
    window = np.clip((1 - distance) * np.float32(pixels) + 0.5, 0, 1)
    if camera.crop < 1:
        window *= np.clip((camera.crop - np.abs(y)) * np.float32(pixels) + 0.5, 0, 1)
    if camera.tab >= 0:
        turn = np.pi * (0.25 + 0.5 * camera.tab)
        near = np.hypot(x - np.cos(turn) * 0.995, y - np.sin(turn) * 0.995)
        window = np.maximum(window, np.clip((0.045 - near) * pixels + 0.5, 0, 1))
    return (
        np.asarray(window, np.float32),
        np.asarray(x, np.float32),
        np.asarray(y, np.float32),
    )


def photograph(light: Field, canvas: Canvas, camera: Camera) -> Picture:
    """Light to a picture.

    Args:
        light: (3, H, W), from 0 to 1.
        canvas: Pixel grid of the picture.
        camera: The settings.

    Returns:
        uint8 (H, W, 3), black outside the field of view.
    """
    rng = np.random.default_rng(camera.seed)
    size = canvas.size
    window, x, y = _window(size, camera)
    fx, fy = camera.lamp
    lit = 1 - np.float32(camera.falloff) * (np.square(x - fx) + np.square(y - fy))
    lit = np.maximum(lit, 0.25)
    rim = np.exp(np.square(np.sqrt(x * x + y * y) - 1) * np.float32(-1 / 0.02))
    rim *= np.float32(0.35 * camera.glare) * np.clip(x * fx + y * fy, 0, 0.4) * 2.5
    inner = window[::2, ::2] > 0.99
    white = canvas.noise("white", rng)
    # Small pictures have more texture per pixel, which the grain has to drown.
    wanted_noise = camera.noise * max(1.0, 224 / size) ** 0.6
    picture = np.empty((size, size, 3), np.uint8)
    for channel, plane in enumerate(light):
        tone = plane * lit
        if camera.haze > 0.02:
            # Clouds scatter: detail is lost and a veil of light comes over it.
            wide = smooth(tone, 0.06 * canvas.scale)
            tone = tone + np.float32(0.8 * camera.haze) * (wide - tone)
        tone = smooth(tone, camera.blur * size / 224)
        if camera.sharpen > 0.05:
            tone = tone + np.float32(camera.sharpen) * (tone - smooth(tone, 1.0))
        tone = tone + rim * (0.5, 0.6, 0.7)[channel]
        wanted, spread = camera.mean[channel], camera.spread[channel]
        for _ in range(3):
            sample = np.clip(tone[::2, ::2][inner], 0, 255)
            middle, deviation = cv2.meanStdDev(sample)
            gain = spread / max(float(deviation[0, 0]), 1e-4)
            tone = (tone - np.float32(middle[0, 0])) * np.float32(gain)
            tone += np.float32(wanted)
        # Texture counts as noise too: the grain is what is missing to the wanted sum.
        texture = np.median(np.abs(cv2.Laplacian(tone, cv2.CV_32F))[::2, ::2][inner])
        missing = wanted_noise**2 - (float(texture) / LAPLACIAN) ** 2
        tone += np.float32(max(missing, 0.4) ** 0.5) * np.roll(white, 37 * channel, 1)
        picture[..., channel] = np.clip(tone, 3, 255) * window
    return picture


def measured_camera(picture: Picture) -> npt.NDArray[np.float32]:
    """Mean and spread of each colour, noise, and size of the field, (8,).

    What a shortcut would look at: tests and `benchmarks/phantom_fundus_difficulty.py`
    check that no disease can be read from it.
    """
    inside = cv2.erode((picture.max(2) > 12).astype(np.uint8), np.ones((3, 3)))
    pixels = picture[inside > 0].astype(np.float32)
    green = picture[..., 1].astype(np.float32)
    grain = np.abs(cv2.Laplacian(green, cv2.CV_32F))[inside > 0]
    return np.array(
        [*pixels.mean(0), *pixels.std(0), np.median(grain), inside.mean()], np.float32
    )

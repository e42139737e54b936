"""How a study was exposed: position, tone, noise and markers.

Nothing here sees a finding. The last steps set mean and spread of the grey values to
numbers that are drawn beforehand, so that an opacity cannot give itself away by
making the picture brighter.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.data.phantom.canvas import Canvas, Field, Picture, Rng, smooth

__all__ = ["Exposure", "expose", "measured_exposure"]


@dataclass(frozen=True, slots=True)
class Exposure:
    """Settings of one exposure, independent of the patient's state."""

    view: str
    rotation: float
    zoom: float
    shift: tuple[float, float]
    scapulae: float
    mean: float
    spread: float
    gamma: float
    noise: float
    blur: float
    marker: str
    marker_corner: int
    seed: int

    @classmethod
    def draw(cls, rng: Rng, view: str) -> Exposure:
        """Random settings for a view."""
        return cls(
            view=view,
            rotation=float(np.clip(rng.normal(0, 2.5), -6, 6)),
            zoom=float(rng.uniform(0.88, 1.10)),
            shift=(float(rng.uniform(-0.04, 0.04)), float(rng.uniform(-0.04, 0.04))),
            scapulae=float(rng.uniform(0.0, 1.0)),
            mean=float(rng.uniform(112, 142)),
            spread=float(rng.uniform(50, 60)),
            gamma=float(rng.uniform(0.85, 1.2)),
            noise=float(rng.uniform(2.0, 6.0)),
            blur=float(rng.uniform(0.0, 0.6)),
            marker=str(rng.choice(["L", "R", ""], p=[0.5, 0.35, 0.15])),
            marker_corner=int(rng.integers(0, 2)),
            seed=int(rng.integers(2**31)),
        )

    def affine(self) -> npt.NDArray[np.float64]:
        """(2, 3) map of body coordinates: turn and zoom about the middle, shift."""
        angle = np.deg2rad(self.rotation)
        turn = self.zoom * np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
        middle = np.array([0.5, 0.5])
        return np.column_stack([turn, middle - turn @ middle + np.array(self.shift)])


def expose(attenuation: Field, canvas: Canvas, exposure: Exposure) -> Picture:
    """Attenuation to a picture.

    Args:
        attenuation: (H, W), summed along each ray.
        canvas: Pixel grid of the picture.
        exposure: The settings.

    Returns:
        uint8 (H, W), dense structures bright.
    """
    rng = np.random.default_rng(exposure.seed)
    size = canvas.size
    beam = np.exp(-2.4 * attenuation)
    # Scatter lifts the dark end and softens the dense middle.
    beam = beam + 0.03 * smooth(beam, 0.08 * canvas.scale) + 0.012
    film = -np.log(beam)
    low, high = np.percentile(film[::3, ::3], (2.0, 99.5))
    tone = np.clip((film - float(low)) * float(1 / (high - low)), 1e-4, 1.15)
    tone = np.exp(exposure.gamma * np.log(tone))
    tone = smooth(tone, exposure.blur * size / 224)
    grey = tone * 255
    for _ in range(3):
        sample = np.clip(grey[1::2, 1::2], 0, 255)
        gain = exposure.spread / max(float(sample.std()), 1e-3)
        grey = (grey - float(sample.mean())) * gain + exposure.mean
    grain = canvas.noise("white", rng)
    if exposure.blur > 0.3:
        grain = cv2.GaussianBlur(grain, (0, 0), 0.55) * 1.6
    grey = grey + exposure.noise * grain
    picture = np.clip(grey, 0, 255).astype(np.uint8)
    if exposure.marker:
        _mark(picture, exposure)
    return picture


def _mark(picture: Picture, exposure: Exposure) -> None:
    """A lead letter in an upper corner, on the side that it names."""
    size = len(picture)
    x = 0.90 if exposure.marker == "L" else 0.045
    y = 0.075 if exposure.marker_corner == 0 else 0.16
    cv2.putText(
        picture,
        exposure.marker,
        (int(x * size), int(y * size)),
        cv2.FONT_HERSHEY_SIMPLEX,
        size / 420,
        235,
        max(1, size // 160),
        cv2.LINE_AA,
    )


def measured_exposure(picture: Picture) -> npt.NDArray[np.float32]:
    """Mean grey, contrast and a noise estimate of a picture, (3,).

    What a shortcut would look at: tests and `benchmarks/phantom_difficulty.py` check
    that no finding can be read from it.
    """
    grey = picture.astype(np.float32)
    # Second differences cancel anatomy, and the median ignores its edges.
    grain = float(np.median(np.abs(cv2.Laplacian(grey, cv2.CV_32F))))
    return np.array([grey.mean(), grey.std(), grain], np.float32)

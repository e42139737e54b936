"""Test images as worse devices and channels would give them, at five strengths.

Noise, blur, JPEG and contrast have the constants of Hendrycks and Dietterich (ICLR 2019,
arXiv 1903.12261) for images of 224 pixels. Exposure is ours: half of the images brighter, half
darker. What is done to the stored bytes looks the same whatever size they are stored in:
the width of the blur follows the longer side, and noise and JPEG's errors of larger images
are those of the image at 224 pixels. What is drawn hangs on the uid and the corruption
alone, so that all encoders see the same images and strengths differ in nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.tasks import Selected
from vlp_zoo.types import Study, StudySource

__all__ = ["CORRUPTIONS", "SEVERITIES", "VERSION", "Corrupted", "corrupt"]

Pixels = npt.NDArray[np.uint8]
Wide = npt.NDArray[np.float32]
Random = np.random.Generator

SIDE = 224
"""Longer side of the image for which strengths are said."""
SEVERITIES = (1, 2, 3, 4, 5)
VERSION = 1
"""Raised when the same strength would give other images."""


class Corrupted(Selected):
    """Every image of a source under every condition, those of one image in a row.

    An image is read once, and not once for each condition.

    Args:
        source: Where they come from: N images.
        conditions: C times a name of `CORRUPTIONS` and a severity from 1 to 5.
    """

    def __init__(
        self, source: StudySource, conditions: Sequence[tuple[str, int]]
    ) -> None:
        every = np.repeat(np.arange(len(source)), len(conditions))
        super().__init__(source, every.tolist())
        self.conditions = list(conditions)
        self.name = f"{source.name}, corrupted"
        self.uids = [
            f"{uid} {name} {severity}"
            for uid in source.uids
            for name, severity in conditions
        ]
        text = f"{source.fingerprint} corrupted {VERSION} {self.conditions}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        self._last: tuple[int, Study] | None = None

    def __getitem__(self, index: int) -> Study:
        place = self.indices[index]
        if self._last is None or self._last[0] != place:
            self._last = place, self.source[place]
        study = self._last[1]
        condition = self.conditions[index % len(self.conditions)]
        image = corrupt(study.image, *condition, study.uid)
        return replace(study, uid=self.uids[index], image=image)


def corrupt(image: Pixels, corruption: str, severity: int, uid: str) -> Pixels:
    """An image as it would be seen with a defect.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        corruption: A name of `CORRUPTIONS`.
        severity: 1 to 5.
        uid: Who it is; seeds what is drawn.

    Returns:
        uint8, of the same shape.

    Raises:
        ConfigError: If there is no such corruption or strength.
    """
    if corruption not in CORRUPTIONS or severity not in SEVERITIES:
        raise ConfigError(
            f"a corruption among {', '.join(CORRUPTIONS)} and a severity of 1 to 5",
            f"{corruption!r}, {severity!r}",
            "correct the preset",
        )
    digest = hashlib.sha256(f"{corruption} {uid}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
    of, strengths = CORRUPTIONS[corruption]
    made = of(image.astype(np.float32), strengths[severity - 1], rng)
    return np.clip(np.rint(made), 0, 255).astype(np.uint8)


def _noise(image: Wide, strength: float, rng: Random) -> Wide:
    """Gaussian, of so much of the full range, each channel by itself."""
    drawn = rng.standard_normal(_small(image).shape, np.float32)
    return image + _enlarged(255 * strength * drawn, image, cv2.INTER_NEAREST)


def _blur(image: Wide, strength: float, _: Random) -> Wide:
    """Gaussian, of so many pixels if the image had 224."""
    width = strength * max(image.shape[:2]) / SIDE
    return np.asarray(cv2.GaussianBlur(image, (0, 0), width), np.float32)


def _exposure(image: Wide, strength: float, rng: Random) -> Wide:
    """So many stops up or down."""
    stops = strength if rng.random() < 0.5 else -strength
    return image * np.float32(2**stops)


def _jpeg(image: Wide, strength: float, _: Random) -> Wide:
    """The errors of JPEG at such a quality."""
    small = np.clip(np.rint(_small(image)), 0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(strength)]
    # OpenCV takes channels in the order blue, green, red.
    turned = np.ascontiguousarray(small[..., ::-1]) if small.ndim == 3 else small
    coded = cv2.imencode(".jpg", turned, quality)[1]
    seen = np.asarray(cv2.imdecode(coded, cv2.IMREAD_UNCHANGED))
    seen = seen[..., ::-1] if seen.ndim == 3 else seen
    errors = seen.astype(np.float32) - small
    return image + _enlarged(errors, image, cv2.INTER_LINEAR)


def _contrast(image: Wide, strength: float, _: Random) -> Wide:
    """So much of the contrast is left, around the mean of each channel."""
    mean = image.mean((0, 1), keepdims=True)
    return np.asarray((image - mean) * strength + mean, np.float32)


def _small(image: Wide) -> Wide:
    """The image with a longer side of 224 at most."""
    ratio = SIDE / max(image.shape[:2])
    if ratio >= 1:
        return image
    height, width = (max(1, round(side * ratio)) for side in image.shape[:2])
    made = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(made, np.float32)


def _enlarged(values: Wide, image: Wide, how: int) -> Wide:
    """Values of the small image for every pixel of the whole one."""
    if values.shape == image.shape:
        return values
    height, width = image.shape[:2]
    made = cv2.resize(values, (width, height), interpolation=how)
    return np.asarray(made, np.float32)


CORRUPTIONS: dict[
    str, tuple[Callable[[Wide, float, Random], Wide], tuple[float, ...]]
] = {
    "noise": (_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "blur": (_blur, (1, 2, 3, 4, 6)),
    "exposure": (_exposure, (0.25, 0.5, 1, 1.5, 2)),
    "jpeg": (_jpeg, (25, 18, 15, 10, 7)),
    "contrast": (_contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
}
"""Name to what is done, and how much of it at each severity."""

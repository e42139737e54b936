"""Augmentation by protocol: image, masks and boxes go through the same geometry.

This is the only module that knows albumentations (2.0.8 is its last release under MIT).
It is imported when the first case is augmented, and its look for updates over the
network is switched off. Pre-training methods draw their own crops
(`vlp_zoo.transforms`); these pipelines are for downstream evaluation.

Nothing mirrors an image unless it is asked to: reports and labels name sides, and a
heart on the right is a finding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError
from vlp_zoo.transforms import content_box
from vlp_zoo.types import Box, Study

__all__ = ["PIPELINES", "Augment", "Augmented"]

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Augmented:
    """A study after its geometry was decided.

    Attributes:
        image: uint8 (S, S), or (S, S, 3) in colour.
        masks: Name to bool (S, S).
        boxes: In pixels of ``image``, cut at its border.
    """

    image: Pixels
    masks: Mapping[str, Mask] = field(default_factory=dict)
    boxes: tuple[Box, ...] = ()


@dataclass(eq=False)
class Augment:
    """A pipeline by name; picklable, seeded by the generator of each case.

    Args:
        pipeline: One of `PIPELINES`.
        size: Side S of the square output in pixels.
        resize: ``"pad"`` keeps the aspect and adds black, ``"squash"`` does not keep
            it, ``"short"`` keeps it and lets the middle of the longer side be seen.
        crop_content: First cut away a black surround (fundus photographs, scanned
            films): its box is found by `vlp_zoo.transforms.content_box`.
        flip: Chance of mirroring left and right.
        min_visible: Share of a box that must be left for it to be kept.
        fit: Side that images are fitted to before a crop of ``size`` is taken; None
            is ``size``. The crop is random in the pipelines ``crop`` and ``moco``, the
            middle in all others.

    Raises:
        ConfigError: For an unknown pipeline or resize rule.
    """

    pipeline: str
    size: int
    _: KW_ONLY
    resize: str = "pad"
    crop_content: bool = False
    flip: float = 0.0
    min_visible: float = 0.1
    fit: int | None = None
    _made: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        rules = self.pipeline in PIPELINES and self.resize in RULES
        if not rules or not 1 <= self.size <= self.fitted:
            raise ConfigError(
                f"a pipeline among {', '.join(PIPELINES)}, resize {', '.join(RULES)}, "
                "a size of 1 or more, and fitted to no less",
                f"{self.pipeline!r}, {self.resize!r}, {self.size}, {self.fitted}",
                "correct the preset",
            )

    @property
    def fitted(self) -> int:
        """Side that images are fitted to."""
        return self.size if self.fit is None else self.fit

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}

    def __call__(self, study: Study, rng: np.random.Generator) -> Augmented:
        """Augment a study.

        Args:
            study: The study that a source yields.
            rng: Generator of the case; one draw of it seeds the whole pipeline.
        """
        if self._made is None:
            self._made = self._compose()
        image, masks, boxes = study.image, dict(study.masks), study.boxes
        if self.crop_content:
            image, masks, boxes = _cut(image, masks, boxes)
        self._made.set_random_seed(int(rng.integers(2**31 - 1)))
        height, width = image.shape[:2]
        inside = [(i, _clipped(b, width, height)) for i, b in enumerate(boxes)]
        kept = [(i, xyxy) for i, xyxy in inside if xyxy is not None]
        made = self._made(
            image=image,
            masks=[mask.astype(np.uint8) for mask in masks.values()]
            or [np.zeros(image.shape[:2], np.uint8)],
            bboxes=np.array([xyxy for _, xyxy in kept], np.float32).reshape(-1, 4),
            which=[i for i, _ in kept],
        )
        return Augmented(
            np.ascontiguousarray(made["image"], dtype=np.uint8),
            # Without masks an empty one went in, which nobody asked for.
            {name: np.asarray(made["masks"][i] > 0) for i, name in enumerate(masks)},
            tuple(
                replace(boxes[int(i)], xyxy=_four(xyxy))
                for i, xyxy in zip(made["which"], made["bboxes"], strict=True)
            ),
        )

    def _compose(self) -> Any:
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
        import albumentations as A  # the name everybody uses

        steps = [*_fitted(A, self.fitted, self.resize)]
        if self.pipeline not in CROPPING and (
            self.fitted > self.size or self.resize == "short"
        ):
            steps.append(A.CenterCrop(self.size, self.size))
        if self.flip:
            steps.append(A.HorizontalFlip(p=self.flip))
        steps += PIPELINES[self.pipeline](A, self.size)
        return A.Compose(
            steps,
            bbox_params=A.BboxParams(
                format="pascal_voc",
                label_fields=["which"],
                min_visibility=self.min_visible,
                clip=True,
            ),
        )


RULES = ("pad", "squash", "short")
CROPPING = ("crop", "moco", "random-crop")
"""Pipelines that choose their own part of the fitted image."""


def _fitted(A: Any, size: int, resize: str) -> list[Any]:
    import cv2

    area = {"interpolation": cv2.INTER_AREA}
    nearest = {"mask_interpolation": cv2.INTER_NEAREST}
    if resize == "squash":
        return [A.Resize(size, size, **area, **nearest)]
    if resize == "short":
        return [A.SmallestMaxSize(size, **area, **nearest)]
    return [
        A.LongestMaxSize(size, **area, **nearest),
        A.PadIfNeeded(size, size, border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=0),
    ]


def _plain(A: Any, size: int) -> list[Any]:
    return []


def _finetune(A: Any, size: int) -> list[Any]:
    return [
        A.RandomResizedCrop((size, size), scale=(0.6, 1.0), ratio=(3 / 4, 4 / 3)),
        A.Affine(rotate=(-10, 10), p=1.0),
        A.RandomBrightnessContrast(0.2, 0.2, p=1.0),
    ]


def _dense(A: Any, size: int) -> list[Any]:
    return [
        A.Affine(
            translate_percent=(-0.1, 0.1), scale=(0.9, 1.1), rotate=(-10, 10), p=0.8
        ),
        A.RandomBrightnessContrast(0.2, 0.2, p=0.5),
    ]


def _random_crop(A: Any, size: int) -> list[Any]:
    return [A.RandomResizedCrop((size, size), scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))]


def _crop(A: Any, size: int) -> list[Any]:
    return [A.RandomCrop(size, size)]


def _moco(A: Any, size: int) -> list[Any]:
    # Saturation, hue and the way to grey do nothing to a radiograph.
    return [
        A.RandomCrop(size, size),
        A.RandomBrightnessContrast(0.4, 0.4, p=0.8),
        A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, 2.0), p=0.5),
    ]


PIPELINES: dict[str, Callable[[Any, int], list[Any]]] = {
    "none": _plain,
    "finetune": _finetune,
    "dense": _dense,
    "random-crop": _random_crop,
    "crop": _crop,
    "moco": _moco,
}
"""``none`` only fits the image into the square; ``finetune`` is `vlp-finetune`'s;
``dense`` is for masks and boxes; ``random-crop`` is what MRM, ECAMP and BenchX use
(with ``flip`` 0.5); ``crop`` and ``moco`` take a part of an image that was fitted to
more than is seen, as GLoRIA and MGCA do (``moco`` is MGCA's for CheXpert, with ``flip``
0.5)."""


def _cut(
    image: Pixels, masks: Mapping[str, Mask], boxes: tuple[Box, ...]
) -> tuple[Pixels, dict[str, Mask], tuple[Box, ...]]:
    x1, y1, x2, y2 = content_box(image)
    shift = np.array([x1, y1, x1, y1])
    return (
        np.ascontiguousarray(image[y1:y2, x1:x2]),
        {name: mask[y1:y2, x1:x2] for name, mask in masks.items()},
        tuple(replace(box, xyxy=_four(np.array(box.xyxy) - shift)) for box in boxes),
    )


def _four(values: Any) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(value) for value in values[:4])
    return x1, y1, x2, y2


def _clipped(
    box: Box, width: int, height: int
) -> tuple[float, float, float, float] | None:
    x1, y1, x2, y2 = box.xyxy
    x1, x2 = max(0.0, min(x1, width)), max(0.0, min(x2, width))
    y1, y2 = max(0.0, min(y1, height)), max(0.0, min(y2, height))
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None

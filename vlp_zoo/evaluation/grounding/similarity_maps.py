"""Where an image resembles a phrase: maps of cosines in the frame of the image.

A phrase and the places of an image meet in a joint space (`JointEncoder.embed_patches`
and ``embed_phrases``). What the encoder saw is a square, in which the image may have
been padded or squeezed; here that is undone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vlp_zoo.errors import EncoderLoadError
from vlp_zoo.evaluation.detection.cases import boxes_of
from vlp_zoo.evaluation.features.extraction import Extraction, fit_image
from vlp_zoo.evaluation.features.joint import JointEncoder, unit_rows
from vlp_zoo.evaluation.grounding.metrics import boxes_to_mask, in_original_frame
from vlp_zoo.evaluation.training.learner import Learner, predict
from vlp_zoo.reports.blank import stated
from vlp_zoo.types import Example, Study, StudySource, Transform

__all__ = [
    "Phrase",
    "framed",
    "has_places",
    "phrases_of",
    "shown_rectangle",
    "similarity_maps",
]

Array = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]
Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Phrase:
    """Something to look for in an image, and where it is.

    Attributes:
        index: Index of the study in its source.
        finding: What it is about.
        sentences: Ways to say it; their unit vectors are averaged.
        boxes: x1, y1, x2, y2 in pixels of the study's image.
    """

    index: int
    finding: str
    sentences: tuple[str, ...]
    boxes: tuple[Corners, ...]


def phrases_of(
    source: StudySource,
    phrase: str,
    templates: Sequence[str],
    words: Mapping[str, str],
) -> list[Phrase]:
    """What is looked for in a source, image by image.

    Args:
        source: Studies with boxes of kind lesion; others have no phrase.
        phrase: ``"finding"``, one for each name of lesions; or ``"report"``, the whole
            report for all boxes.
        templates: Sentences with ``{}`` for the finding.
        words: Finding to what a sentence calls it.
    """
    reports = phrase == "report"
    texts = [stated(report.body) for report in source.reports()] if reports else []
    found = []
    for i in range(len(source)):
        named: dict[str, list[Corners]] = {}
        for box in boxes_of(source, i):
            if box.kind == "lesion":
                named.setdefault(box.name, []).append(box.xyxy)
        if reports and named and texts[i]:
            corners = tuple(c for boxes in named.values() for c in boxes)
            # A phrase about several findings counts for the first of its boxes.
            found.append(Phrase(i, next(iter(named)), (texts[i],), corners))
        elif not reports:
            for name in sorted(named):
                word = words.get(name, name.replace("_", " ").lower())
                said = tuple(t.format(word) for t in templates)
                found.append(Phrase(i, name, said, tuple(named[name])))
    return found


def similarity_maps(
    joint: JointEncoder,
    source: StudySource,
    phrases: Sequence[Phrase],
    longest_side: int,
    extraction: Extraction,
) -> Iterator[tuple[Array, npt.NDArray[np.bool_]]]:
    """Cosines of each phrase with the places of its image, and the phrase's boxes.

    Args:
        joint: A joint space that gives vectors of places.
        source: Where the images are; each is read once.
        phrases: The phrases to look for, from `phrases_of`.
        longest_side: Longer side of the frame in pixels at most, see `Ground`.
        extraction: How to encode.

    Yields:
        For each phrase, in order, the map (H, W) and the pixels in its boxes (H, W),
        both in the frame of the original image, or a smaller one of its shape.

    Raises:
        EncoderLoadError: If a similarity is not finite.
    """
    texts = list(dict.fromkeys(s for p in phrases for s in p.sentences))
    vectors = extraction.texts(cast(JointEncoder, _Phrases(joint)), texts)
    place = {text: i for i, text in enumerate(texts)}
    wanted: dict[int, list[Array]] = {}
    for phrase in phrases:
        rows = vectors[[place[s] for s in phrase.sentences]].astype(np.float64)
        wanted.setdefault(phrase.index, []).append(unit_rows(unit_rows(rows).mean(0)))
    indices = list(wanted)
    learner = _Maps(
        cast(nn.Module, joint),
        {source.uids[i]: np.stack(v).astype(np.float32) for i, v in wanted.items()},
    )
    found = predict(learner, source, extraction, indices=indices)
    learner.to("cpu")
    seen = {i: iter(case["maps"]) for i, case in zip(indices, found, strict=True)}
    sizes = {i: case["size"] for i, case in zip(indices, found, strict=True)}
    for phrase in phrases:
        similarity = next(seen[phrase.index])
        if not np.isfinite(similarity).all():
            raise EncoderLoadError(
                f"finite similarities of the places of {source.uids[phrase.index]}",
                "NaN or infinity",
                "use another checkpoint, or --precision 32",
            )
        yield _framed(similarity, sizes[phrase.index], phrase, joint, longest_side)


def _framed(
    similarity: Array,
    original: tuple[int, int],
    phrase: Phrase,
    joint: JointEncoder,
    longest_side: int,
) -> tuple[Array, npt.NDArray[np.bool_]]:
    shown = framed(similarity, original, joint.preprocessing, longest_side)
    scale = np.array(shown.shape[::-1] * 2) / np.array(original[::-1] * 2)
    boxes = np.reshape(phrase.boxes, (-1, 4)) * scale
    return shown, boxes_to_mask(boxes.tolist(), shown.shape)


def framed(
    similarity: Array,
    original: tuple[int, int],
    preprocessing: Mapping[str, Any],
    longest_side: int,
) -> Array:
    """A map of the places of an encoder's square in the frame of the original image.

    Args:
        similarity: (h, w) on the patch grid.
        original: (height, width) of the image in pixels.
        preprocessing: Preprocessing of the encoder, which `shown_rectangle` takes.
        longest_side: Longer side of the frame in pixels at most.

    Returns:
        (H, W) of the image's shape; NaN where the encoder saw nothing of it.
    """
    height, width = original
    factor = min(1.0, longest_side / max(original))
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    across, down = size[1] / width, size[0] / height
    covers = shown_rectangle(width, height, preprocessing)
    x1, y1, x2, y2 = (covers * np.array([across, down, across, down])).tolist()
    return in_original_frame(similarity, (x1, y1, x2, y2), size)


def shown_rectangle(
    width: int, height: int, preprocessing: Mapping[str, Any]
) -> npt.NDArray[np.float64]:
    """What an encoder's square input shows, in pixels of the original image.

    Args:
        width: Width of the original image in pixels.
        height: Height of the original image in pixels.
        preprocessing: ``image_size`` and ``resize`` of the encoder, as `fit_image`
            reads them.

    Returns:
        x1, y1, x2, y2: beyond the image's borders where there is padding.

    Example:
        >>> shown_rectangle(40, 20, {"image_size": 10}).tolist()
        [0.0, -8.0, 40.0, 32.0]
    """
    side = int(preprocessing["image_size"])
    if str(preprocessing.get("resize", "pad")) == "squash":
        return np.array([0, 0, width, height], np.float64)
    factor = side / max(width, height)
    corners = []
    for length in (width, height):
        # As `vlp_zoo.transforms.resize` rounds and centres.
        shown = max(1, round(length * factor))
        before = (side - shown) // 2
        corners.append(np.array([-before, side - before]) * (length / shown))
    (x1, x2), (y1, y2) = corners
    return np.array([x1, y1, x2, y2], np.float64)


class _Phrases(nn.Module):
    """A joint space whose texts are phrases, beside which places are put."""

    def __init__(self, joint: JointEncoder) -> None:
        super().__init__()
        self.joint = joint
        self.sha256 = f"{joint.sha256} phrases"

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """B phrases to (B, E)."""
        return self.joint.embed_phrases(texts)


class _Maps(Learner):
    """Nothing to learn: similarity maps of the phrases of each study."""

    def __init__(self, joint: nn.Module, wanted: Mapping[str, Features]) -> None:
        super().__init__()
        self.joint = joint
        self.wanted = wanted

    def make_transform(self, train: bool) -> Transform:
        """The whole image, with the vectors of its phrases."""
        return _Wanted(dict(cast(Any, self.joint).preprocessing), self.wanted)

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Images as one tensor, three channels where one of them has colour."""
        planes = max(len(e["image"]) for e in examples)
        images = [e["image"].expand(planes, -1, -1) for e in examples]
        rest = {k: [e[k] for e in examples] for k in ("vectors", "size")}
        return {"image": torch.stack(images), **rest}

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """There is none."""
        raise NotImplementedError

    def predict(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """``maps``: (R, h, w) for the R phrases of each image; ``size``."""
        places = cast(Any, self.joint).embed_patches(batch["image"]).float().cpu()
        maps = [
            torch.einsum("re,ehw->rhw", vectors, cells).numpy()
            for vectors, cells in zip(batch["vectors"], places, strict=True)
        ]
        return {"maps": maps, "size": batch["size"]}


@dataclass(frozen=True)
class _Wanted:
    preprocessing: dict[str, Any]
    vectors: Mapping[str, Features]

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        return {
            "image": torch.from_numpy(fit_image(study.image, self.preprocessing)),
            "vectors": torch.from_numpy(self.vectors[study.uid]),
            "size": study.image.shape[:2],
        }


def has_places(joint: JointEncoder | None) -> bool:
    """Whether a joint space has places of images, and phrases beside them."""
    if joint is None or not hasattr(joint, "embed_phrases"):
        return False
    side = int(joint.preprocessing["image_size"])
    module = cast(nn.Module, joint)
    training = module.training
    module.eval()
    with torch.inference_mode():
        blank = torch.zeros(1, 1, side, side, dtype=torch.uint8)
        found = joint.embed_patches(blank.to(_device(module)))
    module.train(training)
    return found is not None


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters(), torch.empty(0)).device

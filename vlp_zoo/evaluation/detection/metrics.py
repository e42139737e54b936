"""How well boxes are found: average precision, FROC, and RSNA's score.

All images count, also those without boxes and those without a detection: missed boxes
cost recall and boxes in empty images cost precision. `match_boxes` decides once which
detections are hits; what follows takes case weights, so a bootstrap never matches
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = [
    "COCO_IOUS",
    "FROC_RATES",
    "RSNA_IOUS",
    "Froc",
    "ImageBoxes",
    "Matches",
    "box_average_precision",
    "box_iou",
    "froc",
    "froc_sensitivity",
    "legacy_detection_map",
    "match_boxes",
    "rsna_scores",
]

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float32]

COCO_IOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""0.50 to 0.95."""
RSNA_IOUS = tuple(round(0.4 + 0.05 * i, 2) for i in range(8))
"""0.40 to 0.75."""
FROC_RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
"""False positives per image at which the sensitivity is read."""

RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class ImageBoxes:
    """True and detected boxes of one image.

    Attributes:
        truth: (G, 4) as x1, y1, x2, y2 in pixels.
        detected: (M, 4).
        scores: (M,), higher = surer.
        truth_classes: (G,) from 0; all 0 if empty.
        detected_classes: (M,) from 0; all 0 if empty.

    Raises:
        ValueError: If lengths disagree or a number is not finite.
    """

    truth: Array
    detected: Array
    scores: Array
    truth_classes: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    detected_classes: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        for name in ("truth", "detected"):
            boxes = np.asarray(getattr(self, name), np.float64).reshape(-1, 4)
            classes = np.asarray(getattr(self, f"{name}_classes"), np.int64)
            classes = classes if len(classes) else np.zeros(len(boxes), np.int64)
            if len(classes) != len(boxes) or not np.isfinite(boxes).all():
                raise ValueError(f"{name}: {len(boxes)} boxes, {len(classes)} classes")
            object.__setattr__(self, name, boxes)
            object.__setattr__(self, f"{name}_classes", classes)
        scores = np.asarray(self.scores, np.float64)
        if scores.shape != (len(self.detected),) or not np.isfinite(scores).all():
            raise ValueError(f"{scores.shape} scores for {len(self.detected)} boxes")
        object.__setattr__(self, "scores", scores)


@dataclass(frozen=True)
class Matches:
    """Which detections are hits.

    Attributes:
        image: (D,) index of the image.
        classes: (D,).
        scores: (D,).
        hits: (D, T) whether it took a true box, for each IoU.
        truths: (N, C) true boxes of each image and class.
    """

    image: Ints
    classes: Ints
    scores: Array
    hits: Flags
    truths: Ints


def box_iou(first: Array, second: Array) -> Array:
    """Intersection over union of boxes, areas without the extra pixel.

    Args:
        first: (A, 4) as x1, y1, x2, y2.
        second: (B, 4).

    Returns:
        (A, B); 0 where the union has no area.

    Example:
        >>> box_iou(
        ...     np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2], [5, 5, 6, 6]])
        ... )
        array([[0.33333333, 0.        ]])
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(2)
    areas = [np.clip(b[:, 2:] - b[:, :2], 0, None).prod(1) for b in (first, second)]
    union = areas[0][:, None] + areas[1] - common
    iou = np.zeros(union.shape)
    np.divide(common, union, out=iou, where=union > 0)
    return iou


def match_boxes(
    images: Sequence[ImageBoxes],
    ious: Sequence[float] = COCO_IOUS,
    *,
    classes: int = 1,
    max_detections: int = 100,
) -> Matches:
    """Give each detection the free true box it overlaps most, surest first.

    Args:
        images: All of them.
        ious: Least overlap of a hit, each matched on its own.
        classes: C.
        max_detections: Detections of an image and class beyond these are dropped, as COCO does.

    Raises:
        ValueError: If a class is not below ``classes``.
    """
    truths = np.zeros((len(images), classes), np.int64)
    parts: list[tuple[int, int, Array, Flags]] = []
    for i, image in enumerate(images):
        for name in (image.truth_classes, image.detected_classes):
            if len(name) and not 0 <= name.min() <= name.max() < classes:
                raise ValueError(f"classes {name.tolist()} of image {i}, not {classes}")
        for k in range(classes):
            truth = image.truth[image.truth_classes == k]
            mine = np.nonzero(image.detected_classes == k)[0]
            mine = mine[np.argsort(-image.scores[mine], kind="stable")][:max_detections]
            truths[i, k] = len(truth)
            if len(mine):
                hits = _greedy(box_iou(image.detected[mine], truth), ious)
                parts.append((i, k, image.scores[mine], hits))
    lengths = [len(scores) for _, _, scores, _ in parts]
    return Matches(
        np.repeat(np.array([part[0] for part in parts], np.int64), lengths),
        np.repeat(np.array([part[1] for part in parts], np.int64), lengths),
        np.concatenate([np.empty(0), *(part[2] for part in parts)]),
        np.concatenate([np.empty((0, len(ious)), bool), *(part[3] for part in parts)]),
        truths,
    )


def box_average_precision(matches: Matches, weights: Weights) -> Array:
    """COCO's average precision: interpolated at 101 recalls.

    Args:
        matches: Matched detections of N images, C classes and T overlaps.
        weights: (N, R) whole numbers.

    Returns:
        (C, T, R); NaN where there is no true box. The usual AP is the mean over T of
        the COCO overlaps, then over the classes that are defined.
    """
    classes = matches.truths.shape[1]
    shape = (classes, matches.hits.shape[1], weights.shape[1])
    out = np.full(shape, np.nan)
    for k in range(classes):
        total = matches.truths[:, k].astype(np.float64) @ weights
        mine = np.nonzero(matches.classes == k)[0]
        mine = mine[np.argsort(-matches.scores[mine], kind="stable")]
        counts = weights[matches.image[mine]].astype(np.float64)
        # Between hits precision falls, so that only there it can be the best of what
        # follows; most detections are no hits and need not be looked at again.
        some = matches.hits[mine].any(1)
        every, counts = np.cumsum(counts, axis=0)[some], counts[some]
        hits = matches.hits[mine[some]]
        for t in range(shape[1]):
            found = np.cumsum(counts * hits[:, t, None], axis=0)
            for r in np.nonzero(total > 0)[0]:
                out[k, t, r] = _interpolated(found[:, r], every[:, r], total[r])
    return out


@dataclass(frozen=True)
class Froc:
    """What decides an FROC curve.

    Attributes:
        truth_image: (G,) index of the image of each true box.
        truth_score: (G,) highest score that hits it; -inf where none does.
        false_image: (F,) index of the image of each false positive.
        false_score: (F,).
        images: N.
    """

    truth_image: Ints
    truth_score: Array
    false_image: Ints
    false_score: Array
    images: int


def froc(images: Sequence[ImageBoxes]) -> Froc:
    """Find which true boxes are hit and which detections hit none.

    A detection hits a true box if its centre lies in it, borders included (Object-CXR).
    A true box counts once however often it is hit, and further hits are no false
    positives. Classes do not matter.

    Args:
        images: All of them.
    """
    truth_score, false_score = [np.empty(0)], [np.empty(0)]
    for image in images:
        centre = (image.detected[:, None, :2] + image.detected[:, None, 2:]) / 2
        inside = (centre >= image.truth[:, :2]) & (centre <= image.truth[:, 2:])
        hits: Flags = np.asarray(inside.all(2))
        scores = np.where(hits, image.scores[:, None], -np.inf)
        truth_score.append(scores.max(0, initial=-np.inf))
        false_score.append(image.scores[~hits.any(1)])
    sizes = [[len(part) for part in parts[1:]] for parts in (truth_score, false_score)]
    order = np.arange(len(images))
    return Froc(
        np.repeat(order, sizes[0]),
        np.concatenate(truth_score),
        np.repeat(order, sizes[1]),
        np.concatenate(false_score),
        len(images),
    )


def froc_sensitivity(
    curve: Froc, weights: Weights, rates: Sequence[float] = FROC_RATES
) -> Array:
    """Share of true boxes found at the lowest threshold that keeps to each rate.

    Args:
        curve: The FROC curve of N images.
        weights: (N, R) whole numbers.
        rates: False positives per image, all images counting.

    Returns:
        (len(rates), R), a step and not interpolated; NaN without true boxes. The mean
        over the rates is the usual summary.
    """
    order = np.argsort(-curve.false_score, kind="stable")
    false = np.cumsum(weights[curve.false_image[order]], axis=0, dtype=np.float64)
    limits = np.append(curve.false_score[order], -np.inf)
    ranked = np.argsort(curve.truth_score, kind="stable")
    counts = weights[curve.truth_image[ranked]].astype(np.float64)
    above = np.zeros((len(ranked) + 1, weights.shape[1]))
    above[:-1] = np.cumsum(counts[::-1], axis=0)[::-1]
    images = weights.sum(0, dtype=np.float64)
    total = above[0]
    out = np.full((len(rates), weights.shape[1]), np.nan)
    for i, rate in enumerate(rates):
        # The first false positive too many, and all that score no more than it, go.
        limit = limits[(false <= rate * images).sum(0)]
        first = np.searchsorted(curve.truth_score[ranked], limit, side="right")
        found = np.take_along_axis(above, first[None], 0)[0]
        np.divide(found, total, out=out[i], where=total > 0)
    return out


def rsna_scores(
    images: Sequence[ImageBoxes], ious: Sequence[float] = RSNA_IOUS
) -> Array:
    """RSNA Pneumonia Detection Challenge: TP / (TP + FP + FN), mean over overlaps.

    Scores only order the matching, so detections must have been cut at the threshold
    chosen on validation. Classes do not matter.

    Args:
        images: All of them.
        ious: Overlaps that a hit must exceed.

    Returns:
        (N,); 0 for any detection in an image without a true box, NaN for an image with
        neither, which the challenge leaves out of its mean.
    """
    values = np.full(len(images), np.nan)
    for i, image in enumerate(images):
        truths, found = len(image.truth), len(image.detected)
        if truths or found:
            order = np.argsort(-image.scores, kind="stable")
            overlap = box_iou(image.detected[order], image.truth)
            above = [float(np.nextafter(iou, 1)) for iou in ious]
            hits = _greedy(overlap, above).sum(0)
            values[i] = float((hits / (truths + found - hits)).mean())
    return values


def _greedy(overlap: Array, ious: Sequence[float]) -> Flags:
    """(M, G) overlaps, surest detection first, to (M, T) hits."""
    hits = np.zeros((len(overlap), len(ious)), np.bool_)
    if not overlap.shape[1]:
        return hits
    for t, least in enumerate(ious):
        free = overlap.copy()
        for d in range(len(free)):
            # The last of equals, as COCO's loop leaves it.
            best = free.shape[1] - 1 - int(np.argmax(free[d, ::-1]))
            if free[d, best] >= least:
                hits[d, t] = True
                free[:, best] = -1.0
    return hits


def _interpolated(hits: Array, every: Array, total: float) -> float:
    precision = np.zeros(len(hits))
    np.divide(hits, every, out=precision, where=every > 0)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    place = np.searchsorted(hits / total, RECALLS, side="left")
    return float(envelope[place].mean())


def legacy_detection_map(
    images: Sequence[ImageBoxes], ious: Sequence[float] = RSNA_IOUS
) -> float:
    """MGCA's and ECAMP's mAP: only images with both a true box and a detection count.

    Boxes of an image in which nothing was detected are not missed, and detections in
    an image without a box are not false: a detector that is silent on hard images
    scores 1 (HKU-MedAI/MGCA@4075a69, ``mgca/models/ssl_detector.py``).

    Args:
        images: All of them, one class.
        ious: Least overlaps of a hit.

    Returns:
        NaN if no image has both.
    """
    kept = [image for image in images if len(image.truth) and len(image.detected)]
    if not kept:
        return float("nan")
    once = np.ones((len(kept), 1), np.float32)
    return float(box_average_precision(match_boxes(kept, ious), once).mean())

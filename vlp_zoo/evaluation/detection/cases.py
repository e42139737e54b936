"""Boxes of a detection protocol as they are stored, and what is computed from them.

Stored cases: a row for each test image, with ``labels`` 1 where the image has a box of
the class and ``scores`` the highest score of the class (0 if nothing was found). The
columns ``truth`` and ``found`` are JSON: a list of ``[name, x1, y1, x2, y2]`` and one
of ``[name, score, x1, y1, x2, y2]``. `stored_boxes` reads them, and every number here
is made of what is stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.detection.metrics import (
    COCO_IOUS,
    RSNA_IOUS,
    ImageBoxes,
    Matches,
    box_average_precision,
    match_boxes,
    rsna_scores,
)
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import Statistic, Weights
from vlp_zoo.evaluation.tasks import Selected
from vlp_zoo.evaluation.training.learner import Predictions
from vlp_zoo.types import Box, StudySource

__all__ = [
    "AVERAGED",
    "above_score",
    "best_threshold",
    "boxes_of",
    "cases_of",
    "images_of",
    "in_parts",
    "matched_boxes",
    "precision",
    "stored_boxes",
]

Array = npt.NDArray[np.float64]

AVERAGED = {"box_ap": COCO_IOUS, "box_ap50": (0.5,), "box_ap@[.40:.75]": RSNA_IOUS}
"""Metric to the overlaps over which average precision is averaged."""
IOUS = tuple(sorted({*COCO_IOUS, *RSNA_IOUS}))
THRESHOLDS = (0.01, *(round(0.05 * i, 2) for i in range(1, 20)))
"""Score thresholds of the RSNA score, tried on the validation split."""
ROOM = 4_000_000
"""Detections times replicates held at a time (32 MB for each of a few arrays)."""


def boxes_of(source: StudySource, index: int) -> tuple[Box, ...]:
    """Boxes of one study; its image is left alone where the source allows it."""
    if isinstance(source, Selected):
        return boxes_of(source.source, source.indices[index])
    cheap = getattr(source, "boxes_of", None)
    found: tuple[Box, ...] = source[index].boxes if cheap is None else cheap(index)
    return found


def stored_boxes(
    cases: Cases, names: Sequence[str] | None = None
) -> tuple[list[ImageBoxes], tuple[str, ...]]:
    """True and detected boxes of stored cases.

    Args:
        cases: Stored cases of a detection protocol.
        names: Classes wanted, in this order; boxes of others are left out. None is
            all.

    Returns:
        One entry per case, and the name of each class number.
    """
    known = tuple(cases.label_names if names is None else names)
    read = [
        {"truth": json.loads(truth), "found": json.loads(found)}
        for truth, found in zip(
            cases.columns["truth"], cases.columns["found"], strict=True
        )
    ]
    return images_of(read, known), known


def images_of(predictions: Predictions, names: Sequence[str]) -> list[ImageBoxes]:
    """Boxes of predictions with ``truth`` and ``found``, classes numbered by name."""
    number = {name: k for k, name in enumerate(names)}
    images = []
    for case in predictions:
        truth = [box for box in case["truth"] if box[0] in number]
        found = [box for box in case["found"] if box[0] in number]
        images.append(
            ImageBoxes(
                np.array([box[1:] for box in truth], np.float64),
                np.array([box[2:] for box in found], np.float64),
                np.array([box[1] for box in found], np.float64),
                np.array([number[box[0]] for box in truth], np.int64),
                np.array([number[box[0]] for box in found], np.int64),
            )
        )
    return images


def cases_of(
    predictions: Predictions, source: StudySource, classes: Sequence[str]
) -> Cases:
    """Predictions as they are stored.

    Args:
        predictions: For every case of ``source``, in its order.
        source: The test cases.
        classes: What was learnt; scores of other names are NaN.
    """
    true = {str(box[0]) for case in predictions for box in case["truth"]}
    names = tuple(sorted({*classes, *true}))
    labels = np.zeros((len(predictions), len(names)), np.float32)
    scores = np.zeros((len(predictions), len(names)))
    for i, case in enumerate(predictions):
        for name, *_ in case["truth"]:
            labels[i, names.index(name)] = 1
        for name, score, *_ in case["found"]:
            k = names.index(name)
            scores[i, k] = max(scores[i, k], score)
    scores[:, [k for k, name in enumerate(names) if name not in classes]] = np.nan
    columns = {
        kind: np.array([json.dumps(case[kind]) for case in predictions], object)
        for kind in ("truth", "found")
    }
    uids, patients = list(source.uids), list(source.patient_ids)
    return Cases(uids, patients, names, labels, scores, columns)


def matched_boxes(images: Sequence[ImageBoxes], names: Sequence[str]) -> Matches:
    """Matches at all overlaps of COCO and RSNA, for `precision`."""
    return match_boxes(images, IOUS, classes=len(names))


def precision(matches: Matches, ious: Sequence[float]) -> Statistic:
    """AP of each class as a statistic, the mean over some of the overlaps."""
    chosen = [IOUS.index(iou) for iou in ious]
    chosen_ious = replace(matches, hits=matches.hits[:, chosen])
    return in_parts(
        lambda weights: box_average_precision(chosen_ious, weights).mean(1),
        len(chosen_ious.scores),
        len(chosen_ious.truths),
    )


def in_parts(of: Callable[[Weights], Array], rows: int, images: int) -> Statistic:
    """A statistic of images, a few replicates at a time: there are many detections."""
    step = max(1, ROOM // max(1, rows))

    def whole(weights: Weights) -> Array:
        parts = [of(weights[:, i : i + step]) for i in range(0, weights.shape[1], step)]
        return np.concatenate(parts, axis=1)

    return Statistic(whole, images)


def best_threshold(images: Sequence[ImageBoxes]) -> float:
    """Threshold with the best RSNA score; the lowest of equals."""
    values = []
    for limit in THRESHOLDS:
        scores = rsna_scores([above_score(image, limit) for image in images])
        defined = scores[~np.isnan(scores)]
        values.append(float(defined.mean()) if len(defined) else 0.0)
    return THRESHOLDS[int(np.argmax(values))]


def above_score(image: ImageBoxes, limit: float) -> ImageBoxes:
    """The detections that score ``limit`` or more."""
    kept = image.scores >= limit
    return replace(
        image,
        detected=image.detected[kept],
        scores=image.scores[kept],
        detected_classes=image.detected_classes[kept],
    )

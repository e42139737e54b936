"""Average precision by an established library, to hold ours against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.detection.metrics import COCO_IOUS, ImageBoxes

Array = npt.NDArray[np.float64]


def coco_average_precision(
    images: Sequence[ImageBoxes],
    ious: Sequence[float] = COCO_IOUS,
    *,
    classes: int = 1,
    most: int = 100,
) -> Array:
    """The same by faster-coco-eval, for numbers that are compared with published ones.

    Args:
        images: All of them.
        ious: Least overlaps of a hit.
        classes: C.
        most: Detections of an image and class beyond these are dropped.

    Returns:
        (C, T); NaN where there is no true box.
    """
    if not any(len(image.detected) for image in images):
        # The library cannot load an empty list; AP is 0 where there was anything.
        some = sum((np.bincount(i.truth_classes, minlength=classes) for i in images), 0)
        value = np.where(np.asarray(some) > 0, 0.0, np.nan)
        return np.repeat(np.atleast_1d(value)[:, None], len(ious), axis=1)
    from faster_coco_eval import COCO, COCOeval_faster

    truth, found = COCO(_coco_truth(images, classes)), _coco_found(images)
    judge = COCOeval_faster(truth, truth.loadRes(found), iouType="bbox")
    judge.params.iouThrs = np.asarray(ious, np.float64)
    judge.params.maxDets = [most]
    judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
    judge.evaluate()
    judge.accumulate()
    precision = np.asarray(judge.eval["precision"], np.float64)[:, :, :, 0, 0]
    values: Array = np.where(precision < 0, np.nan, precision).mean(1).T
    return values


def _coco_truth(images: Sequence[ImageBoxes], classes: int) -> dict[str, Any]:
    annotations = [
        {
            "id": 0,
            "image_id": i,
            "category_id": int(k),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
        }
        for i, image in enumerate(images, 1)
        for (x1, y1, x2, y2), k in zip(
            image.truth.tolist(), image.truth_classes, strict=True
        )
    ]
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    return {
        "images": [{"id": i} for i in range(1, len(images) + 1)],
        "categories": [{"id": k, "name": str(k)} for k in range(classes)],
        "annotations": annotations,
    }


def _coco_found(images: Sequence[ImageBoxes]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": i,
            "category_id": int(k),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for i, image in enumerate(images, 1)
        for (x1, y1, x2, y2), score, k in zip(
            image.detected.tolist(),
            image.scores.tolist(),
            image.detected_classes,
            strict=True,
        )
    ]

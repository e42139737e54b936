"""Where a model sees what a phrase says: similarity maps against boxes or masks.

Everything is judged in the frame of the original image. A map on the patch grid is
stretched over the rectangle that the encoder was shown, so padding is cut off and
pixels that a crop left out are NaN: they are unknown, not zero, and count for nothing
but the missing part of the union of an IoU.

Per-case values are returned; means over findings and intervals over patients are made
of them (`vlp_zoo.evaluation.statistics.case_means`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.statistics.intervals import Statistic
from vlp_zoo.evaluation.statistics.metrics import average_precision, roc_auc

__all__ = [
    "Grounding",
    "best_threshold",
    "boxes_to_mask",
    "contrast_to_noise",
    "finding_columns",
    "ground",
    "in_original_frame",
    "pointing_hit",
    "threshold_ious",
]

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

IOU_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""In units of the map: cosines, where the map is of cosines."""


@dataclass(frozen=True)
class Grounding:
    """How one map agrees with one phrase's boxes.

    Attributes:
        signed_cnr: Contrast to noise; below 0 where the map is brighter outside.
        absolute_cnr: Absolute contrast to noise, which an inverted map shares.
        ious: (T,) of the pixels at or above each threshold.
        pointing: 1 if the brightest pixel lies inside, 0 if not, a share on ties.
        auroc: Over pixels, inside against outside.
        average_precision: Over pixels.
    """

    signed_cnr: float
    absolute_cnr: float
    ious: Array
    pointing: float
    auroc: float
    average_precision: float


def ground(
    similarity: Array, inside: Flags, thresholds: Sequence[float] = IOU_THRESHOLDS
) -> Grounding:
    """All measures of one case.

    Args:
        similarity: (H, W), NaN where the encoder saw nothing.
        inside: (H, W).
        thresholds: Similarities at or above which pixels are marked, for the mean IoU.

    Raises:
        ValueError: If shapes disagree.
    """
    if similarity.shape != inside.shape:
        raise ValueError(f"a map {similarity.shape} for a mask {inside.shape}")
    signed = contrast_to_noise(similarity, inside)
    seen = ~np.isnan(similarity)
    values, truth = similarity[seen], inside[seen]
    auroc, precision = (
        Statistic(partial(of, truth, values), len(values)).value
        for of in (roc_auc, average_precision)
    )
    return Grounding(
        signed,
        abs(signed),
        threshold_ious(similarity, inside, thresholds),
        pointing_hit(similarity, inside),
        auroc,
        precision,
    )


def in_original_frame(
    similarity: Array, covers: tuple[float, float, float, float], size: tuple[int, int]
) -> Array:
    """Stretch a map over what the encoder was shown, bilinear between patch centres.

    Args:
        similarity: (h, w) on the patch grid.
        covers: (x1, y1, x2, y2) of the rectangle behind the grid in pixels of the
            original image; beyond its borders where the encoder's image was padded.
        size: (height, width) of the original image.

    Returns:
        (height, width); NaN outside the rectangle. Beyond the outermost patch centres
        the map is constant.

    Raises:
        ValueError: If the rectangle has no area.

    Example:
        >>> in_original_frame(np.array([[0.0, 1.0]]), (0, 0, 4, 1), (1, 5))
        array([[0.  , 0.25, 0.75, 1.  ,  nan]])
    """
    x1, y1, x2, y2 = covers
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"a rectangle without area: {covers}")
    rows = _stretch(similarity.shape[0], y1, y2, size[0])
    columns = _stretch(similarity.shape[1], x1, x2, size[1])
    stretched: Array = rows @ similarity.astype(np.float64) @ columns.T
    return stretched


def boxes_to_mask(boxes: Sequence[Sequence[float]], size: tuple[int, int]) -> Flags:
    """Pixels whose centres lie in any of the boxes.

    Args:
        boxes: x1, y1, x2, y2 in pixels.
        size: (height, width).

    Example:
        >>> boxes_to_mask([(1, 0, 3, 1)], (2, 4)).astype(int)
        array([[0, 1, 1, 0],
               [0, 0, 0, 0]])
    """
    mask = np.zeros(size, np.bool_)
    down, across = (np.arange(side) + 0.5 for side in size)
    for x1, y1, x2, y2 in boxes:
        rows = (down >= y1) & (down < y2)
        mask |= rows[:, None] & (across >= x1) & (across < x2)
    return mask


def contrast_to_noise(similarity: Array, inside: Flags, ddof: int = 0) -> float:
    """Difference of the means in and outside over the root of the summed variances.

    Args:
        similarity: (H, W), NaN = not seen.
        inside: (H, W).
        ddof: 1 for unbiased variances.

    Returns:
        Signed; BioViL reports the absolute value, which rewards inverted maps. NaN
        where one side has no pixel, or nothing varies.

    Example:
        >>> similarity = np.array([[3.0, 5.0, 0.0, 2.0]])
        >>> contrast_to_noise(similarity, np.array([[True, True, False, False]]))
        2.1213203435596424
    """
    seen = ~np.isnan(similarity)
    parts = similarity[seen & inside], similarity[seen & ~inside]
    if min(len(part) for part in parts) <= ddof:
        return float("nan")
    noise = float(np.sqrt(sum(part.var(ddof=ddof) for part in parts)))
    if noise == 0:
        return float("nan")
    return float(parts[0].mean() - parts[1].mean()) / noise


def threshold_ious(
    similarity: Array, inside: Flags, thresholds: Sequence[float]
) -> Array:
    """IoU of the pixels at or above each threshold with the mask: foreground only.

    Args:
        similarity: (H, W), NaN = not seen, hence below every threshold.
        inside: (H, W).
        thresholds: In units of the map.

    Returns:
        (T,); NaN where the mask is empty, as nothing could be right there.
    """
    actual = np.count_nonzero(inside)
    if not actual:
        return np.full(len(thresholds), np.nan)
    flat, truth = similarity.ravel(), inside.ravel()
    seen = ~np.isnan(flat)
    ranked = np.sort(flat[seen])
    right = np.sort(flat[seen & truth])
    marked = len(ranked) - np.searchsorted(ranked, thresholds, side="left")
    both = len(right) - np.searchsorted(right, thresholds, side="left")
    ious: Array = both / (marked + actual - both)
    return ious


def pointing_hit(similarity: Array, inside: Flags) -> float:
    """Pointing game: the share of the brightest pixels that lie inside.

    One brightest pixel gives 1 or 0; a constant map gives the area of the mask, which
    is what pointing anywhere would reach.

    Returns:
        NaN where the mask is empty or nothing was seen.
    """
    if not inside.any() or np.isnan(similarity).all():
        return float("nan")
    return float(inside[similarity == np.nanmax(similarity)].mean())


def best_threshold(ious: Array, thresholds: Sequence[float]) -> float:
    """Threshold with the best mean IoU, for use on other cases than these.

    Args:
        ious: (N, T) of validation cases, NaN = undefined.
        thresholds: (T,).

    Raises:
        ValueError: If no case is defined.
    """
    defined = ~np.isnan(ious).any(1)
    if not defined.any():
        raise ValueError("no case with a mask to choose a threshold on")
    return float(thresholds[int(ious[defined].mean(0).argmax())])


def finding_columns(values: Array, findings: Sequence[str]) -> tuple[Array, list[str]]:
    """One column per finding, so that a mean over columns is macro over findings.

    Args:
        values: (N,) per phrase.
        findings: (N,) what each phrase is about.

    Returns:
        (N, F) with NaN where a phrase is about something else, and the F names.
    """
    names, column = np.unique(np.asarray(findings), return_inverse=True)
    table = np.where(column[:, None] == np.arange(len(names)), values[:, None], np.nan)
    return table, [str(name) for name in names]


def _stretch(cells: int, low: float, high: float, pixels: int) -> Array:
    """(pixels, cells) weights of linear interpolation; NaN rows outside."""
    centres = np.arange(pixels) + 0.5
    place = (centres - low) / (high - low) * cells - 0.5
    place = np.clip(place, 0, cells - 1)
    left = np.minimum(place.astype(np.int64), max(cells - 2, 0))
    weights = np.zeros((pixels, cells))
    rows = np.arange(pixels)
    weights[rows, left] = 1 - (place - left)
    if cells > 1:
        weights[rows, left + 1] = place - left
    weights[(centres < low) | (centres > high)] = np.nan
    return weights

"""How well masks agree: pixels are counted per case, everything else is a sum later.

A Dice of an empty mask has two conventions that differ by the share of empty masks, a
pooled Dice weighs large structures, and a mean of batch means depends on the batch
size. So the counts of each case are kept and each convention has its own name:

- `positive_dice`, `positive_iou`: cases in which the structure is there.
- `dice_with_empty`: all cases, empty on empty = 1; `empty_floor` is what a model that
  never marks anything reaches by it.
- `false_area`: cases in which the structure is not there.
- `pooled_dice`, `pooled_dice_with_background`: over the pixels of all cases.
- `pixel_average_precision`: ranking of pixels, no threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.statistics.metrics import ratio

__all__ = [
    "Overlap",
    "count_overlap",
    "dice_with_empty",
    "empty_floor",
    "false_area",
    "pixel_average_precision",
    "pixel_histograms",
    "pooled_dice",
    "pooled_dice_with_background",
    "positive_dice",
    "positive_iou",
]

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Overlap:
    """Pixel counts of N cases and S structures.

    Attributes:
        predicted: (N, S) pixels that were marked.
        actual: (N, S) pixels of the true mask.
        both: (N, S) pixels in both.
        pixels: (N, S) pixels of the image; 0 where the structure was not annotated,
            which leaves the pair out of everything.
    """

    predicted: Counts
    actual: Counts
    both: Counts
    pixels: Counts


def count_overlap(
    predicted: Flags, actual: Flags, known: Flags | None = None
) -> Overlap:
    """Count the pixels of a batch of equally large cases.

    Args:
        predicted: (B, S, H, W).
        actual: (B, S, H, W).
        known: (B, S), False where a structure was not annotated; None = all were.

    Raises:
        ValueError: If shapes disagree.
    """
    if predicted.shape != actual.shape or predicted.ndim != 4:
        raise ValueError(f"masks {predicted.shape} against {actual.shape}")
    use = np.ones(predicted.shape[:2], np.bool_) if known is None else known
    if use.shape != predicted.shape[:2]:
        raise ValueError(f"known {use.shape} for masks {predicted.shape}")
    area = predicted.shape[2] * predicted.shape[3]

    def count(mask: Flags) -> Counts:
        return np.where(use, np.count_nonzero(mask, axis=(2, 3)), 0).astype(np.int64)

    return Overlap(
        count(predicted),
        count(actual),
        count(predicted & actual),
        np.where(use, area, 0).astype(np.int64),
    )


def positive_dice(overlap: Overlap) -> Array:
    """(N, S) Dice where the structure is there, else NaN."""
    dice = ratio(2 * overlap.both, overlap.predicted + overlap.actual)
    return np.where(overlap.actual > 0, dice, np.nan)


def positive_iou(overlap: Overlap) -> Array:
    """(N, S) intersection over union where the structure is there, else NaN."""
    union = overlap.predicted + overlap.actual - overlap.both
    return np.where(overlap.actual > 0, ratio(overlap.both, union), np.nan)


def dice_with_empty(overlap: Overlap) -> Array:
    """(N, S) Dice with 1 for empty on empty and 0 for anything marked on empty.

    To be printed with `empty_floor` beside it.
    """
    marked = overlap.predicted + overlap.actual
    dice = np.where(marked > 0, ratio(2 * overlap.both, marked), 1.0)
    return np.where(overlap.pixels > 0, dice, np.nan)


def empty_floor(overlap: Overlap) -> Array:
    """(N, S) what `dice_with_empty` gives a model that never marks anything."""
    empty = (overlap.actual == 0).astype(np.float64)
    return np.where(overlap.pixels > 0, empty, np.nan)


def false_area(overlap: Overlap) -> Array:
    """(N, S) share of the image that is marked where nothing is there, else NaN."""
    area = ratio(overlap.predicted, overlap.pixels)
    return np.where(overlap.actual == 0, area, np.nan)


def pooled_dice(overlap: Overlap, weights: Weights) -> Array:
    """Micro Dice: over the pixels of all cases together.

    Args:
        overlap: Pixel counts of predicted and true masks of N cases.
        weights: (N, R) whole numbers.

    Returns:
        (S, R); NaN where no pixel is marked or true.
    """
    both = _pooled(overlap.both, weights)
    return ratio(2 * both, _pooled(overlap.predicted + overlap.actual, weights))


def pooled_dice_with_background(overlap: Overlap, weights: Weights) -> Array:
    """Mean of the pooled Dice of a structure and of all that is not the structure.

    BenchX's mDice. An always-empty model is near 0.5, since almost all pixels are
    background.

    Args:
        overlap: Pixel counts of predicted and true masks of N cases.
        weights: (N, R) whole numbers.

    Returns:
        (S, R); a class without a pixel is left out of the mean.
    """
    outside = Overlap(
        overlap.pixels - overlap.predicted,
        overlap.pixels - overlap.actual,
        overlap.pixels - overlap.predicted - overlap.actual + overlap.both,
        overlap.pixels,
    )
    pair = np.stack([pooled_dice(each, weights) for each in (overlap, outside)])
    defined = ~np.isnan(pair)
    return ratio(np.where(defined, pair, 0.0).sum(0), defined.sum(0))


def pixel_histograms(
    probabilities: npt.NDArray[np.floating], actual: Flags, bins: int = 1000
) -> npt.NDArray[np.int32]:
    """Histograms of a batch, all that `pixel_average_precision` needs of it.

    Args:
        probabilities: (B, S, H, W) in 0..1.
        actual: (B, S, H, W).
        bins: Equally wide; values in one bin count as tied.

    Returns:
        (B, S, 2, bins): of the pixels outside and inside the true mask.

    Raises:
        ValueError: If shapes disagree or a value is outside 0..1.
    """
    if probabilities.shape != actual.shape or probabilities.ndim != 4:
        raise ValueError(f"probabilities {probabilities.shape} for {actual.shape}")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities outside 0 to 1")
    cases, structures = probabilities.shape[:2]
    place = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    place += bins * actual
    place = place.reshape(cases * structures, -1)
    place += 2 * bins * np.arange(cases * structures)[:, None]
    counts = np.bincount(place.ravel(), minlength=2 * bins * cases * structures)
    return counts.reshape(cases, structures, 2, bins).astype(np.int32)


def pixel_average_precision(
    histograms: npt.NDArray[np.int32], weights: Weights
) -> Array:
    """Average precision over the pixels of all cases, from their histograms.

    Args:
        histograms: (N, S, 2, bins).
        weights: (N, R) whole numbers.

    Returns:
        (S, R); NaN where no pixel is true or none is not.
    """
    flat = histograms.reshape(len(histograms), -1).astype(np.float64)
    pooled = (flat.T @ weights.astype(np.float64)).reshape(
        *histograms.shape[1:], weights.shape[1]
    )
    outside, inside = pooled[:, 0, ::-1], pooled[:, 1, ::-1]
    found = np.cumsum(inside, axis=1)
    precision = np.nan_to_num(ratio(found, found + np.cumsum(outside, axis=1)))
    value = ratio((inside * precision).sum(1), inside.sum(1))
    return np.where(outside.sum(1) > 0, value, np.nan)


def _pooled(counts: Counts, weights: Weights) -> Array:
    """(N, S) and (N, R) to (S, R), in float64: pixels of a test set pass 2**24."""
    return counts.T.astype(np.float64) @ weights.astype(np.float64)

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from vlp_zoo.evaluation.segmentation.metrics import (
    Overlap,
    count_overlap,
    dice_with_empty,
    empty_floor,
    false_area,
    pixel_average_precision,
    pixel_histograms,
    pooled_dice,
    pooled_dice_with_background,
    positive_dice,
    positive_iou,
)
from vlp_zoo.evaluation.statistics.intervals import Statistic, case_means, interval

ONCE = np.ones((3, 1), np.float32)


def _three_cases() -> Overlap:
    """Half right, empty and clean, empty but marked; 2 x 4 pixels each."""
    predicted = np.zeros((3, 1, 2, 4), bool)
    actual = np.zeros((3, 1, 2, 4), bool)
    actual[0, 0, 0] = True  # 4 pixels
    predicted[0, 0, :, :2] = True  # 4 pixels, 2 of them right
    predicted[2, 0, 0, 0] = True
    return count_overlap(predicted, actual)


def test_each_convention_by_hand() -> None:
    overlap = _three_cases()
    nan = np.nan
    np.testing.assert_allclose(positive_dice(overlap)[:, 0], [0.5, nan, nan])
    np.testing.assert_allclose(positive_iou(overlap)[:, 0], [1 / 3, nan, nan])
    np.testing.assert_allclose(dice_with_empty(overlap)[:, 0], [0.5, 1, 0])
    np.testing.assert_allclose(empty_floor(overlap)[:, 0], [0, 1, 1])
    np.testing.assert_allclose(false_area(overlap)[:, 0], [nan, 0, 1 / 8])
    # 5 marked, 4 true, 2 both; outside 19, 20 and 17 of 24 pixels.
    assert pooled_dice(overlap, ONCE)[0, 0] == pytest.approx(4 / 9)
    both_classes = pooled_dice_with_background(overlap, ONCE)[0, 0]
    assert both_classes == pytest.approx((4 / 9 + 34 / 39) / 2)


def test_weights_are_repeated_cases() -> None:
    overlap = _three_cases()
    weights = np.array([[2], [0], [1]], np.float32)
    repeated = _take(overlap, [0, 0, 2])
    for metric in (pooled_dice, pooled_dice_with_background):
        np.testing.assert_allclose(metric(overlap, weights), metric(repeated, ONCE))


def test_a_structure_nobody_annotated_counts_nowhere() -> None:
    rng = np.random.default_rng(0)
    predicted, actual = rng.random((2, 3, 2, 5, 5)) < 0.5
    known = np.array([[True, True], [True, False], [True, True]])
    overlap = count_overlap(predicted, actual, known)
    for metric in (positive_dice, positive_iou, dice_with_empty, empty_floor):
        assert np.isnan(metric(overlap)[1, 1])
        assert not np.isnan(np.delete(metric(overlap).ravel(), 3)).any()
    others = count_overlap(predicted[[0, 2]], actual[[0, 2]])
    for pooled in (pooled_dice, pooled_dice_with_background):
        without = pooled(others, ONCE[:2])[1]
        np.testing.assert_allclose(pooled(overlap, ONCE)[1], without)


def test_intervals_are_made_of_cases_or_of_weights() -> None:
    rng = np.random.default_rng(1)
    actual = rng.random((40, 1, 6, 6)) < rng.random((40, 1, 1, 1))
    overlap = count_overlap(actual ^ (rng.random(actual.shape) < 0.2), actual)
    patients = [f"p{i // 2}" for i in range(40)]
    by_case = interval(case_means(positive_dice(overlap)), patients, replicates=200)
    pooled = interval(
        Statistic(lambda w: pooled_dice(overlap, w), len(patients)),
        patients,
        replicates=200,
    )
    for found in (by_case, pooled):
        assert found.low < found.value < found.high
    assert by_case.value != pooled.value


def test_pixel_precision_equals_scikit_learn_on_the_same_bins() -> None:
    rng = np.random.default_rng(2)
    actual = rng.random((4, 2, 8, 8)) < 0.3
    probabilities = np.clip(rng.random(actual.shape) + 0.2 * actual, 0, 1)
    histograms = np.concatenate(
        [
            pixel_histograms(probabilities[i : i + 3], actual[i : i + 3], bins=50)
            for i in (0, 3)
        ]
    )
    binned = np.minimum((probabilities * 50).astype(int), 49)
    counts = np.array([1, 0, 2, 1])
    weights = np.stack([np.ones(4), counts], 1).astype(np.float32)
    found = pixel_average_precision(histograms, weights)
    for structure in range(2):
        for r, column in enumerate(weights.T):
            expected = average_precision_score(
                actual[:, structure].ravel(),
                binned[:, structure].ravel(),
                sample_weight=np.repeat(column, 64),
            )
            assert found[structure, r] == pytest.approx(expected)


def test_pixel_precision_without_true_or_without_false_pixels_is_undefined() -> None:
    probabilities = np.full((1, 1, 2, 2), 0.5)
    for actual in (np.zeros((1, 1, 2, 2), bool), np.ones((1, 1, 2, 2), bool)):
        histograms = pixel_histograms(probabilities, actual)
        assert np.isnan(pixel_average_precision(histograms, ONCE[:1])).all()


def test_what_does_not_fit_is_refused() -> None:
    mask = np.zeros((2, 1, 3, 3), bool)
    with pytest.raises(ValueError, match="masks"):
        count_overlap(mask, mask[:1])
    with pytest.raises(ValueError, match="known"):
        count_overlap(mask, mask, np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="outside"):
        pixel_histograms(mask + 1.5, mask)
    with pytest.raises(ValueError, match="outside"):
        pixel_histograms(np.full(mask.shape, np.nan), mask)


def _take(overlap: Overlap, part: Sequence[int]) -> Overlap:
    return Overlap(
        overlap.predicted[part],
        overlap.actual[part],
        overlap.both[part],
        overlap.pixels[part],
    )

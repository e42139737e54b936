from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from vlp_zoo.evaluation.grounding.metrics import (
    best_threshold,
    boxes_to_mask,
    contrast_to_noise,
    finding_columns,
    ground,
    in_original_frame,
    pointing_hit,
    threshold_ious,
)
from vlp_zoo.evaluation.statistics.intervals import case_means


def test_a_perfect_map() -> None:
    inside = boxes_to_mask([(2, 3, 6, 8)], (12, 10))
    found = ground(inside.astype(np.float64), inside)
    assert (found.pointing, found.auroc, found.average_precision) == (1, 1, 1)
    np.testing.assert_array_equal(found.ious, 1)
    # Nothing varies on either side.
    assert np.isnan(found.signed_cnr)


def test_an_inverted_map_shares_only_the_absolute_contrast() -> None:
    rng = np.random.default_rng(0)
    inside = boxes_to_mask([(0, 0, 5, 5)], (10, 10))
    similarity = inside + rng.normal(0, 0.3, (10, 10))
    upright, inverted = ground(similarity, inside), ground(-similarity, inside)
    assert upright.signed_cnr > 1
    assert inverted.signed_cnr == pytest.approx(-upright.signed_cnr)
    assert inverted.absolute_cnr == pytest.approx(upright.absolute_cnr)
    assert inverted.auroc == pytest.approx(1 - upright.auroc)
    assert inverted.pointing == 0


def test_measures_against_definitions() -> None:
    rng = np.random.default_rng(1)
    inside = boxes_to_mask([(1, 1, 6, 4), (7, 7, 9, 9)], (10, 12))
    similarity = 0.5 * inside + rng.normal(size=inside.shape)
    found = ground(similarity, inside, [-0.5, 0.0, 0.7])
    truth, values = inside.ravel(), similarity.ravel()
    assert found.auroc == pytest.approx(roc_auc_score(truth, values))
    assert found.average_precision == pytest.approx(
        average_precision_score(truth, values)
    )
    for threshold, iou in zip([-0.5, 0.0, 0.7], found.ious, strict=True):
        marked = similarity >= threshold
        assert iou == (marked & inside).sum() / (marked | inside).sum()
    within, outside = similarity[inside], similarity[~inside]
    gap = within.mean() - outside.mean()
    assert found.signed_cnr == pytest.approx(
        gap / np.sqrt(within.var() + outside.var())
    )
    assert contrast_to_noise(similarity, inside, ddof=1) == pytest.approx(
        gap / np.sqrt(within.var(ddof=1) + outside.var(ddof=1))
    )


def test_pixels_the_encoder_never_saw_are_unknown() -> None:
    inside = boxes_to_mask([(0, 0, 4, 2)], (2, 8))
    similarity = np.tile([np.nan, np.nan, 1.0, 1.0, 0.0, 0.0, 0.0, 0.5], (2, 1))
    found = ground(similarity, inside, [0.5])
    assert found.auroc == 1
    assert found.pointing == 1
    # The box has 8 pixels, 4 of them seen and marked; 2 more are marked outside.
    assert found.ious[0] == pytest.approx(4 / 10)


def test_nothing_to_find_is_undefined() -> None:
    found = ground(np.random.default_rng(2).random((4, 4)), np.zeros((4, 4), bool))
    for value in (found.signed_cnr, found.pointing, found.auroc, *found.ious):
        assert np.isnan(value)
    with pytest.raises(ValueError, match="map"):
        ground(np.zeros((4, 4)), np.zeros((4, 5), bool))


def test_a_constant_map_points_anywhere() -> None:
    inside = boxes_to_mask([(0, 0, 2, 5)], (5, 10))
    assert pointing_hit(np.zeros((5, 10)), inside) == pytest.approx(0.2)


def test_padding_is_cut_off_and_a_crop_leaves_unknown_pixels() -> None:
    # A 4 x 8 image padded to 8 x 8 and seen as 2 x 2 patches.
    grid = np.array([[1.0, 1.0], [0.0, 0.0]])
    padded = in_original_frame(grid, (0, -2, 8, 6), (4, 8))
    assert padded.shape == (4, 8)
    assert (np.diff(padded[:, 0]) < 0).all()
    np.testing.assert_allclose(padded[0] + padded[3], 1)
    cropped = in_original_frame(grid, (2, 0, 6, 4), (4, 8))
    assert np.isnan(cropped[:, [0, 1, 6, 7]]).all()
    assert np.isfinite(cropped[:, 2:6]).all()
    with pytest.raises(ValueError, match="area"):
        in_original_frame(grid, (3, 0, 3, 4), (4, 8))


def test_stretching_is_linear_between_centres() -> None:
    columns = np.arange(6.0)
    grid = np.tile(columns, (3, 1))
    found = in_original_frame(grid, (0, 0, 60, 30), (30, 60))
    centres = np.clip((np.arange(60) + 0.5) / 10 - 0.5, 0, 5)
    np.testing.assert_allclose(found, np.tile(centres, (30, 1)))


def test_the_threshold_is_chosen_by_the_mean() -> None:
    ious = np.array([[0.2, 0.6, 0.1], [0.4, 0.3, 0.2], [np.nan] * 3])
    assert best_threshold(ious, [0.1, 0.2, 0.3]) == 0.2
    with pytest.raises(ValueError, match="mask"):
        best_threshold(ious[2:], [0.1, 0.2, 0.3])


def test_findings_count_alike_however_many_phrases_they_have() -> None:
    values = np.array([1.0, 1.0, 1.0, 0.0])
    table, names = finding_columns(values, ["edema"] * 3 + ["mass"])
    assert names == ["edema", "mass"]
    means = case_means(table)(np.ones((4, 1), np.float32))
    np.testing.assert_allclose(means[:, 0], [1, 0])


def test_ious_at_ties_include_the_threshold() -> None:
    inside = np.array([[True, True, False, False]])
    similarity = np.array([[0.3, 0.1, 0.3, 0.0]])
    np.testing.assert_allclose(threshold_ious(similarity, inside, [0.3]), [1 / 3])

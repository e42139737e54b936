"""Answers that an evaluation must give, and what published shortcuts give instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from tests.evaluation.coco import coco_average_precision
from vlp_zoo.data.catalogue import decide_labels
from vlp_zoo.data.masks import decode_coco_rle, decode_relative_rle
from vlp_zoo.data.splits import check_patients
from vlp_zoo.errors import DataRejectedError, PatientLeakError
from vlp_zoo.evaluation.alignment.prompts import zero_shot_scores
from vlp_zoo.evaluation.alignment.ranks import (
    first_places,
    legacy_batch_hits,
    relevant_pairs,
    retrieve,
)
from vlp_zoo.evaluation.detection.metrics import (
    COCO_IOUS,
    RSNA_IOUS,
    ImageBoxes,
    box_average_precision,
    froc,
    froc_sensitivity,
    legacy_detection_map,
    match_boxes,
    rsna_scores,
)
from vlp_zoo.evaluation.fractions import nested_patients
from vlp_zoo.evaluation.grounding.metrics import boxes_to_mask, in_original_frame
from vlp_zoo.evaluation.segmentation.metrics import (
    Overlap,
    count_overlap,
    dice_with_empty,
    empty_floor,
    pixel_average_precision,
    pixel_histograms,
    pooled_dice,
    pooled_dice_with_background,
    positive_dice,
)
from vlp_zoo.evaluation.statistics.intervals import (
    bootstrap,
    case_means,
    paired_difference,
)
from vlp_zoo.evaluation.statistics.metrics import label_values, macro
from vlp_zoo.evaluation.statistics.significance import delong_paired
from vlp_zoo.schedules import warmup_cosine
from vlp_zoo.transforms import CropGeometry, resize
from vlp_zoo.types import Box

NONE = np.zeros((0, 4))
BOX = np.array([[10.0, 10, 60, 60]])
OFF = np.array([[70.0, 70, 90, 90]])


def _mean(values: np.ndarray) -> float:
    once = np.ones((len(values), 1), np.float32)
    return float(macro(case_means(values)(once))[0])


# Masks ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cases", "empty", "baseline"),
    [
        pytest.param(10, 7, 0.7, id="seven of ten"),
        # Test lists of RSNA: MGCA and ECAMP's, and LoVT and MedKLIP's.
        pytest.param(5337, 4086, 0.766, id="RSNA of MGCA"),
        pytest.param(5337, 4119, 0.772, id="RSNA of LoVT"),
    ],
)
def test_an_always_empty_segmenter_scores_the_share_of_empty_masks(
    cases: int, empty: int, baseline: float
) -> None:
    area = 224 * 224
    actual = np.full((cases, 1), area // 20)
    actual[:empty] = 0
    nothing = np.zeros_like(actual)
    overlap = Overlap(nothing, actual, nothing, np.full_like(actual, area))
    once = np.ones((cases, 1), np.float32)
    assert _mean(dice_with_empty(overlap)) == pytest.approx(empty / cases)
    assert _mean(dice_with_empty(overlap)) == pytest.approx(baseline, abs=5e-4)
    assert _mean(empty_floor(overlap)) == _mean(dice_with_empty(overlap))
    assert _mean(positive_dice(overlap)) == 0
    assert pooled_dice(overlap, once)[0, 0] == 0
    assert 0.49 < pooled_dice_with_background(overlap, once)[0, 0] < 0.5


def _segmented(cases: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    actual = np.zeros((cases, 1, 12, 12), bool)
    for case in range(0, cases, 2):
        left, top = rng.integers(0, 6, 2)
        actual[case, 0, top : top + 5, left : left + 4] = True
    return np.clip(0.5 * actual + 0.6 * rng.random(actual.shape), 0, 1), actual


def test_masks_in_batches_of_1_7_and_all_score_alike() -> None:
    probabilities, actual = _segmented(30)
    once = np.ones((30, 1), np.float32)
    seen = []
    for batch in (1, 7, 30):
        parts = [slice(i, i + batch) for i in range(0, 30, batch)]
        counts = [count_overlap(probabilities[p] > 0.5, actual[p]) for p in parts]
        overlap = Overlap(
            *(
                np.concatenate([getattr(part, entry.name) for part in counts])
                for entry in fields(Overlap)
            )
        )
        histograms = np.concatenate(
            [pixel_histograms(probabilities[p], actual[p]) for p in parts]
        )
        seen.append(
            (
                _mean(dice_with_empty(overlap)),
                _mean(positive_dice(overlap)),
                float(pooled_dice(overlap, once)[0, 0]),
                float(pooled_dice_with_background(overlap, once)[0, 0]),
                float(pixel_average_precision(histograms, once)[0, 0]),
            )
        )
    assert seen[0] == seen[1] == seen[2]


def test_a_siim_mask_is_relative_and_column_by_column() -> None:
    text = "1 2 3 1"
    expected = np.array([[0, 0], [1, 0], [1, 1], [0, 0]], bool)
    np.testing.assert_array_equal(decode_relative_rle(text, 4, 2), expected)
    # Positions from 1 on, as in most competitions: other pixels.
    absolute = np.zeros(8, bool)
    for start, length in ((1, 2), (3, 1)):
        absolute[start - 1 : start - 1 + length] = True
    assert not np.array_equal(absolute.reshape(2, 4).T, expected)
    # COCO's compressed strings, and COCO's counts, which fill the frame: refused.
    for coco in (text, [int(word) for word in text.split()]):
        with pytest.raises(DataRejectedError):
            decode_coco_rle(coco, 4, 2)
    # Height and width exchanged: another mask.
    exchanged = decode_relative_rle(text, 2, 4).reshape(4, 2)
    assert not np.array_equal(exchanged, expected)


# Boxes ---------------------------------------------------------------------------


def _detected(
    cases: int, found: Callable[[int], np.ndarray], scores: Callable[[int], list[float]]
) -> list[ImageBoxes]:
    """The first half of the cases has a box, the others have none."""
    return [
        ImageBoxes(BOX if i < cases // 2 else NONE, found(i), np.array(scores(i)))
        for i in range(cases)
    ]


def _canonical(images: Sequence[ImageBoxes], ious: Sequence[float]) -> float:
    once = np.ones((len(images), 1), np.float32)
    ours = float(box_average_precision(match_boxes(images, ious), once).mean())
    library = float(coco_average_precision(images, ious).mean())
    assert ours == pytest.approx(library)
    return ours


def test_a_detector_silent_on_seventy_percent_of_the_positives() -> None:
    images = _detected(
        200,
        lambda i: BOX if i < 30 else NONE,
        lambda i: [0.9] if i < 30 else [],
    )
    assert legacy_detection_map(images) == 1
    # Recalls 0 to .30 of the 101 have precision 1, the others 0.
    for ious in (COCO_IOUS, RSNA_IOUS, [0.5]):
        assert _canonical(images, ious) == pytest.approx(31 / 101)
    once = np.ones((200, 1), np.float32)
    np.testing.assert_allclose(froc_sensitivity(froc(images), once), 0.3)
    assert np.nanmean(rsna_scores(images)) == pytest.approx(0.3)
    assert np.isnan(legacy_detection_map(images[150:]))


def test_a_false_box_on_every_negative_image() -> None:
    def at(score: float) -> list[ImageBoxes]:
        return _detected(
            40,
            lambda i: BOX if i < 20 else OFF,
            lambda i: [0.9] if i < 20 else [score],
        )

    clean = _detected(
        40, lambda i: BOX if i < 20 else NONE, lambda i: [0.9] if i < 20 else []
    )
    once = np.ones((40, 1), np.float32)
    low, high = at(0.5), at(0.95)
    assert [legacy_detection_map(images) for images in (clean, low, high)] == [1, 1, 1]
    # Below every hit it does not change the curve of precision, above it halves it.
    assert _canonical(low, COCO_IOUS) == _canonical(clean, COCO_IOUS) == 1
    assert _canonical(high, COCO_IOUS) == pytest.approx(0.5)
    assert len(froc(low).false_score) == 20
    assert len(froc(clean).false_score) == 0
    # 20 false boxes in 40 images: rates below 1/2 are out of reach.
    sensitivity = froc_sensitivity(froc(high), once)[:, 0]
    assert sensitivity.tolist() == [0, 0, 1, 1, 1, 1, 1]
    # RSNA's score gives images with a false box 0 and leaves clean negatives out.
    assert np.nanmean(rsna_scores(clean)) == 1
    assert np.nanmean(rsna_scores(low)) == pytest.approx(0.5)


# Labels --------------------------------------------------------------------------


def test_a_class_without_positives_is_left_out_of_the_mean() -> None:
    labels = np.array([[1, 0], [0, 0], [1, 0], [0, 0]], np.float32)
    scores = np.array([[0.9, 0.5], [0.3, 0.1], [0.2, 0.8], [0.1, 0.3]])
    values = label_values("macro_auroc", labels, scores)
    assert np.isnan(values[1, 0])
    assert int((~np.isnan(values)).sum()) == 1
    assert macro(values)[0] == values[0, 0] == 0.75


@pytest.mark.parametrize(
    ("uncertain", "expected"),
    [
        # Positives .9 and .6, negatives .5 and .2, uncertain .7, .1 and .3.
        pytest.param(float("nan"), 4 / 4, id="ignore"),
        pytest.param(0.0, (5 + 4) / 10, id="zeros"),
        pytest.param(1.0, (2 + 2 + 2 + 0 + 1) / 10, id="ones"),
    ],
)
def test_uncertain_labels_under_each_policy(uncertain: float, expected: float) -> None:
    raw = np.array([[1], [1], [0], [0], [-1], [-1], [-1]], np.float32)
    scores = np.array([[0.9], [0.6], [0.5], [0.2], [0.7], [0.1], [0.3]])
    labels = decide_labels(raw, ["Edema"], {"Edema": uncertain})
    value = label_values("macro_auroc", labels, scores)[0, 0]
    assert value == pytest.approx(expected)


def test_a_shared_patient_is_named() -> None:
    patients = ["p1", "p2", "p2", "p3"]
    check_patients("a set", patients, ["train", "train", "train", "test"], "mend it")
    with pytest.raises(PatientLeakError, match="p2"):
        check_patients("a set", patients, ["train", "train", "test", "test"], "mend it")


def test_small_fractions_lie_inside_larger_ones() -> None:
    rng = np.random.default_rng(0)
    patients = [f"p{i // 3}" for i in range(1500)]
    labels = (rng.random((1500, 4)) < [0.4, 0.2, 0.05, 0.01]).astype(np.float32)
    for seed in range(3):
        chosen = [
            set(nested_patients(patients, labels, share, seed).tolist())
            for share in (0.01, 0.1, 0.5, 1.0)
        ]
        for smaller, larger in pairwise(chosen):
            assert smaller < larger
        assert len(chosen[-1]) == 1500
        # Whole patients, as many as promised.
        assert [len(each) for each in chosen] == [15, 150, 750, 1500]


# Rates, retrieval, zero-shot -----------------------------------------------------


def test_the_cosine_stays_at_zero_or_wraps() -> None:
    # BenchX: 50 steps of warm-up, 3,000 in all, training goes on.
    canonical = [warmup_cosine(step, 50, 3000) for step in (3000, 4475, 5950)]
    wrapped = [
        warmup_cosine(step, 50, 3000, clamp=False) for step in (3000, 4475, 5950)
    ]
    assert canonical == [0, 0, 0]
    assert wrapped == pytest.approx([0, 0.5, 1])


def test_duplicated_texts_are_right_answers_together() -> None:
    texts = ["clear lungs", "mass", "clear lungs", "edema"]
    ids = [f"s{i}" for i in range(4)]
    perfect = np.eye(3)[[0, 1, 0, 2]]
    several = retrieve(perfect, perfect, relevant_pairs(ids, texts), ids, replicates=0)
    alone = retrieve(perfect, perfect, np.eye(4, dtype=bool), ids, replicates=0)
    assert several.recall[1].value == 1
    assert alone.recall[1].value < 1


def test_retrieval_ranks_the_whole_pool_and_batches_flatter() -> None:
    rng = np.random.default_rng(1)
    images = rng.normal(size=(60, 4))
    texts = images + rng.normal(size=(60, 4))
    relevant = np.eye(60, dtype=bool)
    scores = images @ texts.T
    whole = float(first_places(scores, relevant).within(1).mean())
    hits = [legacy_batch_hits(scores, relevant, 1, batch)[0] for batch in (1, 7, 60)]
    assert hits[0] == 1
    assert hits[0] > hits[1] > hits[2]
    assert hits[2] == pytest.approx(whole)
    hit, precision = legacy_batch_hits(scores, relevant, 5, 60)
    assert precision == pytest.approx(hit / 5)


def test_one_image_is_classified() -> None:
    image, sentences = np.array([[1.0, 0.0]]), np.eye(2)
    scores = zero_shot_scores(image, sentences, sentences[::-1])
    np.testing.assert_allclose(scores, [[1, -1]])


# Intervals -----------------------------------------------------------------------


def _gaussian(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    truth = (np.arange(n) < 0.4 * n).astype(np.float32)[:, None]
    return truth, rng.normal(size=(n, 1)) + truth


def test_bootstrap_intervals_cover_as_promised() -> None:
    # AUROC of N(1, 1) against N(0, 1) is Phi(1 / sqrt 2).
    true = 0.7602499389
    rng = np.random.default_rng(0)
    patients = [str(i) for i in range(250)]
    hits = 0
    for seed in range(500):
        truth, scores = _gaussian(rng, 250)
        found = bootstrap(
            "macro_auroc", truth, scores, patients, replicates=400, seed=seed
        )
        hits += found.low <= true <= found.high
    assert 0.93 <= hits / 500 <= 0.97


@pytest.mark.parametrize("n", [100, 400])
def test_delong_agrees_with_the_bootstrap(n: int) -> None:
    truth, scores = _gaussian(np.random.default_rng(n), n)
    other = scores + np.random.default_rng(n + 1).normal(size=scores.shape)
    found = paired_difference(
        "macro_auroc",
        truth,
        scores,
        other,
        [str(i) for i in range(n)],
        replicates=4000,
    )
    error = (found.high - found.low) / (2 * 1.959964)
    exact = delong_paired(truth[:, 0] > 0.5, scores[:, 0], other[:, 0])
    assert exact.value == pytest.approx(found.value)
    assert exact.standard_error == pytest.approx(error, rel=0.1)


def test_four_copies_of_each_image_need_the_patients_to_be_known() -> None:
    truth, scores = _gaussian(np.random.default_rng(3), 200)
    interval = partial(
        bootstrap,
        "macro_auroc",
        np.repeat(truth, 4, 0),
        np.repeat(scores, 4, 0),
        replicates=2000,
    )
    clustered = interval([str(i // 4) for i in range(800)])
    naive = interval([str(i) for i in range(800)])
    widths = [found.high - found.low for found in (clustered, naive)]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.15)


# Geometry ------------------------------------------------------------------------


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_a_box_through_a_crop_and_back() -> None:
    inside = Box("opacity", (90.0, 60.0, 210.0, 180.0))
    crop = CropGeometry(left=50, top=30, width=200, height=180, size=448)
    (moved,) = crop.apply_boxes([inside])
    drawn = boxes_to_mask([moved.xyxy], (448, 448)).astype(np.float64)
    back = in_original_frame(drawn, (50, 30, 250, 210), (256, 320)) >= 0.5
    assert _overlap(back, boxes_to_mask([inside.xyxy], (256, 320))) > 0.99


@pytest.mark.parametrize("shape", [(300, 200), (200, 300)])
def test_a_mask_through_padding_and_back(shape: tuple[int, int]) -> None:
    mask = boxes_to_mask([(30, 40, 150, 170)], shape)
    size = 448
    shown = resize(
        np.where(mask, 255, 0).astype(np.uint8),
        size,
        keep_aspect=True,
        pad=True,
        interpolation="bilinear",
    )
    height, width = (max(1, round(side * size / max(shape))) for side in shape)
    top, left = (size - height) // 2, (size - width) // 2
    down, across = shape[0] / height, shape[1] / width
    covers = (
        -left * across,
        -top * down,
        (size - left) * across,
        (size - top) * down,
    )
    back = in_original_frame(shown / 255.0, covers, shape) >= 0.5
    assert _overlap(back, mask) > 0.99

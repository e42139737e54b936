from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.evaluation.coco import coco_average_precision
from vlp_zoo.evaluation.detection.metrics import (
    COCO_IOUS,
    RSNA_IOUS,
    ImageBoxes,
    box_average_precision,
    box_iou,
    froc,
    froc_sensitivity,
    match_boxes,
    rsna_scores,
)

NONE = np.zeros((0, 4))


def _image(
    truth: Sequence[Sequence[float]],
    found: Sequence[Sequence[float]] = (),
    scores: Sequence[float] = (),
) -> ImageBoxes:
    return ImageBoxes(np.array(truth), np.array(found), np.array(scores))


def _random_images(seed: int, n: int = 30, classes: int = 2) -> list[ImageBoxes]:
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n):
        truth = _boxes(rng, int(rng.integers(0, 4)))
        kept = truth[rng.random(len(truth)) < 0.8]
        near = kept + rng.normal(0, 2, kept.shape)
        found = np.concatenate([near, near[:1] + 1, _boxes(rng, int(rng.integers(3)))])
        # Coarse scores, so that there are ties.
        images.append(
            ImageBoxes(
                truth,
                found,
                rng.integers(0, 8, len(found)) / 8,
                rng.integers(0, classes, len(truth)),
                rng.integers(0, classes, len(found)),
            )
        )
    return images


def _boxes(rng: np.random.Generator, n: int) -> np.ndarray:
    corner = rng.uniform(0, 60, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(8, 40, (n, 2))], 1)


def _literal_precision(images: Sequence[ImageBoxes], iou: float, k: int) -> float:
    """COCO's definition in plain loops."""
    ranked = sorted(
        (
            (float(score), i, d)
            for i, image in enumerate(images)
            for d, score in enumerate(image.scores)
            if image.detected_classes[d] == k
        ),
        key=lambda entry: -entry[0],
    )
    taken: set[tuple[int, int]] = set()
    total = sum(int((image.truth_classes == k).sum()) for image in images)
    curve, hits = [], 0
    for place, (_, i, d) in enumerate(ranked, 1):
        overlaps = box_iou(images[i].detected[d : d + 1], images[i].truth)[0]
        best, chosen = iou, None
        for g, overlap in enumerate(overlaps):
            if images[i].truth_classes[g] != k or (i, g) in taken or overlap < best:
                continue
            best, chosen = float(overlap), g
        if chosen is not None:
            taken.add((i, chosen))
            hits += 1
        curve.append((hits / total, hits / place))
    return sum(
        max((p for recall, p in curve if recall >= wanted), default=0.0)
        for wanted in np.linspace(0, 1, 101)
    ) / len(np.linspace(0, 1, 101))


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_three_ways(seed: int) -> None:
    images = _random_images(seed)
    for ious in (COCO_IOUS, RSNA_IOUS):
        matches = match_boxes(images, ious, classes=2)
        ours = box_average_precision(matches, np.ones((30, 1), np.float32))[:, :, 0]
        library = coco_average_precision(images, ious, classes=2)
        literal = [[_literal_precision(images, t, k) for t in ious] for k in range(2)]
        np.testing.assert_allclose(ours, library, atol=1e-12)
        np.testing.assert_allclose(ours, literal, atol=1e-12)
        assert 0.05 < ours.mean() < 0.8


def test_weights_are_repeated_images() -> None:
    images = _random_images(7, n=12, classes=1)
    # Without ties, whose order no weight could know.
    rng = np.random.default_rng(1)
    images = [
        ImageBoxes(image.truth, image.detected, rng.random(len(image.detected)))
        for image in images
    ]
    counts = np.random.default_rng(0).integers(0, 3, 12)
    repeated = [
        image for image, n in zip(images, counts, strict=True) for _ in range(n)
    ]
    weights = counts[:, None].astype(np.float32)
    once = np.ones((len(repeated), 1), np.float32)
    np.testing.assert_allclose(
        box_average_precision(match_boxes(images), weights),
        box_average_precision(match_boxes(repeated), once),
    )
    np.testing.assert_allclose(
        froc_sensitivity(froc(images), weights), froc_sensitivity(froc(repeated), once)
    )


def test_a_second_box_on_the_same_finding_is_false() -> None:
    box = [0, 0, 10, 10]
    once = np.ones((1, 1), np.float32)
    single = match_boxes([_image([box], [box], [0.5])], [0.5])
    double = match_boxes([_image([box], [box, box], [0.9, 0.5])], [0.5])
    assert double.hits[:, 0].tolist() == [True, False]
    assert box_average_precision(single, once)[0, 0, 0] == 1
    # After full recall, so COCO's precision does not fall.
    assert box_average_precision(double, once)[0, 0, 0] == 1


def test_no_detection_at_all_and_no_truth_at_all() -> None:
    images = [_image([[0, 0, 5, 5]]), _image(NONE.tolist())]
    once = np.ones((2, 1), np.float32)
    for value in (
        coco_average_precision(images, [0.5], classes=2),
        box_average_precision(match_boxes(images, [0.5], classes=2), once)[:, :, 0],
    ):
        np.testing.assert_array_equal(value, [[0.0], [np.nan]])
    assert np.isnan(froc_sensitivity(froc(images[1:]), once[:1])).all()


def test_at_most_a_hundred_detections_count() -> None:
    wrong = [[50.0, 50, 60, 60]] * 100
    image = _image([[0, 0, 10, 10]], [*wrong, [0, 0, 10, 10]], [0.9] * 100 + [0.1])
    assert coco_average_precision([image], [0.5])[0, 0] == 0
    assert match_boxes([image], [0.5]).hits.sum() == 0
    assert match_boxes([image], [0.5], max_detections=101).hits.sum() == 1


def test_froc_by_hand() -> None:
    box, other = [0, 0, 10, 10], [20, 20, 30, 30]
    inside, off = [4, 4, 6, 6], [50, 50, 60, 60]
    images = [
        # Hit twice: one found box, no false one.
        _image([box, other], [inside, box, off], [0.9, 0.8, 0.7]),
        _image(NONE.tolist(), [off, off], [0.6, 0.2]),
        _image([box], [inside], [0.3]),
        _image([box], [off], [0.1]),
    ]
    curve = froc(images)
    assert sorted(curve.truth_score.tolist()) == [-np.inf, -np.inf, 0.3, 0.9]
    once = np.ones((4, 1), np.float32)
    found = froc_sensitivity(curve, once, rates=(1 / 8, 1 / 4, 1 / 2, 3 / 4, 8))
    # 0, 1, 2, 3 and all false boxes of four images are allowed.
    np.testing.assert_allclose(found[:, 0], [1 / 4, 1 / 4, 2 / 4, 2 / 4, 2 / 4])


def test_rsna_score_by_hand() -> None:
    box = [0.0, 0, 10, 10]
    half = [0.0, 0, 10, 5.75]  # IoU .575: above .40, .45, .50 and .55
    images = [
        _image([box], [box], [0.9]),
        _image([box], [half], [0.9]),
        _image([box], [box, [50, 50, 60, 60]], [0.9, 0.8]),
        _image([box]),
        _image(NONE.tolist(), [box], [0.9]),
        _image(NONE.tolist()),
    ]
    np.testing.assert_allclose(rsna_scores(images), [1, 0.5, 0.5, 0, 0, np.nan])


def test_boxes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="scores"):
        _image([[0, 0, 1, 1]], [[0, 0, 1, 1]], [])
    with pytest.raises(ValueError, match="truth"):
        _image([[0, 0, np.nan, 1]])
    image = ImageBoxes(np.array([[0, 0, 1, 1]]), NONE, np.empty(0), np.array([3]))
    with pytest.raises(ValueError, match="classes"):
        match_boxes([image], classes=2)

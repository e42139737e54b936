"""Outlines: values worked out by hand, what has none, and what is stored of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.evaluation.segmentation.stubs import Bright, ShapeSource, shape_task
from vlp_zoo.bench.suite import candidates_of, evaluate_task
from vlp_zoo.bench.table import result_tables
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import DependencyNotFoundError
from vlp_zoo.evaluation.baselines import PixelEncoder, Prevalence
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate
from vlp_zoo.evaluation.results import ResultStore
from vlp_zoo.evaluation.segmentation.mask_truth import MaskRule
from vlp_zoo.evaluation.segmentation.segmentation import Segment
from vlp_zoo.evaluation.segmentation.segmenter import outlines_of
from vlp_zoo.evaluation.segmentation.surfaces import (
    outline_agreement,
    spacings,
    surface_metrics,
)
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import Selected, Task
from vlp_zoo.evaluation.training.learner import predict
from vlp_zoo.leaderboard.remade import statistic_of
from vlp_zoo.monai import load_monai

NAMES = surface_metrics("px")
QUICK: dict[str, Any] = {
    "decoder": "linear",
    "size": 0,
    "steps": (2, 2, 2),
    "batch_size": 8,
    "evaluations": 1,
    "augment": "none",
    "replicates": 20,
}


def mask(*pixels: tuple[int, int], side: int = 12) -> npt.NDArray[np.bool_]:
    found = np.zeros((side, side), np.bool_)
    for row, column in pixels:
        found[row, column] = True
    return found


def square(row: int, column: int, side: int = 4) -> npt.NDArray[np.bool_]:
    found = mask()
    found[row : row + side, column : column + side] = True
    return found


def extraction() -> Extraction:
    return Extraction(progress=False, cache=FeatureCache(None))


# Values --------------------------------------------------------------------------


def test_a_square_one_pixel_aside() -> None:
    # Of the twelve pixels of an outline six lie on the other and six beside it.
    found = outline_agreement(square(2, 3), square(2, 2))
    np.testing.assert_allclose(found, [1, 0.5, 1])
    assert outline_agreement(square(2, 2), square(2, 2)).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [(None, (5, 5, 0)), ((2, 1), (52**0.5, 52**0.5, 0)), ((0.4, 0.4), (2, 2, 1))],
)
def test_two_pixels_apart_by_3_and_4(spacing: Any, expected: Any) -> None:
    found = outline_agreement(mask((0, 0)), mask((3, 4)), spacing)
    np.testing.assert_allclose(found, expected)


def test_both_directions_count() -> None:
    # Distances 0 and 10 one way, whose 95th percentile is 9.5, and 0 the other.
    stray = outline_agreement(mask((0, 0), (0, 10)), mask((0, 0)))
    np.testing.assert_allclose(stray, [9.5, 10 / 3, 2 / 3])
    lost = outline_agreement(mask((0, 0)), mask((0, 0), (0, 10)))
    np.testing.assert_allclose(lost, stray)


def test_the_tolerance_is_2_and_holds_at_its_edge() -> None:
    assert NAMES == ("hd95_px", "assd_px", "surface_dice@2px")
    assert outline_agreement(mask((0, 0)), mask((0, 2)))[2] == 1
    assert outline_agreement(mask((0, 0)), mask((0, 3)))[2] == 0


def test_the_border_of_the_image_and_of_a_hole_are_outlines() -> None:
    hole = np.ones((12, 12), np.bool_)
    hole[6, 6] = False
    found = outline_agreement(hole, np.ones((12, 12), np.bool_))
    # 44 pixels of the border twice, and 4 around the hole, 5, 4, 5 and 4 from it.
    np.testing.assert_allclose(found, [4, 18 / 92, 88 / 92])


@pytest.mark.parametrize(
    ("predicted", "actual", "expected"),
    [
        pytest.param(mask(), mask(), [np.nan] * 3, id="nothing there, nothing marked"),
        pytest.param(square(2, 2), mask(), [np.nan] * 3, id="nothing there"),
        pytest.param(mask(), square(2, 2), [np.nan, np.nan, 0], id="nothing marked"),
    ],
)
def test_a_mask_without_pixels_has_no_distance(
    predicted: Any, actual: Any, expected: list[float]
) -> None:
    np.testing.assert_equal(outline_agreement(predicted, actual), expected)


def test_monai_has_the_same_numbers() -> None:
    metrics = load_monai("a test").metrics
    rng = np.random.default_rng(0)
    for _ in range(3):
        pair = np.zeros((2, 24, 24), np.bool_)
        for each in pair:
            row, column, side = rng.integers(2, 12, 3)
            each[row : row + side, column : column + 4] = True
        one, two = (torch.from_numpy(each)[None, None].float() for each in pair)
        every = {"include_background": True}
        expected = [
            metrics.compute_hausdorff_distance(one, two, percentile=95, **every),
            metrics.compute_average_surface_distance(one, two, symmetric=True, **every),
            metrics.compute_surface_dice(one, two, [2.0], **every),
        ]
        found = outline_agreement(pair[0], pair[1])
        np.testing.assert_allclose(found, torch.stack(expected).ravel(), rtol=1e-5)


# What a segmentation says of them ------------------------------------------------


class Measured(ShapeSource):
    """Shapes whose pixels are known in millimetres, some of them or all."""

    def __init__(self, split: str, n: int, every: int = 1) -> None:
        super().__init__(split, n)
        self.every = every

    def spacing_mm(self, index: int) -> tuple[float, float] | None:
        return (0.5, 0.25) if index % self.every == 0 else None


def measured(every: int) -> Task:
    splits = {s: Measured(s, 12, every) for s in ("train", "val", "test")}
    return Task("shapes", splits, gives=frozenset({"masks"}), min_positives=1)


def outcome_of(module: torch.nn.Module, task: Task) -> Any:
    who = Candidate(subject_of(module, "m", "encoder", extraction()), module)
    return Segment(**QUICK).measure(who, task, 0, extraction())


def test_an_always_empty_model_has_no_distance_and_a_surface_dice_of_0() -> None:
    outcome = outcome_of(Prevalence(), shape_task(12))
    found = {m.metric: m for m in outcome.measures}
    for name in NAMES[:2]:
        assert np.isnan(found[name].value)
        assert found[name].low is None
        assert set(found[name].per_label.values()) == {None}
    assert found[NAMES[2]].value == 0
    assert outcome.details["cases_without_distance"] == {
        "corner": {"missed": 6, "marked_where_nothing_is": 0, "both_empty": 0},
        "disc": {"missed": 8, "marked_where_nothing_is": 0, "both_empty": 4},
    }


def test_every_case_is_stored_and_makes_the_number_again() -> None:
    task = shape_task(12)
    outcome = outcome_of(PixelEncoder(), task)
    found = {m.metric: m for m in outcome.measures}
    for name in NAMES:
        again = statistic_of(name, outcome.cases, ())
        assert again is not None
        np.testing.assert_equal(again.value, found[name].value)
        column = outcome.cases.columns[f"{name} disc"]
        assert np.isnan(column[::3]).all()
        assert np.isnan(outcome.cases.columns[f"{name} corner"][1::2]).all()
    missed = outcome.cases.columns["predicted disc"] == 0
    there = outcome.cases.columns["actual disc"] > 0
    without = np.isnan(outcome.cases.columns["hd95_px disc"])
    assert (without == (missed | ~there)).all()
    # Results of before hold pixel counts alone, and say what these say.
    for name in NAMES:
        for structure in ("disc", "corner"):
            del outcome.cases.columns[f"{name} {structure}"]
        assert statistic_of(name, outcome.cases, ()) is None
    assert statistic_of("dice_positive", outcome.cases, ()) is not None


def test_millimetres_only_where_every_case_is_known_in_them() -> None:
    every, some = measured(1), measured(2)
    assert spacings(Selected(every.splits["test"], [3])) == {"test-003": (0.5, 0.25)}
    assert spacings(some.splits["test"]) == {}
    metrics = [m.metric for m in outcome_of(Prevalence(), every).measures]
    assert metrics[-3:] == ["hd95_mm", "assd_mm", "surface_dice@2mm"]
    metrics = [m.metric for m in outcome_of(Prevalence(), some).measures]
    assert metrics[-3:] == list(NAMES)
    source, learner = every.splits["test"], Bright(MaskRule(("corner", "disc")), 61)
    learner.full = True
    px = outlines_of(predict(learner, source, extraction()))[..., 1]
    learner.spacings = spacings(source)
    mm = outlines_of(predict(learner, source, extraction()))[..., 1]
    apart = px > 0
    assert apart.any()
    ratio = mm[apart] / px[apart]
    assert ((ratio >= 0.25 - 1e-9) & (ratio <= 0.5 + 1e-9)).all()


def test_bench_shows_them_with_the_missed_ones(tmp_path: Path) -> None:
    torch.manual_seed(1)
    encoder = ImageEncoder("micro").eval()
    who = candidates_of(["micro"], extraction(), load=lambda spec: encoder)
    rows = evaluate_task(
        *(who, shape_task(12), ResultStore(tmp_path), extraction()),
        protocols=[Segment(**QUICK)],
        replicates=10,
    )
    (table,) = result_tables(rows)
    for words in ("HD95 px", "ASSD px", "surface Dice@2px"):
        assert words in str(table.caption)
    for row in rows:
        if row.metric == NAMES[2]:
            assert row.value is not None
            assert 0 <= row.value <= 1


def test_a_missing_package_is_said_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone: Any = None
    monkeypatch.setitem(sys.modules, "monai", gone)
    with pytest.raises(DependencyNotFoundError, match=r"vlp-zoo\[segmentation\]"):
        outcome_of(PixelEncoder(), shape_task(12))

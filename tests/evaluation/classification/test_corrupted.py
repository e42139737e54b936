"""The probe of clean images on corrupted ones: what is learnt, reported and stored."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.classification.test_classes import grade_task
from tests.evaluation.stubs import StubEncoder, block_task
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.classification.corrupted import CorruptedImages
from vlp_zoo.evaluation.classification.linear_probe import LinearProbe
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate, Protocol
from vlp_zoo.evaluation.statistics.intervals import paired_interval
from vlp_zoo.evaluation.statistics.metrics import macro
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.leaderboard.remade import statistic_of

QUICK = CorruptedImages(corruptions=("noise", "contrast"), severities=(1, 5))
TASKS = {"labels": lambda: block_task(80), "grades": lambda: grade_task(80)}


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[request.param]()


def candidate(module: StubEncoder, how: Extraction) -> Candidate:
    return Candidate(subject_of(module, "m", "encoder", how), module)


def test_the_probe_is_that_of_clean_images_and_changes_are_paired(task: Task) -> None:
    how, module = Extraction(progress=False, cache=FeatureCache(None)), StubEncoder()
    plain = LinearProbe(replicates=50).measure(candidate(module, how), task, 0, how)
    before = module.images
    protocol = CorruptedImages(
        replicates=50, corruptions=QUICK.corruptions, severities=QUICK.severities
    )
    outcome = protocol.measure(candidate(module, how), task, 0, how)
    # Clean features are those of the cache, and only test images are made worse.
    assert module.images - before == 4 * len(task.splits["test"])
    assert outcome.details["c"] == plain.details["c"]
    np.testing.assert_array_equal(outcome.cases.scores, plain.cases.scores)
    found = {m.metric: m for m in outcome.measures}
    head, clean = outcome.measures[0], plain.measures[0]
    assert head.metric == f"{clean.metric}@corrupted"
    again = found[clean.metric]
    assert (again.value, again.low) == pytest.approx((clean.value, clean.low))
    each = [
        found[f"{clean.metric}@{name}_{s}"]
        for name in ("noise", "contrast")
        for s in (1, 5)
    ]
    assert head.value == pytest.approx(np.mean([m.value for m in each]))
    change = found[f"{clean.metric}_change"]
    assert change.value == pytest.approx(head.value - clean.value)
    assert head.details["change_from_clean"] == pytest.approx(
        [change.value, change.low, change.high]
    )
    assert each[1].value < clean.value
    assert found[f"{clean.metric}@noise"].value == pytest.approx(
        np.mean([each[0].value, each[1].value])
    )
    # Paired by patient: made again from the stored cases.
    stored, base = (
        statistic_of(metric, outcome.cases, ())
        for metric in (head.metric, clean.metric)
    )
    assert stored is not None
    assert base is not None
    gap = paired_interval(
        stored, base, outcome.cases.patient_ids, replicates=50, seed=0
    )
    assert (gap.value, gap.low, gap.high) == pytest.approx(
        (change.value, change.low, change.high)
    )
    assert found[f"val_{clean.metric}"].split == "val"


def test_two_encoders_are_compared_under_corruption(task: Task) -> None:
    how = Extraction(progress=False, cache=FeatureCache(None))
    one, two = (
        QUICK.measure(candidate(StubEncoder(width=w, seed=w), how), task, 0, how)
        for w in (16, 3)
    )
    gap, by_label = QUICK.difference(one.cases, two.cases, {}, 0)
    expected = one.measures[0].value - two.measures[0].value
    assert gap.value == pytest.approx(expected)
    assert np.mean([v for v in by_label.values() if v is not None]) == pytest.approx(
        expected
    )
    assert QUICK.difference(one.cases, one.cases, {}, 0)[0].high == 0


def test_a_label_that_is_left_out_counts_under_no_corruption() -> None:
    task = block_task(80)
    task.splits["train"].labels[:, 1] = 0
    how = Extraction(progress=False, cache=FeatureCache(None))
    outcome = QUICK.measure(candidate(StubEncoder(), how), task, 0, how)
    assert list(outcome.undefined) == ["finding 1"]
    head = outcome.measures[0]
    assert head.per_label["finding 1"] is None
    rest = [v for v in head.per_label.values() if v is not None]
    assert head.value == pytest.approx(np.mean(rest))
    statistic = statistic_of(head.metric, outcome.cases, outcome.undefined)
    assert statistic is not None
    once = np.ones((80, 1), np.float32)
    assert float(macro(statistic(once))[0]) == pytest.approx(head.value)


def test_versions_part_results_and_mistakes_are_refused() -> None:
    how = Extraction(cache=FeatureCache(None))
    who = subject_of(StubEncoder(), "m", "encoder", how)
    protocols: list[Protocol] = [QUICK, LinearProbe()]
    kept = [
        p.settings(who, block_task(8)).get("corruptions_version") for p in protocols
    ]
    assert kept == [1, None]
    for wrong in ({"corruptions": ("fog",)}, {"severities": (6,)}, {"severities": ()}):
        with pytest.raises(ConfigError, match="severities of 1 to 5"):
            CorruptedImages(**wrong)

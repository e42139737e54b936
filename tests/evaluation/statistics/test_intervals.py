from __future__ import annotations

import numpy as np
import pytest

from vlp_zoo.evaluation.statistics import intervals as statistics
from vlp_zoo.evaluation.statistics.intervals import (
    Statistic,
    bootstrap,
    case_means,
    hierarchical_interval,
    interval,
    label_statistic,
    paired_difference,
    paired_interval,
    resample_patients,
)


def _gaussian(
    rng: np.random.Generator, n: int, labels: int = 1, shift: float = 1.0
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    truth = (rng.random((n, labels)) < 0.4).astype(np.float32)
    truth[0], truth[1] = 1, 0
    scores = rng.normal(size=(n, labels)) + shift * truth
    return truth, scores, [f"p{i}" for i in range(n)]


def test_intervals_cover_the_true_auroc() -> None:
    # AUROC of N(1, 1) against N(0, 1) is Phi(1 / sqrt 2).
    true = 0.7602499389
    hits = 0
    rng = np.random.default_rng(0)
    for seed in range(300):
        truth, scores, patients = _gaussian(rng, 150)
        interval = bootstrap(
            "macro_auroc", truth, scores, patients, replicates=300, seed=seed
        )
        hits += interval.low <= true <= interval.high
    # 95 % aimed at; three standard errors are 3.8 points, and 150 cases are few.
    assert 0.90 <= hits / 300 <= 0.985


def test_four_copies_of_each_image_do_not_narrow_a_clustered_interval() -> None:
    truth, scores, patients = _gaussian(np.random.default_rng(1), 200)
    copies = np.repeat(truth, 4, 0), np.repeat(scores, 4, 0)
    once = bootstrap("macro_auroc", truth, scores, patients, replicates=2000)
    clustered = bootstrap(
        "macro_auroc", *copies, np.repeat(patients, 4).tolist(), replicates=2000
    )
    naive = bootstrap(
        "macro_auroc", *copies, [str(i) for i in range(800)], replicates=2000
    )
    assert clustered.value == pytest.approx(once.value)
    width = clustered.high - clustered.low
    assert width == pytest.approx(once.high - once.low, rel=0.1)
    assert width / (naive.high - naive.low) == pytest.approx(2, rel=0.15)


def test_paired_differences_are_tighter_than_two_intervals() -> None:
    rng = np.random.default_rng(2)
    truth, scores, patients = _gaussian(rng, 300, labels=3)
    better = scores + 0.3 * truth + rng.normal(size=scores.shape) * 0.1
    gap = paired_difference("macro_auroc", truth, better, scores, patients)
    alone = bootstrap("macro_auroc", truth, scores, patients)
    assert 0 < gap.low < gap.value < gap.high
    assert gap.high - gap.low < 0.6 * (alone.high - alone.low)


def test_an_encoder_does_not_differ_from_itself() -> None:
    truth, scores, patients = _gaussian(np.random.default_rng(3), 60, labels=2)
    gap = paired_difference("macro_auroc", truth, scores, scores, patients)
    assert (gap.value, gap.low, gap.high) == (0, 0, 0)


def test_a_label_one_side_cannot_predict_counts_for_neither() -> None:
    truth, scores, patients = _gaussian(np.random.default_rng(4), 80, labels=2)
    half = scores.copy()
    half[:, 1] = np.nan
    gap = paired_difference("macro_auroc", truth, scores, half, patients)
    assert gap.value == 0


def test_the_seed_decides_and_chunks_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    patients = [f"p{i % 7}" for i in range(20)]
    whole = np.concatenate(list(resample_patients(patients, 50, seed=5)), 1)
    monkeypatch.setattr(statistics, "CHUNK", 60)
    parts = list(resample_patients(patients, 50, seed=5))
    assert len(parts) > 10
    np.testing.assert_array_equal(np.concatenate(parts, 1), whole)
    other = np.concatenate(list(resample_patients(patients, 50, seed=6)), 1)
    assert not np.array_equal(other, whole)
    # Patients come whole, and as many as there are.
    assert all(len(np.unique(whole[i::7], axis=0)) == 1 for i in range(7))
    assert (whole[:7].sum(0) == 7).all()


def test_replicates_without_a_positive_are_counted() -> None:
    truth = np.zeros((30, 2), np.float32)
    truth[0, 0] = 1
    truth[:15, 1] = 1
    scores = np.random.default_rng(6).random((30, 2))
    interval = bootstrap(
        "macro_auroc", truth, scores, [str(i) for i in range(30)], replicates=400
    )
    # A single positive is missed with probability (29/30)^30 = 0.36.
    assert 100 < interval.undefined < 190
    assert np.isfinite([interval.low, interval.high]).all()


def test_no_replicates_give_no_interval() -> None:
    truth, scores, patients = _gaussian(np.random.default_rng(7), 20)
    interval = bootstrap("macro_auroc", truth, scores, patients, replicates=0)
    assert np.isfinite(interval.value)
    assert np.isnan(interval.low)


def test_means_of_cases_leave_undefined_ones_out() -> None:
    values = np.array([[1.0, 0.0], [0.5, np.nan], [np.nan, np.nan], [0.0, 1.0]])
    patients = ["a", "a", "b", "c"]
    found = interval(case_means(values), patients, replicates=500)
    assert found.value == pytest.approx((0.5 + 0.5) / 2)
    # Only patient b is drawn once in 27 times, and then both columns have nothing.
    assert 0 < found.undefined < 2 * 500 / 27 * 2
    assert np.isfinite([found.low, found.high]).all()


def test_clustered_means_have_the_right_error() -> None:
    rng = np.random.default_rng(10)
    per_patient = rng.normal(size=100)
    values = np.repeat(per_patient, 3) + rng.normal(0, 0.1, 300)
    patients = [str(i // 3) for i in range(300)]
    found = interval(case_means(values), patients, replicates=4000)
    error = values.reshape(100, 3).mean(1).std(ddof=1) / 10
    assert (found.high - found.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.06)


def test_paired_means_use_the_cases_both_have() -> None:
    rng = np.random.default_rng(11)
    baseline = rng.normal(size=80)
    values = baseline + 0.2 + rng.normal(0, 0.1, 80)
    values[:5], baseline[5:8] = np.nan, np.nan
    patients = [str(i) for i in range(80)]
    gap = interval(case_means(values - baseline), patients)
    assert gap.value == pytest.approx(np.nanmean(values - baseline))
    assert 0.15 < gap.low < gap.value < gap.high < 0.25


def test_differences_of_any_two_statistics_are_paired() -> None:
    truth, scores, patients = _gaussian(np.random.default_rng(12), 120)

    statistic = label_statistic("macro_auroc", truth, scores)
    less = Statistic(lambda w: statistic(w) - 0.1, statistic.cases)
    np.testing.assert_allclose(statistic.gap(less), 0.1)
    assert statistic.value == pytest.approx(statistic.values.mean())
    gap = paired_interval(statistic, less, patients)
    np.testing.assert_allclose([gap.value, gap.low, gap.high], 0.1)


def test_seeds_widen_the_interval_and_equal_seeds_do_not() -> None:
    rng = np.random.default_rng(13)
    values = rng.normal(size=400)
    patients = [str(i) for i in range(400)]
    once = interval(case_means(values), patients, replicates=2000)
    same = hierarchical_interval([case_means(values)] * 3, patients, replicates=2000)
    np.testing.assert_allclose(
        [same.value, same.low, same.high], [once.value, once.low, once.high]
    )
    spread = [case_means(values + shift) for shift in (-0.5, 0.0, 0.5)]
    apart = hierarchical_interval(spread, patients, replicates=2000)
    assert apart.value == pytest.approx(once.value)
    # Variance of a mean of three draws from {-.5, 0, .5} is 1/18.
    expected = np.sqrt(values.var() / 400 + 1 / 18)
    assert (apart.high - apart.low) / (2 * 1.96 * expected) == pytest.approx(1, abs=0.1)

from __future__ import annotations

import numpy as np
import pytest

from vlp_zoo.evaluation.statistics.intervals import (
    bootstrap,
    case_means,
    label_statistic,
)
from vlp_zoo.evaluation.statistics.subgroups import slice_groups


def test_a_slice_is_the_metric_of_its_cases_alone() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((300, 2)) < 0.4).astype(np.float32)
    scores = rng.normal(size=(300, 2)) + labels
    patients = [f"p{i // 2}" for i in range(300)]
    view = np.where(np.arange(300) % 3 == 0, "AP", "PA")
    statistic = label_statistic("macro_auroc", labels, scores)
    found = slice_groups(statistic, view.tolist(), patients, replicates=200)
    for name in ("AP", "PA"):
        chosen = view == name
        alone = bootstrap(
            "macro_auroc",
            labels[chosen],
            scores[chosen],
            np.asarray(patients)[chosen].tolist(),
            replicates=200,
        )
        assert found.groups[name] == alone
    values = [each.value for each in found.groups.values()]
    assert found.gap.value == pytest.approx(abs(values[0] - values[1]))


def test_small_and_undefined_groups_are_listed_not_measured() -> None:
    values = np.array([0.9] * 6 + [0.1] * 6 + [0.5] * 2 + [np.nan] * 6 + [0.0] * 3)
    groups = ["a"] * 6 + ["b"] * 6 + ["few"] * 2 + ["none"] * 6 + [None] * 3
    # Six images of two patients are two patients.
    patients = [str(i) for i in range(23)]
    statistic = case_means(values)
    found = slice_groups(statistic, groups, patients, minimum=3, replicates=0)
    assert set(found.groups) == {"a", "b"}
    assert set(found.left_out) == {"few", "none"}
    assert found.worst == "b"
    assert found.gap.value == pytest.approx(0.8)
    lower = slice_groups(
        statistic,
        groups,
        patients,
        minimum=3,
        higher_is_better=False,
        replicates=0,
    )
    assert lower.worst == "a"


def test_patients_count_and_not_their_images() -> None:
    found = slice_groups(
        case_means(np.ones(12)),
        ["a"] * 6 + ["b"] * 6,
        ["x"] * 6 + [str(i) for i in range(6)],
        minimum=2,
        replicates=0,
    )
    assert found.left_out == {"a": "1 patients, fewer than 2"}
    assert found.worst is None
    assert np.isnan(found.gap.value)
    with pytest.raises(ValueError, match="groups"):
        slice_groups(case_means(np.ones(2)), ["a"], ["x", "y"])


def test_a_gap_has_an_interval_and_what_chance_gives() -> None:
    rng = np.random.default_rng(0)
    patients = [f"p{i // 2}" for i in range(400)]
    sex = np.repeat(rng.integers(2, size=200), 2)
    names = np.where(sex == 1, "f", "m").tolist()
    same = rng.normal(size=400)
    found = slice_groups(case_means(same), names, patients, replicates=400)
    assert found.p_value > 0.05
    assert found.gap.low <= found.gap.value <= found.gap.high
    # Means of two groups of 200 normal cases each: |N(0, 2 / 200)| has this mean.
    assert found.chance == pytest.approx(np.sqrt(2 / 100 / np.pi), rel=0.2)
    apart = slice_groups(case_means(same + sex), names, patients, replicates=400)
    assert apart.p_value == pytest.approx(1 / 401)
    assert apart.gap.low > apart.chance
    again = slice_groups(case_means(same + sex), names, patients, replicates=400)
    assert again.gap == apart.gap


def test_no_patient_can_change_the_view_of_one_image() -> None:
    patients = [f"p{i // 2}" for i in range(40)]
    views = ["PA", "LATERAL"] * 20
    values = np.arange(40.0)
    found = slice_groups(case_means(values), views, patients, minimum=5)
    assert np.isnan(found.p_value)
    assert found.gap.value == pytest.approx(1)

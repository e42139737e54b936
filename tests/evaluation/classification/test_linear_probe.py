from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from torch import nn

from tests.evaluation.stubs import BlockSource, StubEncoder, block_task
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.classification.kinds import MultiLabel
from vlp_zoo.evaluation.classification.linear_probe import LinearProbe, fit_probe, run
from vlp_zoo.evaluation.classification.linear_probe import score as outcome_of
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.fractions import nested_patients
from vlp_zoo.evaluation.protocol import Candidate
from vlp_zoo.evaluation.results import Result
from vlp_zoo.evaluation.subject import Subject
from vlp_zoo.evaluation.tasks import SPLITS, Task

STUB = Candidate(Subject("stub", "0" * 64), nn.Identity())


def score(
    features: dict[str, np.ndarray], task: Task, protocol: LinearProbe, seed: int
) -> list[Result]:
    outcome = outcome_of(features, task, protocol, seed)
    return protocol.rows(outcome, STUB, task, seed)


def _features(task: Task, noise: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Labels in a rotated, shifted and scaled disguise, with noise."""
    rng = np.random.default_rng(seed)
    width = len(task.label_names)
    mixing = rng.normal(size=(width, 8))
    made = {}
    for split in SPLITS:
        labels = np.nan_to_num(task.splits[split].labels)
        signal = labels @ mixing + noise * rng.normal(size=(len(labels), 8))
        made[split] = (1000 + 50 * signal).astype(np.float32)
    return made


def _headline(results: list[Result]) -> Result:
    assert results[0].metric == "macro_auroc"
    return results[0]


def test_features_that_carry_the_labels_give_one() -> None:
    task = block_task()
    results = score(_features(task, 0.0), task, LinearProbe(), 0)
    values = {result.metric: result.value for result in results}
    assert values["macro_auroc"] == values["macro_auprc"] == 1
    assert results[0].low == results[0].high == 1
    assert results[2].value is not None
    assert results[2].value < 0.1
    assert results[0].n == 120
    assert results[0].n_patients == 60


def test_features_without_the_labels_give_a_half() -> None:
    task = block_task(400)
    rng = np.random.default_rng(5)
    noise = {
        s: rng.normal(size=(len(task.splits[s]), 8)).astype(np.float32) for s in SPLITS
    }
    result = _headline(score(noise, task, LinearProbe(), 0))
    assert result.value is not None
    assert result.low is not None
    assert result.high is not None
    assert result.low < 0.5 < result.high
    assert abs(result.value - 0.5) < 0.08


def test_a_second_run_is_the_same_to_the_last_bit() -> None:
    task = block_task()
    protocol = LinearProbe(fraction=0.5)
    first, again = (score(_features(task, 2.0), task, protocol, 3) for _ in range(2))
    assert [(r.value, r.low, r.high) for r in first] == [
        (r.value, r.low, r.high) for r in again
    ]
    assert first[0].cases is not None
    assert again[0].cases is not None
    np.testing.assert_array_equal(first[0].cases.scores, again[0].cases.scores)


def test_the_test_labels_decide_nothing() -> None:
    task, other = block_task(), block_task()
    features = _features(task, 2.0)
    other.splits["test"].labels[:] = 1 - other.splits["test"].labels
    one = _headline(score(features, task, LinearProbe(), 0))
    two = _headline(score(features, other, LinearProbe(), 0))
    assert one.cases is not None
    assert two.cases is not None
    np.testing.assert_array_equal(one.cases.scores, two.cases.scores)
    assert one.details["c"] == two.details["c"]
    assert one.value == pytest.approx(1 - (two.value or 0))


def test_one_c_is_chosen_on_validation() -> None:
    task = block_task(60)
    features = _features(task, 3.0)
    probe = fit_probe(
        features["train"],
        task.splits["train"].labels,
        features["val"],
        task.splits["val"].labels,
        LinearProbe(),
        MultiLabel(),
    )
    best = int(np.argmax(probe.validation))
    assert len(probe.validation) == 9
    assert probe.fit.c == LinearProbe().c_grid[best]


def test_the_validation_headline_is_a_row_of_its_own() -> None:
    task = block_task(60)
    features = _features(task, 3.0)
    results = score(features, task, LinearProbe(replicates=20), 0)
    (row,) = (result for result in results if result.split == "val")
    assert row.metric == "val_macro_auroc"
    assert row.value == max(results[0].details["validation_macro_auroc"])
    assert row.n == len(task.splits["val"]) != results[0].n
    # Its cases are none of the stored ones, from which others would make it again.
    assert row.cases is None
    assert (row.low, row.high) == (None, None)
    assert Result.from_json(row.to_json()).split == "val"
    assert results[0].split == "test"


def test_columns_that_do_not_vary_in_training_are_ignored() -> None:
    task = block_task()
    features = _features(task, 1.0)
    plain = score(features, task, LinearProbe(), 0)[0]
    rng = np.random.default_rng(0)
    for split in SPLITS:
        n = len(features[split])
        dead = np.full((n, 2), 7.0, np.float32)
        dead[:, 1] += 1e-6 * rng.normal(size=n)
        if split == "test":
            dead[:, 0] = 1e6 * rng.normal(size=n)
        # Rounding around zero, as the last principal component has it.
        rounding = (1e-7 * rng.normal(size=(n, 1))).astype(np.float32)
        features[split] = np.concatenate([features[split], dead, rounding], 1)
    assert score(features, task, LinearProbe(), 0)[0].value == pytest.approx(
        plain.value, abs=1e-6
    )


def test_a_label_with_one_class_is_reported_and_left_out() -> None:
    task = block_task()
    features = _features(task, 0.0)
    task.splits["train"].labels[:, 1] = 0
    result = score(features, task, LinearProbe(), 0)[0]
    assert result.undefined == {"finding 1": "one class only in 120 training cases"}
    assert result.per_label["finding 1"] is None
    assert result.details["labels_used"] == 2
    assert result.value == 1
    assert result.cases is not None
    assert np.isnan(result.cases.scores[:, 1]).all()
    task.splits["train"].labels[:] = 0
    with pytest.raises(ConfigError, match="both classes"):
        score(features, task, LinearProbe(), 0)


def test_unknown_labels_neither_teach_nor_count() -> None:
    task = block_task(200)
    features = _features(task, 0.3)
    clean = score(features, task, LinearProbe(), 0)[0]
    for split in SPLITS:
        labels = task.splits[split].labels
        hidden = np.random.default_rng(1).random(labels.shape) < 0.5
        labels[hidden] = np.nan
    result = score(features, task, LinearProbe(), 0)[0]
    assert clean.value is not None
    assert result.value is not None
    assert result.value == pytest.approx(clean.value, abs=0.05)


def test_fractions_are_nested_by_patient_and_keep_the_prevalence() -> None:
    source = BlockSource("train", 2000)
    source.labels[:, 2] = np.arange(2000) % 200 == 0
    args = (source.patient_ids, source.labels)
    subsets = [set(nested_patients(*args, f, seed=4)) for f in (0.01, 0.1, 0.5, 1.0)]
    assert [len(s) for s in subsets] == [20, 200, 1000, 2000]
    for small, large in pairwise(subsets):
        assert small < large
    for subset in subsets:
        patients = {source.patient_ids[i] for i in subset}
        assert len(subset) == 2 * len(patients)
    tenth = source.labels[sorted(subsets[1])]
    assert tenth[:, 0].mean() == pytest.approx(source.labels[:, 0].mean(), abs=0.05)
    assert tenth[:, 2].sum() == 1
    other = set(nested_patients(*args, 0.1, seed=5))
    assert other != subsets[1]


def test_more_labels_do_not_hurt_much_and_the_fraction_is_recorded() -> None:
    task = block_task(400)
    features = _features(task, 1.5)
    values = []
    for fraction in (0.05, 1.0):
        result = score(features, task, LinearProbe(fraction=fraction), 0)[0]
        assert result.fraction == fraction
        values.append((result.n_train, result.value))
    assert values[0][0] == 20
    assert values[1][0] == 400
    assert values[1][1] > values[0][1]  # type: ignore[operator]


def test_run_encodes_and_probes() -> None:
    extraction = Extraction(progress=False, cache=FeatureCache(None))
    task, encoder = block_task(), StubEncoder()
    results = run(encoder, task, LinearProbe(), 0, name="s", extraction=extraction)
    assert encoder.images == 300
    assert results[0].encoder == "s"
    assert results[0].value is not None
    assert results[0].value > 0.9


def test_settings_that_cannot_be_are_refused() -> None:
    for fraction in (0.0, 1.5):
        with pytest.raises(ConfigError):
            LinearProbe(fraction=fraction)

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from vlp_zoo.evaluation.classification.shortcuts import shortcut_probe

NAMES = ("mark", "size", "constant")


def _data(
    n: int = 300,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], list[str]]:
    rng = np.random.default_rng(0)
    labels = (rng.random((n, 2)) < 0.4).astype(np.float32)
    features = rng.normal(size=(n, 3)).astype(np.float32)
    features[:, 0] += 4 * labels[:, 0]
    features[:, 2] = 7
    return features, labels, [f"p{i // 2}" for i in range(n)]


def test_a_mark_that_goes_with_a_label_is_flagged_and_named() -> None:
    features, labels, patients = _data()
    marked, honest = shortcut_probe(
        features, NAMES, labels, ("marked", "honest"), patients
    )
    assert marked.strong
    assert marked.features[0] == "mark"
    assert marked.low <= marked.auroc <= marked.high
    assert not honest.strong
    assert honest.low < 0.5 < honest.high


def test_what_cannot_be_judged_says_why() -> None:
    features, labels, patients = _data(60)
    labels[:, 1] = 0
    labels[:3, 1] = 1
    labels[5:20, 0] = np.nan
    features[7, 1] = np.nan
    marked, rare = shortcut_probe(features, NAMES, labels, ("marked", "rare"), patients)
    assert "fewer than 10" in rare.note
    assert np.isnan(rare.auroc)
    assert not rare.strong
    assert marked.positives + marked.negatives == 45


def test_patients_are_predicted_by_a_fit_without_them() -> None:
    """Images of a patient are alike; only a fit that saw the patient could score."""
    rng = np.random.default_rng(1)
    patient = np.arange(400) % 40
    labels = (rng.random(40) < 0.5).astype(np.float32)[patient][:, None]
    features = np.eye(40, dtype=np.float32)[patient]
    (found,) = shortcut_probe(
        features,
        [f"is p{i}" for i in range(40)],
        labels,
        ("label",),
        [f"p{i}" for i in patient],
        replicates=0,
    )
    assert found.auroc == pytest.approx(0.5, abs=0.25)
    assert not found.strong

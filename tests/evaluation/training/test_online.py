"""Scores that are logged while training: ours where both are defined, pinned elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import f1_score
from torchmetrics.classification import MultilabelAUROC, MultilabelJaccardIndex

from vlp_zoo.evaluation.classification.kinds import Exclusive, MultiLabel
from vlp_zoo.evaluation.classification.online import THRESHOLDS
from vlp_zoo.evaluation.segmentation.metrics import count_overlap, pooled_dice
from vlp_zoo.evaluation.segmentation.online import OverlapScores
from vlp_zoo.evaluation.training.learner import Predictions

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]


def probabilities(labels: Labels, seed: int = 0) -> Array:
    """Scores like the labels, in the middle between thresholds, many of them equal."""
    rng = np.random.default_rng(seed)
    places = rng.integers(0, THRESHOLDS - 1, labels.shape)
    better = rng.integers(0, THRESHOLDS - 1, labels.shape)
    places = np.where(labels == 1, np.maximum(places, better), places)
    return np.asarray((places + 0.5) / (THRESHOLDS - 1))


def rows(logits: Array) -> Predictions:
    return [{"logits": row.astype(np.float32)} for row in logits]


def observed(online: Any, predictions: Predictions, size: int = 17) -> dict[str, float]:
    for first in range(0, len(predictions), size):
        part = predictions[first : first + size]
        online.update(part, range(first, first + len(part)))
    return dict(online.compute())


def some_labels(cases: int = 90) -> Labels:
    """Four labels: one with unknown cases, one that is never there."""
    rng = np.random.default_rng(1)
    labels = (rng.random((cases, 4)) < (0.5, 0.2, 0.3, 0.0)).astype(np.float32)
    labels[::5, 1] = np.nan
    return labels


@pytest.mark.parametrize("columns", [(0, 1, 2, 3), (0, 1), (2,)])
def test_labels_have_our_scores(columns: tuple[int, ...]) -> None:
    labels = some_labels()
    trained = np.isin(np.arange(4), columns)
    scores = probabilities(labels)
    online = MultiLabel().online(labels, trained)
    found = observed(online, rows(np.log(scores / (1 - scores))))
    used = [k for k in columns if k < 3]  # the last one cannot be judged
    wanted = MultiLabel().value(labels[:, used], scores[:, used])
    assert found["macro_auroc"] == pytest.approx(wanted, abs=1e-6)
    known = [~np.isnan(labels[:, k]) for k in used]
    f1 = [
        f1_score(labels[here, k], scores[here, k] > 0.5)
        for k, here in zip(used, known, strict=True)
    ]
    assert found["macro_f1"] == pytest.approx(float(np.mean(f1)), abs=1e-6)
    # Nothing of this look is left for the next one.
    assert observed(online, rows(np.log(scores / (1 - scores))), 90) == pytest.approx(
        found
    )


def test_classes_have_our_scores() -> None:
    rng = np.random.default_rng(2)
    labels = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 80)]
    labels[::7] = np.nan
    weight = np.where(np.nan_to_num(labels) == 1, 2.0, 1.0) * rng.random((80, 3))
    places = np.round(weight / weight.sum(1, keepdims=True) * 50) + 0.5
    scores = places / places.sum(1, keepdims=True)
    trained = np.ones(3, np.bool_)
    found = observed(Exclusive().online(labels, trained), rows(np.log(scores)))
    # Bins of 1/200 join some scores that differ.
    wanted = Exclusive().statistic("macro_auroc", labels, scores).value
    assert found["macro_auroc"] == pytest.approx(wanted, abs=1e-2)
    f1 = Exclusive().statistic("macro_f1", labels, scores).value
    assert found["macro_f1"] == pytest.approx(f1, abs=1e-6)


def test_torchmetrics_counts_a_label_that_is_never_there_as_zero() -> None:
    labels = some_labels()
    scores = probabilities(labels)
    truth = torch.from_numpy(np.nan_to_num(labels, nan=-1)).long()
    plain = MultilabelAUROC(4, thresholds=THRESHOLDS, ignore_index=-1)
    theirs = float(plain(torch.from_numpy(scores), truth))
    ours = MultiLabel().value(labels, scores)
    assert theirs == pytest.approx(0.75 * ours, abs=1e-6)
    everything = np.ones(4, np.bool_)
    online = MultiLabel().online(labels, everything)
    found = observed(online, rows(np.log(scores / (1 - scores))))
    assert found["macro_auroc"] == pytest.approx(ours, abs=1e-6)


def test_memory_does_not_grow_with_the_cases() -> None:
    labels = np.tile(some_labels(), (20, 1))
    online: Any = MultiLabel().online(labels, np.ones(4, np.bool_))
    logits = np.log(1 / probabilities(labels) - 1)
    online.update(rows(logits), range(len(labels)))
    states = [
        getattr(metric, name)
        for metric in online.metrics.values()
        for name in metric._defaults
    ]
    assert states
    assert all(isinstance(state, torch.Tensor) for state in states)
    assert max(state.numel() for state in states) == THRESHOLDS * 3 * 2 * 2


def test_nothing_to_judge_is_no_number() -> None:
    labels = np.zeros((6, 3), np.float32)
    online = MultiLabel().online(labels, np.ones(3, np.bool_))
    found = observed(online, rows(np.zeros((6, 3))))
    assert set(found) == {"macro_auroc", "macro_f1"}
    assert all(np.isnan(value) for value in found.values())


def test_masks_have_the_jaccard_index_of_torchmetrics() -> None:
    rng = np.random.default_rng(3)
    truth, marked = rng.random((2, 12, 2, 8, 8)) < 0.4
    counts = count_overlap(marked, truth)
    predictions = [
        {name: getattr(counts, name)[i] for name in counts.__dataclass_fields__}
        for i in range(12)
    ]
    found = observed(OverlapScores(2), predictions, 5)["macro_jaccard"]
    theirs = MultilabelJaccardIndex(2)(
        *(torch.from_numpy(x).long() for x in (marked, truth))
    )
    assert found == pytest.approx(float(theirs), abs=1e-6)
    dice = pooled_dice(counts, np.ones((12, 1), np.float32))[:, 0]
    assert found == pytest.approx(float((dice / (2 - dice)).mean()), abs=1e-6)

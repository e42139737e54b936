from __future__ import annotations

import numpy as np
import pytest

from vlp_zoo.evaluation.retrieval import (
    chance_recall,
    first_ranks,
    relevant_pairs,
    retrieve,
)
from vlp_zoo.evaluation.zero_shot import prompts, zero_shot_scores


def test_perfect_embeddings_of_shared_texts_are_not_punished() -> None:
    texts = ["clear lungs", "mass", "clear lungs", "edema"]
    ids = [f"s{i}" for i in range(4)]
    embedding = np.eye(3)[[0, 1, 0, 2]]
    several = retrieve(embedding, embedding, relevant_pairs(ids, texts), ids)
    alone = retrieve(embedding, embedding, np.eye(4, dtype=bool), ids)
    assert several.recall[1].value == 1.0
    assert several.mean_reciprocal_rank == 1.0
    assert alone.recall[1].value == 0.5


def test_a_collapsed_model_is_at_chance() -> None:
    ids = [f"s{i}" for i in range(99)]
    constant = np.ones((99, 4))
    found = retrieve(constant, constant, np.eye(99, dtype=bool), ids)
    assert found.median_rank == 50.0
    assert found.recall[10].value == 0.0
    assert found.chance[10] == pytest.approx(10 / 99)


def test_ranks_equal_a_sorted_list() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20, 30))
    relevant = rng.random((20, 30)) < 0.1
    relevant[:, 0] = True
    for row, right, rank in zip(
        scores, relevant, first_ranks(scores, relevant), strict=True
    ):
        order = np.argsort(-row)
        first = next(i for i, j in enumerate(order) if right[j])
        assert rank == first + 1


def test_chance_is_what_random_orders_reach() -> None:
    rng = np.random.default_rng(0)
    relevant = rng.random((40, 25)) < 0.15
    relevant[:, 3] = True
    ranks = [first_ranks(rng.normal(size=(40, 25)), relevant) for _ in range(400)]
    measured = float((np.concatenate(ranks) <= 5).mean())
    assert chance_recall(relevant, 5) == pytest.approx(measured, abs=0.02)


def test_the_interval_covers_the_value_and_depends_on_the_patients() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(60, 5))
    texts = images + rng.normal(size=(60, 5))
    right = np.eye(60, dtype=bool)
    alone = retrieve(images, texts, right, [f"p{i}" for i in range(60)]).recall[5]
    grouped = retrieve(images, texts, right, [f"p{i // 20}" for i in range(60)])
    assert alone.low < alone.value < alone.high
    assert alone != grouped.recall[5]


def test_what_cannot_be_ranked_is_refused() -> None:
    good, right = np.ones((2, 3)), np.eye(2, dtype=bool)
    with pytest.raises(ValueError, match="finite"):
        retrieve(good * np.nan, good, right, ["a", "b"])
    with pytest.raises(ValueError, match="right answer"):
        retrieve(good, good, ~np.ones((2, 2), bool), ["a", "b"])
    with pytest.raises(ValueError, match="relevant"):
        retrieve(good, good[:1], right, ["a", "b"])


def test_zero_shot_prefers_the_closer_sentence() -> None:
    affirming, denying = np.eye(3)[[0, 1]], np.eye(3)[[2, 2]]
    scores = zero_shot_scores(np.eye(3), affirming, denying)
    np.testing.assert_allclose(scores, [[1, 0], [0, 1], [-1, -1]])
    assert prompts(["Lung Opacity"])[1] == ["There is no lung opacity."]

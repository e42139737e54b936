from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from vlp_zoo.evaluation.alignment.prompts import prompts, zero_shot_scores
from vlp_zoo.evaluation.alignment.ranks import (
    FirstPlaces,
    chance_recall,
    cosines,
    first_places,
    precision_at,
    relevant_pairs,
    retrieve,
)


def test_perfect_embeddings_of_shared_texts_are_not_punished() -> None:
    texts = ["clear lungs", "mass", "clear lungs", "edema"]
    ids = [f"s{i}" for i in range(4)]
    embedding = np.eye(3)[[0, 1, 0, 2]]
    several = retrieve(embedding, embedding, relevant_pairs(ids, texts), ids)
    alone = retrieve(embedding, embedding, np.eye(4, dtype=bool), ids)
    assert several.recall[1].value == 1.0
    assert several.mean_reciprocal_rank == 1.0
    assert alone.recall[1].value == 0.75


def test_a_collapsed_model_is_at_chance() -> None:
    ids = [f"s{i}" for i in range(99)]
    constant = np.ones((99, 4))
    found = retrieve(constant, constant, np.eye(99, dtype=bool), ids)
    assert found.median_rank == 50.0
    for k in (1, 5, 10):
        assert found.recall[k].value == found.chance[k] == pytest.approx(k / 99)
    assert found.mean_reciprocal_rank == pytest.approx((1 / np.arange(1, 100)).mean())


def test_a_collapsed_model_of_any_direction_is_at_chance() -> None:
    # A product of matrices rounds equal rows unequally where they stand at its edge.
    ids = [f"s{i}" for i in range(101)]
    constant = np.tile(np.random.default_rng(0).normal(size=333), (101, 1))
    assert len(np.unique(cosines(constant, constant))) == 1
    found = retrieve(constant, constant, np.eye(101, dtype=bool), ids, replicates=0)
    assert found.recall[5].value == found.chance[5] == pytest.approx(5 / 101)
    assert found.median_rank == 51.0


@pytest.mark.parametrize("seed", range(6))
def test_ties_count_as_the_mean_over_all_their_orders(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, size=(4, 6)).astype(np.float64)
    relevant = rng.random((4, 6)) < 0.4
    relevant[:, seed % 6] = True
    # Every order of the candidates breaks the ties in its own way.
    ranks = np.array(
        [
            [_first(scores[row], relevant[row], order) for row in range(4)]
            for order in permutations(range(6))
        ]
    )
    places = first_places(scores, relevant)
    np.testing.assert_allclose(places.ranks, ranks.mean(0))
    np.testing.assert_allclose(places.reciprocal, (1 / ranks).mean(0))
    for k in range(1, 8):
        np.testing.assert_allclose(places.within(k), (ranks <= k).mean(0), atol=1e-12)
    assert places.median == np.median(ranks)


def _first(scores: np.ndarray, relevant: np.ndarray, order: tuple[int, ...]) -> int:
    ranked = sorted(order, key=lambda candidate: -scores[candidate])
    return 1 + next(i for i, candidate in enumerate(ranked) if relevant[candidate])


def test_a_right_answer_among_equals_gets_its_share() -> None:
    four_alike = np.repeat(np.eye(5), 4, axis=0)
    found = retrieve(
        four_alike,
        four_alike,
        np.eye(20, dtype=bool),
        [f"s{i}" for i in range(20)],
        at=(1, 2, 3, 4),
    )
    assert {k: v.value for k, v in found.recall.items()} == pytest.approx(
        {1: 0.25, 2: 0.5, 3: 0.75, 4: 1.0}
    )
    assert found.median_rank == 2.5
    assert found.hits[1] == pytest.approx(np.full(20, 0.25))


def test_ranks_equal_a_sorted_list() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20, 30))
    relevant = rng.random((20, 30)) < 0.1
    relevant[:, 0] = True
    for row, right, rank in zip(
        scores, relevant, first_places(scores, relevant).ranks, strict=True
    ):
        order = np.argsort(-row)
        first = next(i for i, j in enumerate(order) if right[j])
        assert rank == first + 1


def test_chance_is_what_random_orders_reach() -> None:
    rng = np.random.default_rng(0)
    relevant = rng.random((40, 25)) < 0.15
    relevant[:, 3] = True
    ranks = [
        first_places(rng.normal(size=(40, 25)), relevant).ranks for _ in range(400)
    ]
    measured = float((np.concatenate(ranks) <= 5).mean())
    assert chance_recall(relevant, 5) == pytest.approx(measured, abs=0.02)
    expected = FirstPlaces.by_chance(relevant).ranks
    np.testing.assert_allclose(expected, np.mean(ranks, axis=0), rtol=0.2)
    # Equal scores stand in a random order too.
    level = first_places(np.zeros((40, 25)), relevant).ranks
    np.testing.assert_array_equal(level, expected)


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
    unordered = np.array([[0.0, np.nan], [1.0, 0.0]])
    for rank in (first_places, lambda scores, flags: precision_at(scores, flags, (1,))):
        with pytest.raises(ValueError, match="NaN"):
            rank(unordered, right)
    with pytest.raises(ValueError, match="right answer"):
        retrieve(good, good, ~np.ones((2, 2), bool), ["a", "b"])
    with pytest.raises(ValueError, match="relevant"):
        retrieve(good, good[:1], right, ["a", "b"])


def test_zero_shot_prefers_the_closer_sentence() -> None:
    affirming, denying = np.eye(3)[[0, 1]], np.eye(3)[[2, 2]]
    scores = zero_shot_scores(np.eye(3), affirming, denying)
    np.testing.assert_allclose(scores, [[1, 0], [0, 1], [-1, -1]])
    assert prompts(["Lung Opacity"])[1] == ["There is no lung opacity."]

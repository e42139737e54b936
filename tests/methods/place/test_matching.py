from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.place.assignment import assign, assign_together
from vlp_zoo.methods.place.matching import (
    LOSSES,
    MATCHES,
    Alignment,
    Sentences,
    diversity,
    off_diagonal_cosine,
    sinkhorn,
    usage_entropy,
)

EVERY = list(itertools.product(LOSSES, MATCHES))


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(*shape, generator=generator), dim=-1)


def sentences(count: int = 4, most: int = 3, seed: int = 1) -> Sentences:
    """Reports of 1 to ``most`` sentences, one of them without any."""
    mask = torch.zeros(count, most, dtype=torch.bool)
    for index in range(count):
        mask[index, : index % (most + 1)] = True
    key = torch.arange(count * most).view(count, most) + 1
    weight = (torch.rand(count, most) * 0.5 + 0.5) * mask
    report = torch.arange(count)
    return Sentences(unit(count, most, 8, seed=seed), mask, key * mask, weight, report)


def padded(text: Sentences, more: int) -> Sentences:
    """The same with further columns of padding, whatever their vectors."""
    rows = len(text.mask)
    blank = torch.zeros(rows, more)
    return Sentences(
        torch.cat([text.vectors, unit(rows, more, 8, seed=9)], 1),
        torch.cat([text.mask, blank.bool()], 1),
        torch.cat([text.key, blank.long()], 1),
        torch.cat([text.weight, blank], 1),
        text.report,
    )


def permuted(text: Sentences) -> Sentences:
    order = torch.tensor([2, 0, 1])
    vectors, mask, key, weight = (x[:, order] for x in text[:4])
    return Sentences(vectors, mask, key, weight, text.report)


@pytest.mark.parametrize(("loss", "match"), EVERY)
def test_order_and_padding_of_sentences_and_order_of_queries_do_not_matter(
    loss: str, match: str
) -> None:
    align = Alignment(loss=loss, match=match)
    visual, text = unit(4, 5, 8), sentences()
    value, _ = align(visual, text)
    assert torch.isfinite(value)
    for other in (permuted(text), padded(text, 2)):
        assert torch.allclose(align(visual, other)[0], value, atol=1e-5)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.allclose(align(visual[:, order], text)[0], value, atol=1e-5)


@pytest.mark.parametrize(("loss", "match"), EVERY)
def test_a_batch_without_sentences_costs_nothing_and_stays_connected(
    loss: str, match: str
) -> None:
    text = sentences()
    blank = torch.zeros_like(text.mask)
    text = text._replace(mask=blank, weight=text.weight * 0, key=text.key * 0)
    visual = unit(4, 5, 8).requires_grad_()
    vectors = text.vectors.clone().requires_grad_()
    value, _ = Alignment(loss=loss, match=match)(visual, text._replace(vectors=vectors))
    assert float(value.detach()) == 0.0
    for gradient in torch.autograd.grad(value, [visual, vectors]):
        assert not gradient.any()


@pytest.mark.parametrize(("loss", "match"), EVERY)
def test_a_study_without_sentences_gets_no_pull(loss: str, match: str) -> None:
    visual = unit(4, 5, 8).requires_grad_()
    text = sentences()
    vectors = text.vectors.clone().requires_grad_()
    value, _ = Alignment(loss=loss, match=match)(visual, text._replace(vectors=vectors))
    by_image, by_text = torch.autograd.grad(value, [visual, vectors])
    assert not text.mask[0].any()
    assert not by_text[~text.mask].any()
    assert torch.isfinite(by_image).all()
    assert by_image[1:].any()
    if loss in ("obs_infonce", "cosine"):
        assert not by_image[0].any()


def test_one_sentence_only() -> None:
    text = sentences(4, 1)._replace(
        mask=torch.ones(4, 1).bool(), weight=torch.ones(4, 1)
    )
    for loss, match in EVERY:
        assert torch.isfinite(Alignment(loss=loss, match=match)(unit(4, 5, 8), text)[0])


@pytest.mark.parametrize("solve", [assign, assign_together])
@pytest.mark.parametrize(("queries", "count"), [(4, 3), (3, 3), (4, 1)])
def test_assignment_equals_brute_force(queries: int, count: int, solve: Any) -> None:
    torch.manual_seed(0)
    cosines = torch.rand(6, queries, 4)
    mask = torch.zeros(6, 4, dtype=torch.bool)
    mask[:, torch.tensor([0, 2, 3])[:count]] = True
    found = solve(cosines, mask)
    for index in range(6):
        columns = mask[index].nonzero().flatten().tolist()
        best = max(
            sum(
                float(cosines[index, q, c]) for q, c in zip(order, columns, strict=True)
            )
            for order in itertools.permutations(range(queries), count)
        )
        assert float((found[index] * cosines[index]).sum()) == pytest.approx(best)
        assert (found[index].sum(1) <= 1).all()
        assert found[index].sum(0).tolist() == mask[index].float().tolist()


@pytest.mark.parametrize("solve", [assign, assign_together])
def test_more_sentences_than_queries(solve: Any) -> None:
    cosines, mask = torch.rand(1, 2, 4), torch.ones(1, 4, dtype=torch.bool)
    found = solve(cosines, mask)
    assert found.sum(1).tolist() == [[1.0] * 4]
    assert (found.sum(2) >= 1).all()


SIZES = [(16, 12), (5, 5), (3, 7), (1, 4), (9, 1)]


@pytest.mark.parametrize(("queries", "count"), SIZES)
@pytest.mark.parametrize("levels", [0, 4, 1])
def test_both_ways_to_assign_are_equally_good(
    queries: int, count: int, levels: int
) -> None:
    """Thousands of problems: of random numbers, and of few levels, so full of ties."""
    torch.manual_seed(0)
    cosines = torch.rand(20, 50, queries, count) * 2 - 1
    if levels:
        cosines = (cosines * levels).round() / levels
    mask = torch.rand(50, count) < 0.8
    one, two = assign(cosines, mask), assign_together(cosines, mask)
    few = mask.sum(1) <= queries
    for found in (one, two):
        assert torch.equal(found.sum(2), mask.float().expand(20, -1, -1))
        assert (found[:, few].sum(3) <= 1).all()
        assert ((found.sum(3) > 0).sum(2) == mask.sum(1).clamp(max=queries)).all()
    if not levels:
        assert torch.equal(one, two)
    best = (one * cosines)[:, few].sum((2, 3))
    assert torch.allclose((two * cosines)[:, few].sum((2, 3)), best, atol=1e-5)


def test_cosines_that_are_no_numbers_end_no_assignment() -> None:
    cosines = torch.full((2, 3, 2), torch.nan)
    for solve in (assign, assign_together):
        found = solve(cosines, torch.ones(2, 2, dtype=torch.bool))
        assert found.sum(1).eq(1).all()


def test_soft_becomes_maxsim() -> None:
    visual, text = unit(4, 5, 8), sentences()
    cold = Alignment(match="soft", pair_temperature=1e-4)
    hard = Alignment(match="maxsim")
    assert torch.allclose(cold(visual, text)[0], hard(visual, text)[0], atol=1e-4)


def test_sinkhorn_marginals() -> None:
    cosines, weight = unit(2, 5, 4), torch.tensor([[1.0, 2, 1, 0], [1, 0, 0, 0]])
    plan = sinkhorn(cosines, weight, steps=200)
    assert torch.allclose(plan.sum(1), weight / weight.sum(1, keepdim=True), atol=1e-3)
    assert torch.allclose(plan.sum(2), torch.full((2, 5), 0.2), atol=1e-3)
    assert not plan[:, :, 3].any()


def test_obs_infonce_by_a_loop() -> None:
    visual, text = unit(4, 5, 8), sentences()
    align = Alignment(false_negatives="none")
    value, _ = align(visual, text)
    places = [(j, s) for j in range(4) for s in range(3) if text.mask[j, s]]
    paired = []
    for j, s in places:
        share = ((visual[j] @ text.vectors[j, s]) / 0.1).softmax(0)
        mean = share @ visual[j]
        paired.append(mean / mean.norm())
    expected, weights = 0.0, 0.0
    for index, (j, s) in enumerate(places):
        forth = torch.stack([text.vectors[j, s] @ p for p in paired]) / 0.07
        back = (
            torch.stack([paired[index] @ text.vectors[a, b] for a, b in places]) / 0.07
        )
        weight = float(text.weight[j, s])
        weights += weight
        for row in (forth, back):
            expected += weight * float(row.logsumexp(0) - row[index]) / 2
    assert float(value) == pytest.approx(expected / weights, rel=1e-4)


@pytest.mark.parametrize("aggregation", ["vector", "score"])
@pytest.mark.parametrize("match", ["soft", "maxsim", "hungarian"])
def test_set_infonce_by_a_loop(match: str, aggregation: str) -> None:
    visual, text = unit(4, 5, 8), sentences()
    align = Alignment("set_infonce", match, aggregation=aggregation)
    value, _ = align(visual, text)
    scores = torch.zeros(4, 4)
    for i in range(4):
        for j in range(1, 4):
            cosines = visual[i] @ text.vectors[j].T
            if match == "soft":
                share = (cosines / 0.1).softmax(0)
            elif match == "hungarian":
                share = assign(cosines[None], text.mask[j : j + 1])[0]
            else:
                share = functional.one_hot(cosines.argmax(0), 5).T.float()
            for s in range(3):
                if not text.mask[j, s]:
                    continue
                score = share[:, s] @ cosines[:, s]
                if aggregation == "vector":
                    score = score / (share[:, s] @ visual[i]).norm()
                scores[i, j] += text.weight[j, s] / text.weight[j].sum() * score
    # Study 0 has no sentence: neither anchor nor candidate report.
    rows = functional.cross_entropy(scores[1:, 1:] / 0.07, torch.arange(3))
    columns = functional.cross_entropy(scores.T[1:] / 0.07, torch.arange(1, 4))
    assert float(value) == pytest.approx(float(rows + columns) / 2, rel=1e-4)


def test_equal_sentences_of_other_studies_are_not_negatives() -> None:
    visual, text = unit(4, 5, 8), sentences()
    same = text.vectors.clone()
    same[3, 0] = same[1, 0]
    key = text.key.clone()
    key[3, 0] = key[1, 0]
    alike = text._replace(vectors=same)
    named = text._replace(key=key)
    strict = Alignment(false_negatives="none")
    plain, loose = (Alignment(threshold=t) for t in (0.9, 2.0))
    assert float(plain(visual, alike)[0]) < float(strict(visual, alike)[0])
    # By likeness only up to the threshold; by words always.
    assert torch.equal(loose(visual, alike)[0], strict(visual, alike)[0])
    assert float(loose(visual, named)[0]) < float(strict(visual, named)[0])
    # Within one study two sentences stay apart, however alike.
    within = text.vectors.clone()
    within[3, 1] = within[3, 0]
    twins = text._replace(vectors=within)
    assert torch.equal(plain(visual, twins)[0], strict(visual, twins)[0])


def test_another_image_of_the_study_is_a_positive_for_sets() -> None:
    visual = unit(2, 5, 8)
    text = sentences(2, 3)
    text = Sentences(*(x[1:].repeat(2, *[1] * (x.ndim - 1)) for x in text))
    own, two = Alignment("set_infonce"), Alignment("sentence_infonce")
    apart = text._replace(
        report=torch.tensor([0, 1]), key=text.key + torch.tensor([[0], [9]])
    )
    visual = visual[:1].repeat(2, 1, 1)
    # Equal images and reports: chance is the best there is, with either reading.
    for align in (own, two):
        for reports in (text, apart):
            assert float(align(visual, reports)[0]) == pytest.approx(0.6931, abs=1e-3)


def learnt_blindly(loss: str, match: str) -> tuple[float, float]:
    """Loss at the start and after learning queries that are the same for all images."""
    torch.manual_seed(0)
    text = sentences(8, 3, seed=3)
    queries = torch.randn(1, 8, 8, requires_grad=True)
    states = text.vectors.clone().requires_grad_()
    optimizer = torch.optim.Adam([queries, states], lr=0.05)
    align, values = Alignment(loss=loss, match=match), []
    for _ in range(150):
        visual = functional.normalize(queries, dim=-1).expand(8, -1, -1)
        vectors = functional.normalize(states, dim=-1)
        value, _ = align(visual, text._replace(vectors=vectors))
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values.append(float(value.detach()))
    return values[0], values[-1]


@pytest.mark.slow
@pytest.mark.parametrize("match", MATCHES)
def test_set_losses_cannot_be_met_without_the_images(match: str) -> None:
    _, after = learnt_blindly("set_infonce", match)
    # Six reports have sentences and eight images compete: chance is what is left.
    chance = (math.log(6) + math.log(8)) / 2
    assert after > 0.95 * chance


def test_sentences_find_no_image_among_equal_ones() -> None:
    _, after = learnt_blindly("sentence_infonce", "soft")
    # One half is to find one of eight images; the other may rank common sentences.
    assert after > 0.95 * math.log(8) / 2 + 0.95 * math.log(6) / 2


def test_the_observation_loss_can() -> None:
    # A known weakness, the reason why it is not the default.
    before, after = learnt_blindly("obs_infonce", "soft")
    assert after < 0.2 * before


def test_soft_targets_differ_from_hard_ones() -> None:
    visual, text = unit(4, 5, 8), sentences()
    near = functional.normalize(text.vectors + 3 * unit(8), dim=-1)
    text = text._replace(vectors=near)
    values: list[Any] = [
        Alignment(false_negatives=kind)(visual, text)[0] for kind in ("soft", "none")
    ]
    assert all(torch.isfinite(v) for v in values)
    assert not torch.allclose(*values)


def test_collapse_shows_in_the_measures() -> None:
    same = unit(3, 1, 8).expand(3, 4, 8)
    apart = torch.eye(8)[:4].expand(3, 4, 8)
    assert float(off_diagonal_cosine(same)) == pytest.approx(1.0)
    assert float(off_diagonal_cosine(apart)) == pytest.approx(0.0)
    assert float(diversity(same)) == pytest.approx(0.49, rel=1e-4)
    assert float(diversity(apart)) == 0.0
    mask = torch.ones(1, 4, dtype=torch.bool)
    assert float(usage_entropy(torch.eye(4)[None], mask)) == pytest.approx(1.0)
    one = torch.zeros(1, 4, 4)
    one[:, 2] = 1
    assert float(usage_entropy(one, mask)) == pytest.approx(0.0, abs=1e-6)
    assert float(usage_entropy(one, ~mask)) == 0.0


def test_unknown_choices_are_refused() -> None:
    for name, value in {
        "loss": "mse",
        "match": "greedy",
        "false_negatives": "drop",
        "aggregation": "sum",
    }.items():
        settings: dict[str, Any] = {name: value}
        with pytest.raises(ConfigError, match=value):
            Alignment(**settings)

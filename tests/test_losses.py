from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.losses import masked_mse, weighted_token_ce


def slow_mse(prediction: Tensor, target: Tensor, mask: Tensor, over: str) -> float:
    total, count = 0.0, 0
    for b in range(prediction.shape[0]):
        for p in range(prediction.shape[1]):
            for k in range(prediction.shape[2]):
                counts = bool(mask[b, p])
                count += counts or over == "all"
                if counts:
                    total += float(prediction[b, p, k] - target[b, p, k]) ** 2
    return total / count


@pytest.mark.parametrize("over", ["masked", "all"])
def test_masked_mse_by_a_loop(over: str) -> None:
    prediction, target = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    mask = torch.rand(2, 5) < 0.6
    loss = masked_mse(prediction, target, mask, over)
    assert float(loss) == pytest.approx(slow_mse(prediction, target, mask, over), 1e-5)


def test_masked_mse_ignores_the_rest_and_broadcasts_one_channel() -> None:
    prediction = torch.randn(2, 4, 6, 3, requires_grad=True)
    grey = torch.randn(2, 4, 6, 1)
    mask = torch.tensor([[True, False, False, True], [False] * 4])
    loss = masked_mse(prediction, grey, mask)
    assert torch.equal(loss, masked_mse(prediction, grey.expand(2, 4, 6, 3), mask))
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert not gradient[~mask].any()
    assert gradient[mask].all()
    assert float(masked_mse(prediction, grey, torch.zeros_like(mask)).detach()) == 0.0
    with pytest.raises(ValueError, match="over"):
        masked_mse(prediction, grey, mask, "some")


def slow_ce(
    hidden: Tensor, weight: Tensor, bias: Tensor, ids: Tensor, scale: Tensor
) -> float:
    total = 0.0
    for row, token, factor in zip(hidden, ids.tolist(), scale.tolist(), strict=True):
        logits = [float(w @ row + b) for w, b in zip(weight, bias, strict=True)]
        top = max(logits)
        norm = top + math.log(sum(math.exp(x - top) for x in logits))
        total += factor * (norm - logits[token])
    return total / len(hidden)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_token_ce_by_a_loop(chunk: int) -> None:
    hidden, weight, bias = torch.randn(7, 5), torch.randn(11, 5), torch.randn(11)
    ids, scale = torch.randint(0, 11, (7,)), torch.rand(7)
    loss = weighted_token_ce(hidden, weight, bias, ids, scale, chunk=chunk)
    expected = slow_ce(hidden, weight, bias, ids, scale)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_token_ce_gradients_equal_those_of_plain_torch(masked: bool) -> None:
    torch.manual_seed(0)
    shapes = ((2, 4, 5), (9, 5), (9,))
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    ids, scale = torch.randint(0, 9, (2, 4)), torch.rand(2, 4, dtype=torch.float64)
    valid = torch.rand(2, 4) < 0.5 if masked else None
    hidden, weight, bias = inputs
    loss = weighted_token_ce(hidden, weight, bias, ids, scale, valid, chunk=3)
    ours = torch.autograd.grad(3 * loss, inputs)
    logits = functional.linear(*inputs).flatten(0, 1)
    each = functional.cross_entropy(logits, ids.flatten(), reduction="none")
    each = each * scale.flatten()
    plain = each.mean() if valid is None else each[valid.flatten()].mean()
    theirs = torch.autograd.grad(3 * plain, inputs)
    assert torch.allclose(loss, plain)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b)


def test_token_ce_passes_gradcheck() -> None:
    hidden, weight, bias = (
        torch.randn(s, dtype=torch.float64, requires_grad=True)
        for s in ((5, 3), (6, 3), (6,))
    )
    ids, scale = torch.randint(0, 6, (5,)), torch.rand(5, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda h, w, b: weighted_token_ce(h, w, b, ids, scale, chunk=2),
        (hidden, weight, bias),
    )


def test_token_ce_backward_twice_on_a_kept_graph() -> None:
    weight = torch.randn(6, 3, requires_grad=True)
    loss = weighted_token_ce(
        torch.randn(5, 3), weight, torch.zeros(6), torch.arange(5), torch.ones(5)
    )
    (first,) = torch.autograd.grad(loss, weight, retain_graph=True)
    (second,) = torch.autograd.grad(2 * loss, weight)
    assert torch.allclose(2 * first, second)


def test_token_ce_without_valid_tokens_is_zero_with_zero_gradient() -> None:
    hidden, weight = torch.randn(2, 3, 4), torch.randn(6, 4, requires_grad=True)
    ids = torch.zeros(2, 3, dtype=torch.int64)
    loss = weighted_token_ce(
        hidden, weight, torch.zeros(6), ids, torch.ones(2, 3), torch.zeros(2, 3) > 0
    )
    (gradient,) = torch.autograd.grad(loss, weight)
    assert float(loss.detach()) == 0.0
    assert not gradient.any()


@pytest.mark.parametrize("how", ["autocast", "parameters"])
def test_token_ce_is_finite_and_close_in_bfloat16(how: str) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(6, 16, requires_grad=True)
    weight, bias = torch.randn(40, 16, requires_grad=True), torch.zeros(40)
    ids, scale = torch.randint(0, 40, (6,)), torch.rand(6)
    exact = weighted_token_ce(hidden, weight, bias, ids, scale)
    (wanted,) = torch.autograd.grad(exact, weight)
    if how == "autocast":
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = weighted_token_ce(hidden, weight, bias, ids, scale, chunk=4)
    else:
        h, w, b = (t.to(torch.bfloat16) for t in (hidden, weight, bias))
        loss = weighted_token_ce(h, w, b, ids, scale, chunk=4)
    (gradient,) = torch.autograd.grad(loss, weight)
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(exact.detach()), rel=0.05)
    assert torch.isfinite(gradient).all()
    assert (gradient - wanted).norm() < 0.05 * wanted.norm()

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules._functions import SyncBatchNorm as TorchKernels

from tests.fakes.processes import on_two_processes
from vlp_zoo import gather
from vlp_zoo.errors import ConfigError
from vlp_zoo.gather import SyncedBatchNorm, gather_rows, row_offset, sync_batchnorm
from vlp_zoo.losses import info_nce, multi_positive_targets, soft_cross_entropy

HALF = 5


Rows = tuple[Tensor, Tensor, Tensor]


def half(rank: int, tensor: Tensor) -> Tensor:
    return tensor[rank * HALF : (rank + 1) * HALF]


def halves(rank: int, x: Tensor, y: Tensor, keys: Tensor) -> Rows:
    return half(rank, x), half(rank, y), half(rank, keys)


def test_without_processes_nothing_changes() -> None:
    rows = torch.randn(3, 2)
    assert gather_rows(rows) is rows
    assert row_offset(3) == 0


def test_rows_come_in_rank_order_and_not_without_gradients(tmp_path: Path) -> None:
    def work(rank: int) -> list[Tensor]:
        rows = torch.full((2, 1), float(rank))
        with torch.no_grad():
            alone = gather_rows(rows)
            place = row_offset(2)
        ids = gather_rows(torch.tensor([10 * rank, 10 * rank + 1]))
        return [gather_rows(rows), alone, torch.tensor([row_offset(2), place]), ids]

    first, second = on_two_processes(work, tmp_path)
    assert first[0].flatten().tolist() == [0, 0, 1, 1]
    assert torch.equal(first[0], second[0])
    assert second[1].flatten().tolist() == [1, 1]
    assert (first[2].tolist(), second[2].tolist()) == ([0, 0], [2, 0])
    assert first[3].tolist() == second[3].tolist() == [0, 1, 10, 11]


def towers() -> tuple[nn.Module, nn.Module, Tensor]:
    torch.manual_seed(0)
    return nn.Linear(4, 3), nn.Linear(6, 3), torch.tensor(0.2)


def contrast(
    x: Tensor, y: Tensor, keys: Tensor, kind: str, gather: bool = True
) -> tuple[Tensor, list[Tensor]]:
    """A loss on these rows, and its gradients averaged over processes, as DDP does."""
    one, two, temperature = towers()
    temperature.requires_grad_(True)
    targets = multi_positive_targets(keys, gather) if kind == "multi" else None
    forth, back = info_nce(one(x), two(y), temperature, targets=targets, gather=gather)
    # Unequal weights: a swap of the two directions must show.
    loss = forth + 0.3 * back
    parameters = [*one.parameters(), *two.parameters(), temperature]
    return loss.detach(), list(torch.autograd.grad(loss, parameters))


def mean_over(results: list[Any]) -> tuple[Tensor, list[Tensor]]:
    loss = torch.stack([r[0] for r in results]).mean()
    pairs = zip(*(r[1] for r in results), strict=True)
    return loss, [torch.stack(pair).mean(0) for pair in pairs]


@pytest.mark.parametrize("kind", ["own", "multi"])
def test_two_processes_equal_one_on_the_whole_batch(tmp_path: Path, kind: str) -> None:
    x, y = torch.randn(2 * HALF, 4), torch.randn(2 * HALF, 6)
    keys = torch.tensor([1, 2, 3, 1, 4, 5, 3, 6, 7, 1])
    whole = contrast(x, y, keys, kind)
    results = on_two_processes(
        lambda rank: contrast(*halves(rank, x, y, keys), kind), tmp_path
    )
    loss, gradients = mean_over(results)
    assert torch.allclose(loss, whole[0], atol=1e-6)
    for ours, theirs in zip(gradients, whole[1], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_negatives_of_one_process_only(tmp_path: Path) -> None:
    x, y, keys = torch.randn(2 * HALF, 4), torch.randn(2 * HALF, 6), torch.arange(10)
    results = on_two_processes(
        lambda rank: contrast(*halves(rank, x, y, keys), "multi", gather=False),
        tmp_path,
    )
    for rank, result in enumerate(results):
        alone = contrast(*halves(rank, x, y, keys), "own")
        assert torch.allclose(result[0], alone[0], atol=1e-6)
        assert torch.allclose(result[1][0], alone[1][0], atol=1e-6)


def test_info_nce_by_a_loop() -> None:
    torch.manual_seed(1)
    a, b = torch.randn(4, 3), torch.randn(4, 3)
    forth, back = info_nce(a, b, 0.5)
    unit_a = [row / row.norm() for row in a]
    unit_b = [row / row.norm() for row in b]
    expected = [0.0, 0.0]
    for i in range(4):
        row = torch.stack([unit_a[i] @ other for other in unit_b]) / 0.5
        column = torch.stack([unit_b[i] @ other for other in unit_a]) / 0.5
        expected[0] += float(row.exp().sum().log() - row[i]) / 4
        expected[1] += float(column.exp().sum().log() - column[i]) / 4
    assert float(forth) == pytest.approx(expected[0], rel=1e-5)
    assert float(back) == pytest.approx(expected[1], rel=1e-5)
    one_hot = multi_positive_targets(torch.arange(4))
    assert torch.allclose(info_nce(a, b, 0.5, targets=one_hot)[1], back)
    raw, _ = info_nce(a, b, 0.5, normalise=False)
    assert torch.allclose(
        raw, nn.functional.cross_entropy(a @ b.T / 0.5, torch.arange(4))
    )


def test_two_ways_may_have_targets_of_their_own() -> None:
    a, b = torch.randn(3, 2), torch.randn(3, 2)
    targets, reverse = torch.rand(3, 3).softmax(1), torch.rand(3, 3).softmax(1)
    forth, back = info_nce(a, b, 0.1, targets=targets, reverse_targets=reverse)
    assert torch.allclose(forth, info_nce(a, b, 0.1, targets=targets)[0])
    assert torch.allclose(back, info_nce(b, a, 0.1, targets=reverse)[0])


def test_an_excluded_entry_costs_nothing() -> None:
    logits = torch.tensor([[1.0, -torch.inf, 2.0]], requires_grad=True)
    targets = torch.tensor([[0.25, 0.0, 0.75]])
    loss = soft_cross_entropy(logits, targets)
    (gradient,) = torch.autograd.grad(loss, logits)
    wanted = torch.tensor([1.0, 2.0]).log_softmax(0)
    assert torch.allclose(loss, -(0.25 * wanted[0] + 0.75 * wanted[1]))
    assert torch.isfinite(gradient).all()
    assert float(gradient[0, 1]) == 0.0


def test_the_loss_is_exact_under_autocast() -> None:
    torch.manual_seed(2)
    a, b = torch.randn(8, 16), torch.randn(8, 16)
    exact = info_nce(a, b, 0.07)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(info_nce(a, b, 0.07)[0], exact)


def network(momentum: float | None) -> nn.Sequential:
    torch.manual_seed(3)
    made = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4, momentum=momentum),
        BatchNormAct2d(4),
        nn.Flatten(),
        nn.LazyLinear(6),
        nn.BatchNorm1d(6, affine=False),
    )
    made(torch.randn(2, 1, 6, 6))
    return made


def step(module: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor], Any]:
    out = module(images)
    # Uneven weights, as a mean of normalised values is 0 whatever happens.
    loss = (out * torch.arange(6.0)).square().mean() + (out**3).mean()
    gradients = list(torch.autograd.grad(loss, list(module.parameters())))
    return loss.detach(), gradients, dict(module.state_dict())


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_over_two_processes(tmp_path: Path, momentum: float | None) -> None:
    # Halves that differ in mean and spread, so that local statistics would be wrong.
    images = torch.randn(2 * HALF, 1, 6, 6)
    images[HALF:] = 3 * images[HALF:] + 2
    plain = network(momentum)
    synced = sync_batchnorm(copy.deepcopy(plain))
    assert list(synced.state_dict()) == list(plain.state_dict())
    results = on_two_processes(lambda rank: step(synced, half(rank, images)), tmp_path)
    whole = step(plain, images)
    loss, gradients = mean_over(results)
    assert torch.allclose(loss, whole[0], rtol=1e-5)
    for ours, theirs in zip(gradients, whole[1], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    for name, value in whole[2].items():
        for result in results:
            assert torch.allclose(result[2][name], value, rtol=1e-5, atol=1e-6), name


def test_synced_is_plain_batch_norm_on_one_process() -> None:
    plain = network(None)
    synced = sync_batchnorm(copy.deepcopy(plain))
    images = torch.randn(4, 1, 6, 6)
    assert torch.equal(synced(images), plain(images))
    for a, b in zip(synced.buffers(), plain.buffers(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(synced.eval()(images), plain.eval()(images))
    assert sync_batchnorm(synced) is synced


def test_sync_keeps_the_parameters_and_refuses_what_it_does_not_know() -> None:
    plain = network(0.1)
    weight = plain[1].weight
    sync_batchnorm(plain)
    assert isinstance(plain[1], SyncedBatchNorm)
    assert plain[1].weight is weight
    assert isinstance(sync_batchnorm(nn.BatchNorm2d(2)), SyncedBatchNorm)
    with pytest.raises(ConfigError, match="InstanceNorm"):
        sync_batchnorm(nn.Sequential(type("InstanceNormish", (nn.BatchNorm1d,), {})(2)))


def test_ddp_takes_it_on_cpus(tmp_path: Path) -> None:
    # DDP refuses torch's own SyncBatchNorm there, by its class.
    images = torch.randn(2 * HALF, 1, 6, 6)
    images[HALF:] += 2
    synced = sync_batchnorm(network(0.1))
    whole = step(copy.deepcopy(synced), images)

    def work(rank: int) -> list[Tensor]:
        wrapped = nn.parallel.DistributedDataParallel(synced)
        out = wrapped(half(rank, images))
        loss = (out * torch.arange(6.0)).square().mean() + (out**3).mean()
        loss.backward()
        return [p.grad for p in synced.parameters() if p.grad is not None]

    for result in on_two_processes(work, tmp_path):
        for ours, theirs in zip(result, whole[1], strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_gpus_run_the_kernels_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake tensors of a GPU: which way is taken, not what it computes."""
    seen: list[tuple[Any, ...]] = []

    def kernels(*arguments: Any) -> Tensor:
        seen.append(arguments)
        rows: Tensor = arguments[0]
        return rows

    monkeypatch.setattr(gather, "exchanging", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(TorchKernels, "apply", kernels)
    norm = SyncedBatchNorm(3, momentum=0.25, affine=False)
    with FakeTensorMode():
        norm(torch.empty(4, 3, device="cuda"))
    ((_, weight, bias, mean, variance, eps, rate, group, world),) = seen
    assert (weight, bias, eps, rate, world) == (None, None, norm.eps, 0.25, 2)
    assert mean is norm.running_mean
    assert variance is norm.running_var
    assert group is dist.group.WORLD
    assert norm.num_batches_tracked == 1
    # What the kernels of the installed torch take, and in which order.
    names = list(inspect.signature(TorchKernels.forward).parameters)[1:]
    assert names == [
        *("input", "weight", "bias", "running_mean", "running_var"),
        *("eps", "momentum", "process_group", "world_size"),
    ]

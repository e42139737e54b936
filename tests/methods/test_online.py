"""Top-1 and recall of a validation: the benchmark's numbers where both are defined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.retrieval import retrieval_hit_rate, retrieval_recall

from tests.fakes.processes import on_two_processes
from tests.methods.cases import BUILDERS, case
from vlp_zoo.evaluation.alignment.ranks import retrieve
from vlp_zoo.methods.online import AT, PairRecall, PairsSeen

PAIRED = [name for name in BUILDERS if name not in ("ecamp", "mae", "mrm")]
Rows = tuple[Tensor, Tensor, Tensor, Tensor]


class Log:
    """What a module that logs is handed."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def log(self, name: str, value: Any, batch_size: int) -> None:
        self.values[name] = value

    def log_dict(self, values: dict[str, Any], sync_dist: bool) -> None:
        self.values |= values


def pairs(count: int, seed: int = 0) -> Rows:
    """Names, keys (every fourth report is said twice), images, and texts like them."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 16, generator=draw)
    texts = images + torch.randn(count, 16, generator=draw)
    keys = torch.arange(count)
    keys[3::4] = keys[2::4][: len(keys[3::4])].clone()
    names = torch.randperm(count, generator=draw)
    return (
        names,
        keys,
        functional.normalize(images, dim=1),
        functional.normalize(texts, dim=1),
    )


def parts(rows: Rows, size: int) -> list[Rows]:
    names, keys, images, texts = (list(torch.split(field, size)) for field in rows)
    return list(zip(names, keys, images, texts, strict=True))


def recall(batches: list[Rows], **options: Any) -> dict[str, float]:
    metric = PairRecall(**options)
    for batch in batches:
        metric.update(*batch)
    return {name: float(value) for name, value in metric.compute().items()}


def test_recall_is_that_of_the_benchmark_where_no_scores_are_equal() -> None:
    rows = pairs(40)
    _, keys, images, texts = (field.numpy() for field in rows)
    relevant = keys[:, None] == keys
    found = recall(parts(rows, 7))
    for way, one, two in (("i2t", images, texts), ("t2i", texts, images)):
        patients = [str(i) for i in range(len(keys))]
        wanted = retrieve(one, two, relevant, patients, at=AT, replicates=0)
        for k in AT:
            assert found[f"{way}_recall@{k}"] == pytest.approx(
                wanted.recall[k].value, abs=1e-6
            )
    assert 0 < found["i2t_recall@1"] < found["i2t_recall@10"]


def test_recall_is_the_hit_rate_of_torchmetrics() -> None:
    rows = pairs(24)
    _, keys, images, texts = rows
    scores, found = images @ texts.T, recall([rows])
    for k in AT:
        hits = [
            retrieval_hit_rate(row, keys == key, top_k=k)
            for row, key in zip(scores, keys, strict=True)
        ]
        assert found[f"i2t_recall@{k}"] == pytest.approx(
            float(torch.stack(hits).mean())
        )


def test_where_they_differ() -> None:
    # Torchmetrics' recall takes a right answer with a score below 0 for a wrong one.
    scores, right = torch.tensor([-0.1, -0.5]), torch.tensor([True, False])
    assert float(retrieval_recall(scores, right, top_k=1)) == 0
    found = recall(
        [
            (
                torch.tensor([1, 2]),
                torch.tensor([1, 2]),
                torch.tensor([[1.0, 0.0], [-1.0, 0.0]]),
                torch.tensor([[-0.1, 0.995], [-0.5, -0.866]]),
            )
        ]
    )
    assert found["i2t_recall@1"] == 1
    # The benchmark takes the mean over the orders of equal scores; here one order counts.
    same, other = torch.ones(2, 4) / 2, torch.tensor([1, 2])
    found = recall([(other, other, same, same)])
    assert found["i2t_recall@1"] == 0.5
    wanted = retrieve(
        same.numpy(), same.numpy(), np.eye(2, dtype=bool), ["a", "b"], at=(1,)
    )
    assert wanted.hits[1].tolist() == [0.5, 0.5]


def test_the_pool_is_bounded_and_the_same_however_batches_are_cut() -> None:
    rows = pairs(60)
    metric = PairRecall(pool=20)
    for batch in parts(rows, 9):
        metric.update(*batch)
        assert sum(len(field) for field in metric.images) <= 20
    whole = {name: float(value) for name, value in metric.compute().items()}
    assert whole == recall(parts(rows, 9)[::-1], pool=20)
    # A study that a process repeats at the end of an epoch counts once.
    assert whole == recall([rows, *parts(rows, 9)[:2]], pool=20)
    assert whole != recall([rows])


def test_nothing_without_a_pair() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    assert recall([(empty, empty, torch.zeros(0, 4), torch.zeros(0, 4))]) == {}


def test_top1_leaves_out_what_has_no_text() -> None:
    seen, log = PairsSeen().eval(), Log()
    images = torch.eye(4)
    texts = images.clone()
    texts[[0, 1]] = texts[[1, 0]]
    present = torch.tensor([True, True, True, False])
    module: Any = log
    seen.hand(images, texts, list("abca"), present)
    seen.log(module, "val", ["s0", "s1", "s2", "s3"])
    assert float(log.values["val/i2t_top1"].compute()) == pytest.approx(1 / 3)
    seen.log_recall(module, "val")
    assert float(log.values["val/i2t_recall@1"]) == pytest.approx(1 / 3)
    # Nothing is kept for the next epoch, and nothing is taken in training.
    assert not seen.recall.images
    log.values.clear()
    seen.train().hand(images, texts, list("abcd"))
    seen.log(module, "val", ["s0", "s1", "s2", "s3"])
    seen.log_recall(module, "val")
    assert log.values == {}


@pytest.mark.parametrize("name", PAIRED)
def test_methods_hand_over_their_joint_embeddings(name: str) -> None:
    module, batch = case(name)
    module.eval()
    with torch.no_grad():
        module.losses(batch)
        handed = module.pairs_seen._handed
        texts = batch.get("report_text") or batch["impression_text"]
        wanted = module.embed_images(batch["image"]), module.embed_texts(texts)
    assert handed is not None
    for found, joint in zip((handed.images, handed.texts), wanted, strict=True):
        cosines = functional.cosine_similarity(found.float(), joint.float(), dim=1)
        assert cosines.min() > 0.999
    # Other images are asked for by the gains: these are no pairs.
    with torch.no_grad():
        terms = module.losses(batch)
        dict(module.gains(batch, terms))
    if any(term in terms for term in module.pair_gains):
        assert module.pairs_seen._handed is None


@pytest.mark.slow
def test_two_processes_have_the_numbers_of_one(tmp_path: Path) -> None:
    names, keys, images, texts = pairs(30)
    uids = [f"s{int(name)}" for name in names]

    def work(batches: list[slice]) -> dict[str, Tensor]:
        seen, log = PairsSeen().eval(), Log()
        module: Any = log
        for rows in batches:
            seen.hand(images[rows], texts[rows], keys[rows])
            seen.log(module, "val", uids[rows])
        seen.log_recall(module, "val")
        top1 = {n: v.compute() for n, v in log.values.items() if n.endswith("top1")}
        return {**log.values, **top1}

    # At the end one process repeats a study, for want of another.
    batches = [slice(0, 9), slice(9, 18), slice(18, 30), slice(29, 30)]
    one = work(batches[:3])
    (tmp_path / "meet").mkdir()
    two = on_two_processes(lambda rank: work(batches[rank::2]), tmp_path / "meet")
    for process in two:
        assert set(process) == set(one)
        for name, value in one.items():
            assert float(process[name]) == pytest.approx(float(value)), name

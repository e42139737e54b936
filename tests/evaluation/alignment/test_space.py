"""Zero-shot and retrieval: a joint space whose answers are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.evaluation.stubs import BlockSource, StubEncoder, block_task
from vlp_zoo.bench.presets import read_preset
from vlp_zoo.bench.suite import candidates_of, evaluate_task
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.alignment.ranks import precision_at
from vlp_zoo.evaluation.alignment.retrieve import Retrieve
from vlp_zoo.evaluation.alignment.zero_shot import ZeroShot
from vlp_zoo.evaluation.classification.linear_probe import LinearProbe
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate, Outcome, Protocol
from vlp_zoo.evaluation.results import ResultStore
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.leaderboard.runs import encoder_names, identity, read_runs
from vlp_zoo.types import Report

NAMES = ("edema", "mass", "hernia")


class SpokenSource(BlockSource):
    """Blocks with a report that names what is there."""

    def __init__(self, split: str, n: int) -> None:
        super().__init__(split, n)
        self.label_names = NAMES

    def reports(self) -> Iterator[Report]:
        for row in self.labels:
            named = [n for n, v in zip(NAMES, row, strict=True) if v == 1]
            yield Report(text=" and ".join(named))


class BlockJoint(nn.Module):
    """Brightness of the three blocks against the names in a text; "no" turns it round."""

    preprocessing: Mapping[str, Any] = {"image_size": 8, "channels": 1}
    sha256 = "1" * 64

    def embed_images(self, images: Tensor) -> Tensor:
        light = images.float()[:, 0].mean(1)
        parts = [light[:, 2 * k : 2 * k + 2].mean(1) for k in range(3)]
        return self._unit(torch.stack(parts, 1) - 110)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        rows = []
        for text in texts:
            turned = -1.0 if " no " in f" {text.lower()} " or "not" in text else 1.0
            turned = -1.0 if "absent" in text or "No evidence" in text else turned
            rows.append([turned * (name in text.lower()) for name in NAMES])
        return self._unit(torch.tensor(rows))

    @staticmethod
    def _unit(rows: Tensor) -> Tensor:
        unit: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-6)
        return unit


def spoken_task(n: int = 80) -> Task:
    sizes = {"train": 8, "val": n // 2, "test": n}
    return Task(
        "spoken",
        {split: SpokenSource(split, size) for split, size in sizes.items()},
        gives=frozenset({"labels", "reports"}),
        min_positives=1,
    )


def measured(protocol: Protocol, task: Task | None = None) -> Outcome:
    how = Extraction(progress=False, cache=FeatureCache(None))
    subject = subject_of(StubEncoder(), "m", "encoder", how)
    candidate = Candidate(subject, StubEncoder(), joint=BlockJoint())  # type: ignore[arg-type]
    return protocol.measure(candidate, task or spoken_task(), 0, how)


def values(outcome: Outcome) -> dict[str, float]:
    return {measure.metric: measure.value for measure in outcome.measures}


def test_the_file_of_prompts_is_part_of_the_number() -> None:
    outcome = measured(ZeroShot(replicates=20))
    assert values(outcome)["macro_auroc"] > 0.9
    assert outcome.details["prompts"] == "chest 1"
    assert len(outcome.details["macro_auroc_of_each"]) == 5
    how = Extraction(progress=False, cache=FeatureCache(None))
    subject = subject_of(StubEncoder(), "m", "encoder", how)
    settings = ZeroShot().settings(subject, spoken_task())
    assert settings["prompts_sha256"] == outcome.details["prompts_sha256"]
    assert settings["prompts_sha256"] != ZeroShot(prompts="fundus").settings(
        subject, spoken_task()
    ).get("prompts_sha256")


@pytest.mark.parametrize("name", ["biovil-zeroshot-rsna", "asg-zeroshot"])
def test_published_thresholds_are_marked_as_such(name: str) -> None:
    protocol = read_preset(name).protocol
    outcome = measured(replace(protocol, replicates=0))
    where = "at_zero" if "biovil" in name else "tuned_on_test"
    found = values(outcome)
    assert 0.5 < found[f"legacy_f1_{where}"] <= 1
    assert outcome.details["prompt_sets"] == 1
    assert outcome.measures[0].metric == "macro_auroc"
    if "asg" in name:
        # What the test split chose cannot be worse than the threshold of zero.
        plain = measured(
            ZeroShot(
                templates=protocol.templates,  # type: ignore[attr-defined]
                legacy_threshold="zero",
                replicates=0,
            )
        )
        assert found[f"legacy_f1_{where}"] >= values(plain)["legacy_f1_at_zero"]


def test_a_class_in_common_is_a_right_answer() -> None:
    protocol = Retrieve(at=(1, 5), match="class", replicates=20, legacy_batch=8)
    outcome = measured(protocol)
    head = outcome.measures[0]
    assert head.metric == "i2t_precision@1"
    assert head.value > head.details["chance"]
    assert head.low is not None
    labels = spoken_task().splits["test"].labels
    assert outcome.details["left_out"] == int((labels.sum(1) == 0).sum())
    gap = protocol.difference(outcome.cases, outcome.cases, {}, 0)[0]
    assert gap.value == gap.low == 0
    whole = values(outcome)["i2t_recall@1"]
    assert values(outcome)["legacy_batch_hit@1"] >= whole - 0.05
    task = replace(spoken_task(), gives=frozenset({"reports"}))
    subject = subject_of(StubEncoder(), "m", "e", Extraction(cache=FeatureCache(None)))
    candidate = Candidate(subject, StubEncoder())
    assert "no labels" in (protocol.refusal(candidate, task) or "")


def test_how_ties_count_keeps_older_rows_apart() -> None:
    extraction = Extraction(cache=FeatureCache(None))
    subject = subject_of(StubEncoder(), "m", "encoder", extraction)
    settings = Retrieve().settings(subject, spoken_task())
    assert settings["ties"] == "mean over orders"
    # Every case has its share, so that a board can be made again from predictions.
    outcome = measured(Retrieve(replicates=0))
    (chosen_by,) = (m for m in outcome.measures if m.split == "val")
    assert chosen_by.metric == "val_i2t_recall@10"
    assert chosen_by.details["chance"] < chosen_by.value <= 1
    (ranked,) = (m for m in outcome.measures if m.metric == "i2t_mean_rank")
    assert 1 <= ranked.value < ranked.details["chance"]
    for metric in ("i2t_recall@10", "t2i_recall@1", "i2t_mrr"):
        mean = float(outcome.cases.columns[metric].mean())
        assert values(outcome)[metric] == pytest.approx(mean)


def test_a_report_that_says_nothing_asks_for_nothing() -> None:
    class Missing(SpokenSource):
        def reports(self) -> Iterator[Report]:
            for index, report in enumerate(super().reports()):
                yield Report("nan") if index % 2 else report

    task = spoken_task()
    task = replace(task, splits={**task.splits, "test": Missing("test", 80)})
    said = [r for r in Missing("test", 80).reports() if r.text not in ("", "nan")]
    assert measured(Retrieve(replicates=0), task).details["pool"] == len(said)


def test_equal_texts_are_merged_into_one_answer() -> None:
    merged = measured(Retrieve(merge_texts=True, replicates=0))
    plain = measured(Retrieve(replicates=0))
    # Seven ways to name something out of three.
    assert merged.details["pool"] <= 7 < plain.details["pool"]
    assert not any(name.startswith("t2i") for name in values(merged))
    assert values(merged)["i2t_mean_rank"] < values(plain)["i2t_mean_rank"] + 1e-9
    with pytest.raises(ConfigError, match="merge_texts"):
        Retrieve(merge_texts=True, match="class")


def test_precision_with_ties_is_what_random_orders_reach() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 3, (4, 12)).astype(np.float64)
    relevant = rng.random((4, 12)) < 0.4
    found = precision_at(scores, relevant, (1, 5))
    drawn = []
    for _ in range(3000):
        order = np.argsort(-(scores + 0.5 * rng.random(scores.shape)), axis=1)
        right = np.take_along_axis(relevant, order, 1)
        drawn.append([right[:, :k].mean(1) for k in (1, 5)])
    np.testing.assert_allclose(found, np.mean(drawn, axis=0).T, atol=0.03)


class Bytes(nn.Module):
    """A joint space that takes bytes, and says so where it is given anything else."""

    preprocessing: ClassVar[dict[str, Any]] = {
        "image_size": 8,
        "resize": "pad",
        "interpolation": "bilinear",
        "channels": 3,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    sha256 = "b" * 64

    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        assert images.dtype == torch.uint8
        return images[:, :1].flatten(1).float()


def test_a_joint_space_gets_the_bytes_themselves() -> None:
    source = block_task(30).splits["test"]
    extraction = Extraction(progress=False, cache=FeatureCache(None))
    found = extraction.get(Bytes(), source)
    assert np.array_equal(found[0], source[0].image.ravel())


class Inverted(BlockJoint):
    """Says the contrary of every text, over the same image encoder."""

    sha256 = "2" * 64

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return -super().embed_texts(texts)


def test_two_joint_spaces_over_one_image_encoder_are_two(tmp_path: Path) -> None:
    module = StubEncoder()
    joints: Any = {"right": BlockJoint(), "wrong": Inverted()}
    said: list[str] = []
    how = Extraction(progress=False, num_workers=0, cache=FeatureCache(None))
    candidates = candidates_of(
        ["right", "wrong"],
        how,
        baselines=False,
        load=lambda spec: module,
        joints=joints,
    )
    results = evaluate_task(
        candidates,
        spoken_task(),
        ResultStore(tmp_path),
        how,
        protocols=[ZeroShot(), LinearProbe(c_grid=(1.0,))],
        replicates=20,
        notify=said.append,
    )
    found = {
        (row.encoder, row.protocol): row.value
        for row in results
        if row.metric == "macro_auroc"
    }
    assert len(found) == 3
    right, wrong = (found[name, "vlp-zeroshot"] for name in ("right", "wrong"))
    assert right is not None
    assert wrong is not None
    assert right > 0.9
    assert wrong < 0.1
    # Without texts there is one encoder, and it is said whose number it is.
    assert ("right", "vlp-linear") in found
    assert any("wrong: the same image encoder as right" in line for line in said)
    runs = read_runs([tmp_path])
    names = encoder_names(runs)
    assert sorted(set(names.values())) == ["right", "wrong"]
    assert {names[identity(run.head)] for run in runs} == {"right", "wrong"}


def test_joint_spaces_of_equal_names_are_told_apart(tmp_path: Path) -> None:
    how = Extraction(progress=False, num_workers=0, cache=FeatureCache(None))
    store = ResultStore(tmp_path)
    module, task = StubEncoder(), spoken_task()
    joints: tuple[Any, Any] = (BlockJoint(), Inverted())
    for joint in joints:
        candidates = candidates_of(
            ["mine"],
            how,
            baselines=False,
            load=lambda spec: module,
            joints={"mine": joint},
        )
        evaluate_task(candidates, task, store, how, protocols=[ZeroShot()])
    names = sorted(encoder_names(read_runs([tmp_path])).values())
    assert "joint space 11111111" in names[0]
    assert "joint space 22222222" in names[1]


def test_an_encoder_has_one_name_with_and_without_texts(tmp_path: Path) -> None:
    how = Extraction(progress=False, num_workers=0, cache=FeatureCache(None))
    joints: Any = {"mine": BlockJoint()}
    for module in (StubEncoder(seed=1), StubEncoder(seed=2)):
        load = {"mine": module}.__getitem__
        candidates = candidates_of(
            ["mine"], how, baselines=False, load=load, joints=joints
        )
        evaluate_task(
            candidates,
            spoken_task(),
            ResultStore(tmp_path),
            how,
            protocols=[ZeroShot(), LinearProbe(c_grid=(1.0,))],
            replicates=0,
        )
    names = encoder_names(read_runs([tmp_path]))
    # Two encoders of one name, each on a board with texts and on one without.
    assert len(names) == 4
    assert len(set(names.values())) == 2

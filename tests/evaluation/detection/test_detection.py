"""Detection: it learns, boxes keep their frame, batches and processes change nothing."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import require_shared
from tests.encoders.tiny_hub import save_vision
from vlp_zoo.bench.presets import read_preset
from vlp_zoo.encoders.checkpoint import open_encoder
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.baselines import PixelEncoder, Prevalence
from vlp_zoo.evaluation.detection.cases import AVERAGED, stored_boxes
from vlp_zoo.evaluation.detection.detection import Detect
from vlp_zoo.evaluation.detection.detector import Detector, lesions_of
from vlp_zoo.evaluation.detection.metrics import box_iou
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate, Outcome
from vlp_zoo.evaluation.results import Cases, ResultStore
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.evaluation.training.learner import predict
from vlp_zoo.leaderboard.remade import statistic_of
from vlp_zoo.pixels import read_grey
from vlp_zoo.types import Box, Report, Study

QUICK: dict[str, Any] = {
    "size": 0,
    "width": 64,
    "convolutions": 1,
    "epochs": (6, 6),
    "batch_size": 8,
    "learning_rates": (3e-3,),
    "layer_decay": 1.0,
    "evaluations": 2,
    "augment": "none",
    "replicates": 20,
}


class SquareSource:
    """Wide pictures of noise, two thirds with one bright square, which is the lesion."""

    def __init__(self, split: str, n: int, *, name: str = "square") -> None:
        rng = np.random.default_rng((n, *split.encode()))
        self.name = f"squares {split}"
        self.label_names: tuple[str, ...] = ()
        self.uids = [f"{split}-{i:03d}" for i in range(n)]
        self.patient_ids = [f"{split}-p{i // 2}" for i in range(n)]
        self.labels = np.empty((n, 0), np.float32)
        self.fingerprint = f"squares {split} {n} {name}"
        self.studies = []
        for i in range(n):
            image = rng.integers(0, 60, (48, 64)).astype(np.uint8)
            boxes = [Box("whole", (0, 0, 64, 48))]
            if i % 3:
                side = int(rng.integers(14, 22))
                x, y = int(rng.integers(0, 64 - side)), int(rng.integers(0, 48 - side))
                image[y : y + side, x : x + side] = 230
                boxes.append(Box(name, (x, y, x + side, y + side), "lesion"))
            self.studies.append(
                Study(
                    self.uids[i],
                    self.patient_ids[i],
                    self.uids[i],
                    image,
                    Report(text=""),
                    boxes=tuple(boxes),
                )
            )

    def __len__(self) -> int:
        return len(self.uids)

    def __getitem__(self, index: int) -> Study:
        return self.studies[index]

    def reports(self) -> Iterator[Report]:
        return (study.report for study in self.studies)


def task_of(train: int = 48, val: int = 12, test: int = 24) -> Task:
    sizes = {"train": train, "val": val, "test": test}
    sources = {split: SquareSource(split, n) for split, n in sizes.items()}
    return Task("squares", sources, frozenset({"boxes"}), min_positives=1)


def extraction(**options: Any) -> Extraction:
    return Extraction(progress=False, cache=FeatureCache(None), **options)


def encoder(name: str = "micro", **options: Any) -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(name, **options).eval()


def candidate(module: Any = None) -> Candidate:
    found = encoder() if module is None else module
    return Candidate(subject_of(found, "m", "encoder", extraction()), found)


def measure(protocol: Detect, task: Task | None = None, **options: Any) -> Outcome:
    return protocol.measure(candidate(), task or task_of(), 0, extraction(**options))


def values(outcome: Outcome) -> dict[str, float]:
    return {measure.metric: measure.value for measure in outcome.measures}


@pytest.fixture(scope="module")
def learnt() -> Outcome:
    protocol = Detect(**{**QUICK, "epochs": (10, 10)}, frozen=True, legacy_map=True)
    return measure(protocol, task_of(train=96))


def test_it_learns_bright_squares(learnt: Outcome) -> None:
    found = values(learnt)
    assert learnt.measures[0].metric == Detect.headline == "box_ap"
    assert found["box_ap50"] > 0.7
    assert found["box_ap@[.40:.75]"] > found["box_ap"] > 0.3
    assert found["froc_mean_sensitivity"] > 0.8
    assert found["rsna_score"] > 0.3
    assert "legacy_mgca_map" in found
    assert found["val_box_ap"] == learnt.details["validation_score"]
    head = learnt.measures[0]
    assert head.low is not None
    assert head.high is not None
    assert head.low <= head.value <= head.high
    assert head.per_label == {"square": pytest.approx(head.value)}
    assert learnt.details["test_images_empty"] == 8
    assert learnt.details["training_boxes"] == 64


def test_every_number_can_be_made_again_from_what_is_stored(
    learnt: Outcome, tmp_path: Path
) -> None:
    protocol, task = Detect(**QUICK), task_of()
    how = candidate()
    store = ResultStore(tmp_path)
    row = store.add(protocol.rows(learnt, how, task, 0))[0]
    cases = store.cases(store.read()[0])
    assert cases is not None
    images, names = stored_boxes(cases)
    assert names == ("square",)
    assert sum(len(image.truth) for image in images) == 16
    gap, per_label = protocol.difference(cases, learnt.cases, {}, 0)
    assert (gap.value, gap.low, gap.high) == (0, 0, 0)
    assert per_label == {"square": 0}
    # Against nothing at all the difference is the score itself.
    nothing = replace(
        cases, columns={**cases.columns, "found": np.array(["[]"] * 24, object)}
    )
    gap, _ = protocol.difference(cases, nothing, {}, 0)
    assert row.value is not None
    assert gap.value == pytest.approx(row.value)
    once = np.ones((len(cases.uids), 1), np.float32)
    for metric in AVERAGED:
        remade = statistic_of(metric, cases, learnt.undefined)
        assert remade is not None
        assert float(remade(once).mean()) == pytest.approx(values(learnt)[metric])
    assert statistic_of("froc_mean_sensitivity", cases, ()) is None
    assert statistic_of("box_ap", cases, ["square"]) is None


def test_the_legacy_number_forgives_what_is_missed() -> None:
    truth = np.array(['[["a", 0, 0, 9, 9]]'] * 10, object)
    found = np.array(['[["a", 0.9, 0, 0, 9, 9]]'] * 3 + ["[]"] * 7, object)
    uids = [str(i) for i in range(10)]
    ones = np.ones((10, 1))
    cases = Cases(
        uids,
        uids,
        ("a",),
        ones.astype(np.float32),
        ones,
        {"truth": truth, "found": found},
    )
    outcome = Detect(**{**QUICK, "legacy_map": True})._scored(
        cases, task_of(), ["a"], 0.5, 0, {"training_cases": 1}
    )
    assert values(outcome)["legacy_mgca_map"] == 1
    # Recalls 0 to .30 of 101, precision 1 there.
    assert outcome.measures[0].value == pytest.approx(31 / 101)
    assert values(outcome)["froc_mean_sensitivity"] == pytest.approx(0.3)
    assert values(outcome)["rsna_score"] == pytest.approx(0.3)


@pytest.mark.parametrize("resize", ["pad", "squash"])
def test_boxes_come_back_to_the_frame_of_the_image(resize: str) -> None:
    protocol = Detect(**{**QUICK, "resize": resize})
    learner = Detector(encoder(), ["square"], protocol)
    for study in SquareSource("test", 12).studies[1::3]:
        rng = np.random.default_rng(0)
        taught = learner.make_transform(train=True)(study, rng)
        judged = learner.make_transform(train=False)(study, rng)
        assert torch.equal(taught["image"], judged["image"])
        found = {
            "boxes": taught["boxes"],
            "scores": torch.ones(1),
            "labels": taught["labels"],
        }
        back = learner._original(found, judged["frame"], judged["original"])
        truth = np.array([lesions_of(study)[0].xyxy])
        assert box_iou(np.array([back[0][2:]], np.float64), truth)[0, 0] > 0.99
        assert judged["truth"] == [["square", *truth[0]]]


def test_a_detection_in_the_padding_is_none() -> None:
    learner = Detector(encoder(), ["square"], Detect(**QUICK))
    study = SquareSource("test", 3).studies[0]
    seen = learner.make_transform(False)(study, np.random.default_rng(0))
    found = {
        "boxes": torch.tensor([[4.0, 0, 20, 3], [4, 2, 20, 12]]),
        "scores": torch.tensor([0.9, 0.8]),
        "labels": torch.tensor([0, 0]),
    }
    # 64 x 48 in 32 x 32: rows 4 to 27 are image.
    assert learner._original(found, seen["frame"], seen["original"]) == [
        ["square", 0.8, 8, 0, 40, 16]
    ]


@pytest.mark.parametrize("size", [1, 7, 24])
def test_batches_change_nothing(size: int) -> None:
    source = SquareSource("test", 24)
    learner = Detector(encoder(), ["square"], Detect(**QUICK))
    found = predict(learner, source, extraction(batch_size=size))
    alone = predict(learner, source, extraction(batch_size=5))
    for one, two in zip(found, alone, strict=True):
        assert one["truth"] == two["truth"]
        assert [box[0] for box in one["found"]] == [box[0] for box in two["found"]]
        np.testing.assert_allclose(
            [box[1:] for box in one["found"]],
            [box[1:] for box in two["found"]],
            atol=0.02,
        )


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [True, False])
def test_two_processes_learn_what_one_learns(frozen: bool) -> None:
    protocol = Detect(**{**QUICK, "epochs": (1, 1), "frozen": frozen})
    task = task_of(train=16, test=12)
    one = measure(protocol, task, batch_size=7)
    two = measure(protocol, task, devices=2, batch_size=12)
    assert one.details["best_step"] == two.details["best_step"]
    np.testing.assert_allclose(one.cases.scores, two.cases.scores, atol=1e-4)
    for losses in (one, two):
        assert losses.details["trainable_parameters"] > 1000
    assert values(one) == pytest.approx(values(two), abs=1e-3)


def test_a_frozen_encoder_trains_the_head_alone() -> None:
    module = encoder("tiny_resnet", image_size=64)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    learner = Detector(module, ["square"], Detect(**QUICK, frozen=True)).train()
    assert not learner.dense.encoder.training
    assert not any(p.requires_grad for p in learner.dense.encoder.parameters())
    batch = learner.collate(
        [
            learner.make_transform(True)(study, np.random.default_rng(0))
            for study in SquareSource("train", 4).studies
        ]
    )
    learner.loss(batch).backward()  # type: ignore[no-untyped-call]
    for name, tensor in learner.dense.encoder.state_dict().items():
        assert torch.equal(tensor, before[name.removeprefix("encoder.")])
    heads = [*learner.neck.parameters(), *learner.fcos.parameters()]
    assert all(p.grad is not None for p in heads)
    grouped = [p for g in learner.parameter_groups(1.0) for p in g["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in heads}
    assert len(grouped) == len(heads)


@pytest.mark.parametrize(
    ("name", "asked", "given"),
    [("micro", 0, 32), ("micro", 61, 64), ("tiny_resnet", 96, 96), ("pixels", 0, 32)],
)
def test_the_input_takes_the_size_that_is_asked_for(
    name: str, asked: int, given: int
) -> None:
    module: Any = PixelEncoder() if name == "pixels" else encoder(name)
    own = module.preprocessing["image_size"]
    learner = Detector(module, ["a"], Detect(**{**QUICK, "size": asked}))
    assert (learner.size, module.preprocessing["image_size"]) == (given, own)
    images = torch.zeros(1, 1, given, given, dtype=torch.uint8)
    maps = learner.neck(learner.dense(images))
    assert len(maps) == 4
    # A point of each map stands where its stride says.
    strides = [s for (s,) in learner.fcos.anchor_generator.sizes]
    assert [round(given / m.shape[-1]) for m in maps] == strides
    assert all(a.shape[-1] >= b.shape[-1] for a, b in pairwise(maps))


@pytest.mark.parametrize("name", ["Dinov2", "ResNet", "Swin", "pixels"])
@pytest.mark.parametrize("frozen", [True, False])
def test_every_encoder_of_maps_can_carry_the_head(
    tmp_path: Path, name: str, frozen: bool
) -> None:
    module: nn.Module = PixelEncoder()
    if name != "pixels":
        save_vision(tmp_path, name)
        module = open_encoder(f"hf:{tmp_path}")
    protocol = Detect(**{**QUICK, "epochs": (1, 1)}, frozen=frozen)
    assert protocol.refusal(candidate(module), task_of()) is None
    torch.manual_seed(0)
    learner = Detector(module, ["square"], protocol).train()
    drawn = learner.make_transform(True)
    studies = SquareSource("train", 4).studies
    examples = [drawn(study, np.random.default_rng(0)) for study in studies]
    learner.loss(learner.collate(examples)).backward()  # type: ignore[no-untyped-call]
    wanted = [p for p in learner.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in wanted)
    moved = [p for p in learner.dense.parameters() if p.grad is not None]
    assert bool(moved) == (not frozen and name != "pixels")


def test_grey_and_colour_share_a_batch() -> None:
    learner = Detector(encoder(), ["square"], Detect(**QUICK))
    grey, colour = SquareSource("train", 2).studies
    colour = replace(colour, image=np.repeat(colour.image[..., None], 3, 2))
    drawn = learner.make_transform(True)
    rng = np.random.default_rng(0)
    batch = learner.collate([drawn(study, rng) for study in (grey, colour)])
    assert batch["image"].shape[:2] == (2, 3)
    assert len(batch["boxes"]) == 2


@pytest.mark.slow
def test_names_that_were_never_learnt_are_named_and_left_out() -> None:
    task = task_of(train=16)
    sources = {**task.splits, "test": SquareSource("test", 24, name="circle")}
    strange = replace(task, splits=sources)
    outcome = measure(Detect(**{**QUICK, "epochs": (1, 1)}), strange)
    assert outcome.undefined == {
        "circle": "no box in 16 training cases",
        "square": "boxes in 0 test images",
    }
    assert np.isnan(outcome.measures[0].value)
    assert np.isnan(outcome.cases.scores[:, 0]).all()
    # One class for all: nothing is strange any more.
    merged = measure(Detect(**{**QUICK, "epochs": (1, 1)}, merge_classes=True), strange)
    assert merged.cases.label_names == ("lesion",)
    assert not merged.undefined


def test_images_without_boxes_can_be_left_out() -> None:
    protocol = Detect(**{**QUICK, "epochs": (1, 1)}, boxed_only=True)
    outcome = measure(protocol, task_of(train=16))
    assert outcome.details["test_images"] == len(outcome.cases.uids) == 16
    assert outcome.details["test_images_empty"] == 0
    assert outcome.n_train == 10


def test_what_cannot_be_is_refused() -> None:
    task = task_of()
    protocol = Detect(**QUICK)
    assert protocol.refusal(candidate(), task) is None
    bare = replace(task, gives=frozenset({"reports"}))
    assert "no boxes" in str(protocol.refusal(candidate(), bare))
    nothing = protocol.refusal(candidate(Prevalence()), task)
    assert "no network that reads pixels" in str(nothing)
    with pytest.raises(ConfigError, match="epochs"):
        Detect(epochs=(1, 0))
    with pytest.raises(ConfigError, match="multiple of 32"):
        Detect(width=32)
    for split, message in (
        ("train", "in the training cases"),
        ("val", "validation boxes"),
    ):
        sources = dict(task.splits)
        empty = SquareSource(split, 12)
        empty.studies = [replace(study, boxes=()) for study in empty.studies]
        sources[split] = empty
        with pytest.raises(ConfigError, match=message):
            measure(protocol, replace(task, splits=sources))


@pytest.mark.parametrize(
    "name", ["vlp-det", "vlp-det-frozen", "mgca-det", "ecamp-det", "lovt-det"]
)
def test_presets_are_ready(name: str) -> None:
    protocol = read_preset(name).protocol
    assert isinstance(protocol, Detect)
    published = not name.startswith("vlp-")
    assert protocol.legacy_map is (name in ("mgca-det", "ecamp-det"))
    assert bool(protocol.known_issues) is published


class LungSource:
    """Real chest X-rays, a patient in one split, with boxes of both lungs."""

    label_names: tuple[str, ...] = ()

    def __init__(self, root: Path, split: int) -> None:
        self.name = f"lungs {split}"
        boxes: dict[str, list[Box]] = defaultdict(list)
        with (root / "lung_boxes.csv").open() as file:
            for row in csv.DictReader(file):
                x, y, w, h = (float(row[k]) for k in "xywh")
                box = Box(row["class_name"], (x, y, x + w, y + h), "lesion")
                boxes[row["image"]].append(box)
        with (root / "notes.csv").open() as file:
            patient = {row["image"]: row["patient_id"] for row in csv.DictReader(file)}
        people = sorted(set(patient.values()))
        mine = {p for i, p in enumerate(people) if min(i % 5, 2) == split}
        self.uids = sorted(image for image in boxes if patient[image] in mine)
        self.patient_ids = [patient[image] for image in self.uids]
        self.labels = np.empty((len(self.uids), 0), np.float32)
        self.fingerprint = self.name
        self.root, self.boxes = root, boxes

    def __len__(self) -> int:
        return len(self.uids)

    def boxes_of(self, index: int) -> tuple[Box, ...]:
        return tuple(self.boxes[self.uids[index]])

    def __getitem__(self, index: int) -> Study:
        uid = self.uids[index]
        return Study(
            uid,
            self.patient_ids[index],
            uid,
            read_grey(self.root / uid),
            Report(text=""),
            boxes=self.boxes_of(index),
        )

    def reports(self) -> Iterator[Report]:
        return (Report(text="") for _ in self.uids)


@pytest.mark.slow
def test_lungs_are_found_on_real_radiographs() -> None:
    root = require_shared("realdata", "cxr_notes")
    sources = {
        split: LungSource(root, i) for i, split in enumerate(("val", "test", "train"))
    }
    task = Task("lungs", sources, frozenset({"boxes"}))
    protocol = Detect(
        size=128,
        width=64,
        convolutions=2,
        epochs=(20, 20),
        batch_size=8,
        learning_rates=(1e-3,),
        evaluations=5,
        replicates=200,
    )
    how = candidate(encoder("tiny_resnet"))
    outcome = protocol.measure(how, task, 0, extraction())
    found = values(outcome)
    print(found, outcome.measures[0])
    assert set(outcome.cases.label_names) == {"left_lung", "right_lung"}
    assert found["box_ap50"] > 0.7
    assert (outcome.measures[0].low or 0) > 0.2

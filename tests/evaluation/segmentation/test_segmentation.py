"""Segmentation: known answers, what is trained, what counts, and that nothing drifts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.evaluation.segmentation.stubs import Bright, ShapeSource, shape_task
from tests.evaluation.stubs import block_task, logged
from vlp_zoo.bench.presets import read_preset
from vlp_zoo.bench.suite import candidates_of, evaluate_task
from vlp_zoo.data.records import MaskRef
from vlp_zoo.data.studies import FileStudies
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.baselines import PixelEncoder, Prevalence
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate
from vlp_zoo.evaluation.results import ResultStore
from vlp_zoo.evaluation.segmentation.mask_truth import (
    MaskRule,
    mask_names,
    structures_of,
)
from vlp_zoo.evaluation.segmentation.segmentation import Segment
from vlp_zoo.evaluation.segmentation.segmenter import (
    Segmenter,
    histograms_of,
    overlap_of,
)
from vlp_zoo.evaluation.segmentation.surfaces import surface_metrics
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import Selected, Task
from vlp_zoo.evaluation.training.decoders import DECODERS, DenseEncoder, make_decoder
from vlp_zoo.evaluation.training.learner import predict

QUICK: dict[str, Any] = {
    "decoder": "unet",
    "decoder_width": 16,
    "size": 0,
    "steps": (40, 40, 40),
    "batch_size": 8,
    "learning_rate": 1e-2,
    "encoder_learning_rate": 1e-3,
    "evaluations": 2,
    "augment": "none",
    "replicates": 20,
}
RULE = MaskRule(("corner", "disc"))


def extraction(**options: Any) -> Extraction:
    return Extraction(progress=False, cache=FeatureCache(None), **options)


def micro(seed: int = 0) -> ImageEncoder:
    torch.manual_seed(seed)
    return ImageEncoder("micro").eval()


def candidate(encoder: nn.Module) -> Candidate:
    return Candidate(subject_of(encoder, "m", "encoder", extraction()), encoder)


def measure(
    encoder: nn.Module, task: Task, protocol: Segment, **options: Any
) -> tuple[Any, dict[str, Any]]:
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    outcome = protocol.measure(candidate(encoder), task, 0, extraction(**options))
    # The encoder itself is never changed: others are evaluated with it afterwards.
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name])
    return outcome, {m.metric: m for m in outcome.measures}


# Baselines --------------------------------------------------------------------------


@pytest.mark.slow
def test_an_always_empty_model_scores_the_share_of_empty_masks() -> None:
    task = shape_task(24)
    outcome, found = measure(Prevalence(), task, Segment(**QUICK))
    # A third of the discs is empty, no corner is; corners are known in every second.
    assert found["dice_all"].value == pytest.approx((1 / 3 + 0) / 2)
    assert found["dice_all"].per_label["disc"] == pytest.approx(1 / 3)
    assert found["dice_all_floor"].value == found["dice_all"].value
    assert outcome.details["always_empty"]["dice_all"] == found["dice_all"].value
    for metric in ("dice_positive", "dice_micro", "iou_positive", "false_area"):
        assert found[metric].value == 0
    assert 0.4 < found["dice_with_background"].value < 0.5
    # Headline, the flattering number, and beside it what it is worth.
    assert list(found)[:3] == ["dice_positive", "dice_all", "dice_all_floor"]
    assert outcome.details["test_cases_by_structure"]["corner"] == {
        "with": 12,
        "empty": 0,
        "not_annotated": 12,
    }


def test_who_can_take_it() -> None:
    protocol, task = Segment(**QUICK), shape_task()
    for module in (micro(), PixelEncoder(), Prevalence()):
        assert protocol.refusal(candidate(module), task) is None
        reason = protocol.refusal(candidate(module), block_task())
        assert reason == "blocks has no masks"

    class Flat(PixelEncoder):
        def forward(self, images: Tensor) -> Any:
            output = super().forward(images)
            return type(output)(output.pooled, output.tokens, (1, 1), ())

    assert "no feature maps" in str(protocol.refusal(candidate(Flat()), task))
    with pytest.raises(ConfigError, match="maps"):
        DenseEncoder(Flat())


@pytest.mark.slow
def test_a_suite_runs_the_encoder_and_its_baselines_and_compares_them(
    tmp_path: Path,
) -> None:
    protocol = Segment(**{**QUICK, "steps": (2, 2, 2), "decoder": "linear"})
    how = extraction()
    who = candidates_of(["micro"], how, load=lambda spec: micro(1))
    store = ResultStore(tmp_path)
    options: dict[str, Any] = {"protocols": [protocol], "replicates": 10}
    rows = evaluate_task(who, shape_task(12), store, how, **options)
    first = [row for row in rows if row.metric == "dice_positive"]
    names = {row.encoder for row in first}
    assert names == {"micro", "random init of micro", "pixels", "prevalence"}
    gaps = {r.baseline_name: r for r in rows if r.baseline}
    assert set(gaps) == {"random init of micro", "pixels"}
    value = {row.encoder: row.value or 0.0 for row in first}
    for baseline, gap in gaps.items():
        assert baseline is not None
        assert gap.metric == "dice_positive_difference"
        assert gap.value == pytest.approx(value["micro"] - value[baseline])
    again = evaluate_task(who, shape_task(12), store, how, **options)
    assert len(again) == len(rows)
    assert len(store.read()) == len(rows)


# Learning ------------------------------------------------------------------------


@pytest.mark.slow
def test_it_learns_a_shape_and_stores_every_case() -> None:
    task = shape_task()
    protocol = Segment(**QUICK)
    outcome, found = measure(micro(), task, protocol)
    head = outcome.measures[0]
    assert head.metric == "dice_positive"
    assert head.value > 0.75
    assert head.low <= head.value <= head.high
    assert found["pixel_auprc"].value > 0.9
    assert found["dice_all"].value > found["dice_all_floor"].value
    assert outcome.details["threshold"] == 0.5
    assert outcome.details["best_step"] in (20, 40)
    assert outcome.details["encoder_parameters_trained"] == 0
    cases = outcome.cases
    assert cases.label_names == ("corner", "disc")
    assert np.isnan(cases.scores[1::2, 0]).all()
    assert np.isnan(cases.labels[1::2, 0]).all()
    assert (cases.labels[::3, 1] == 0).all()
    both, total = cases.columns["both disc"], cases.columns["actual disc"]
    dice = 2 * both / np.maximum(cases.columns["predicted disc"] + total, 1)
    there = total > 0
    assert found["dice_positive"].per_label["disc"] == pytest.approx(
        float(dice[there].mean())
    )
    gap, per_label = protocol.difference(cases, cases, {}, 0)
    assert (gap.value, gap.low, per_label["disc"]) == (0, 0, 0)


@pytest.mark.slow
def test_two_processes_learn_and_log_what_one_does(tmp_path: Path) -> None:
    protocol = Segment(
        **{**QUICK, "steps": (6, 6, 6), "frozen": False, "decoder": "setr"}
    )
    task = shape_task()
    logs = tmp_path / "one", tmp_path / "two"
    one, mine = measure(micro(), task, protocol, batch_size=7, logs=logs[0])
    two, other = measure(micro(), task, protocol, devices=2, logs=logs[1])
    seen, again = (logged(folder)["val/macro_jaccard"] for folder in logs)
    assert [step for step, _ in seen] == [3, 6]
    assert np.allclose(seen, again, atol=2e-3)
    assert one.details["best_step"] == two.details["best_step"]
    assert one.details["encoder_parameters_trained"] > 0
    outlines = surface_metrics("px")
    for metric, value in mine.items():
        # One pixel moves an outline further than it moves an overlap.
        near = 0.1 if metric in outlines else 2e-3
        expected = pytest.approx(other[metric].value, abs=near, nan_ok=True)
        assert value.value == expected, metric


@pytest.mark.slow
@pytest.mark.parametrize("decoder", DECODERS)
def test_batches_of_1_7_and_all_count_the_same_pixels(decoder: str) -> None:
    protocol = Segment(**{**QUICK, "decoder": decoder})
    torch.manual_seed(0)
    learner = Segmenter(micro(), RULE, protocol)
    learner.full = True
    source = ShapeSource("test", 12)
    seen = [predict(learner, source, extraction(batch_size=n)) for n in (1, 7, 12)]
    for other in seen[1:]:
        for name in ("predicted", "actual", "both", "pixels"):
            mine = getattr(overlap_of(seen[0]), name)
            assert np.array_equal(mine, getattr(overlap_of(other), name))
        moved = np.abs(histograms_of(seen[0]) - histograms_of(other)).sum()
        # Rounding of float32 may carry a pixel over the edge of a bin.
        assert moved <= 1e-3 * histograms_of(other).sum()


def test_frozen_trains_the_decoder_alone_and_tuned_what_the_maps_hang_on() -> None:
    protocol = Segment(**{**QUICK, "decoder": "linear"})
    learner = Segmenter(micro(), RULE, protocol).train()
    trained = sum(p.numel() for p in learner.parameters() if p.requires_grad)
    assert trained == 2 * (micro().width + 1)
    assert not learner.dense.encoder.training
    tuned = Segmenter(micro(), RULE, Segment(**{**QUICK, "frozen": False}))
    names = {n for n, p in tuned.dense.named_parameters() if p.requires_grad}
    assert "encoder.timm.patch_embed.proj.weight" in names
    assert "encoder.timm.norm.weight" not in names
    groups = tuned.parameter_groups(1e-2)
    counted = sum(len(group["params"]) for group in groups)
    assert counted == sum(p.requires_grad for p in tuned.parameters())
    assert {g.get("lr") for g in groups} == {None, 1e-3}


def test_a_frozen_cnn_keeps_its_batch_statistics() -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder("tiny_resnet", image_size=32).eval()
    learner = Segmenter(encoder, RULE, Segment(**QUICK)).train()
    before = {k: v.clone() for k, v in learner.dense.state_dict().items()}
    images = torch.randint(0, 255, (2, 1, 32, 32), dtype=torch.uint8)
    masks, known = torch.zeros(2, 2, 32, 32), torch.ones(2, 2, dtype=torch.bool)
    loss = learner.loss({"image": images, "masks": masks, "known": known})
    loss.backward()  # type: ignore[no-untyped-call]
    for name, tensor in learner.dense.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert learner.decoder.head.weight.grad is not None  # type: ignore[union-attr]


def test_encoders_take_the_size_or_say_why_not() -> None:
    dense = DenseEncoder(micro(), 60)
    assert (dense.size, dense.note) == (64, "a multiple of its 8 px patches")
    assert [tuple(m.shape[1:]) for m in dense(torch.zeros(1, 1, 64, 64))] == [
        (32, 8, 8)
    ] * 2
    pixels = DenseEncoder(PixelEncoder(), 64)
    assert (pixels.size, pixels.note) == (32, "it takes 32 px only")
    with pytest.raises(ConfigError, match="decoder"):
        make_decoder("fcn", [8], [4], 16, 1)
    with pytest.raises(ConfigError, match="loss"):
        Segment(loss="hinge")


# What counts ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "label", "facts", "absent", "known"),
    [
        pytest.param(["disc"], np.nan, {}, "unknown", [False, True], id="mask"),
        pytest.param([], np.nan, {"annotated": True}, "unknown", [1, 1], id="all"),
        pytest.param(
            ["disc"], 0, {"annotated": False}, "empty", [False, True], id="none"
        ),
        pytest.param(
            [], np.nan, {"annotated": ["corner"]}, "unknown", [True, False], id="named"
        ),
        pytest.param([], 0, {}, "unknown", [False, True], id="label says absent"),
        pytest.param([], 1, {}, "empty", [True, False], id="label says present"),
        pytest.param([], np.nan, {}, "empty", [True, False], id="label unknown"),
    ],
)
def test_empty_is_not_unknown(
    names: list[str], label: float, facts: dict[str, Any], absent: str, known: list[int]
) -> None:
    rule = MaskRule(("corner", "disc"), ("Disc",), absent)
    found = rule.known(names, np.array([label], np.float32), facts)
    assert found.tolist() == [bool(k) for k in known]


def test_structures_come_from_the_training_split_in_a_fixed_order() -> None:
    source = ShapeSource("train", 6)
    assert structures_of(source) == ("corner", "disc")
    assert mask_names(Selected(source, [1, 0]))[0] == ("disc",)
    assert structures_of(Selected(source, [1, 3])) == ("disc",)
    protocol = Segment(**QUICK, structures=("disc",))
    assert protocol.rule(shape_task()).structures == ("disc",)
    with pytest.raises(ConfigError, match="structure"):
        MaskRule(())


def test_files_are_not_opened_to_learn_what_was_annotated() -> None:
    gone = Path("gone.png")
    source = FileStudies(
        "files",
        uids=["a", "b"],
        patient_ids=["a", "b"],
        study_ids=["a", "b"],
        images=[gone, gone],
        texts=["", ""],
        rows=[0, 1],
        views=[None, None],
        masks=[(MaskRef("disc", "file", gone),), ()],
        facts=[{}, {"annotated": ("corner",)}],
    )
    assert structures_of(source) == ("disc",)
    assert RULE.known_in(source, 0).tolist() == [False, True]
    assert RULE.known_in(Selected(source, [1]), 0).tolist() == [True, False]


def test_studies_without_any_known_structure_are_left_out_and_counted() -> None:
    task = shape_task()
    protocol = Segment(**{**QUICK, "steps": (1, 1, 1)}, structures=("corner",))
    outcome, _ = measure(micro(), task, protocol)
    assert outcome.n_train == 12
    assert outcome.details["training_cases_not_annotated"] == 12
    nowhere = Segment(**QUICK, structures=("cup",))
    with pytest.raises(ConfigError, match="annotated"):
        nowhere.measure(candidate(micro()), task, 0, extraction())


def test_a_validation_split_without_a_mask_cannot_choose_the_step() -> None:
    task = shape_task()
    blank = Selected(task.splits["val"], range(1, 24, 2))
    splits = {**task.splits, "val": blank}
    without = Task("shapes", splits, frozenset({"masks"}), 1)
    protocol = Segment(**{**QUICK, "steps": (1, 1, 1)}, structures=("corner",))
    with pytest.raises(ConfigError, match="validation case"):
        protocol.measure(candidate(micro()), without, 0, extraction())


@pytest.mark.parametrize("resize", ["pad", "squash"])
@pytest.mark.parametrize("crop", [False, True])
def test_masks_are_compared_in_the_frame_they_were_drawn_in(
    resize: str, crop: bool
) -> None:
    learner = Bright(RULE, 61, resize, crop)
    counts = overlap_of(predict(learner, ShapeSource("test", 12), extraction()))
    there = counts.actual[:, 1] > 0
    dice = 2 * counts.both / np.maximum(counts.predicted + counts.actual, 1)
    assert (dice[there, 1] > 0.93).all()
    assert (counts.predicted[~there] == 0).all()
    assert (counts.pixels[:, 1] == 32 * 48).all()
    assert (counts.pixels[1::2, 0] == 0).all()


def test_colour_and_grey_share_a_batch() -> None:
    protocol = Segment(**QUICK)
    torch.manual_seed(0)
    learner = Segmenter(micro(), RULE, protocol)
    grey, colour = ShapeSource("test", 4), ShapeSource("test", 4, colour=True)
    for train in (True, False):
        view = learner.make_transform(train)
        rng = np.random.default_rng(0)
        batch = learner.collate([view(grey[1], rng), view(colour[1], rng)])
        assert batch["image"].shape == (2, 3, 32, 32)
        assert torch.equal(batch["image"][0], batch["image"][1])
    found = predict(learner, colour, extraction())
    same = predict(learner, grey, extraction())
    assert np.array_equal(overlap_of(found).predicted, overlap_of(same).predicted)


def test_augmentation_moves_masks_with_the_image() -> None:
    learner = Segmenter(micro(), RULE, Segment(**{**QUICK, "augment": "dense"}))
    source = ShapeSource("train", 12, unknown=False)
    view = learner.make_transform(True)
    moved = 0
    for index in (1, 2, 4, 5):
        made = view(source[index], np.random.default_rng(index))
        disc, image = made["masks"][1], made["image"][0].float()
        assert image[disc].mean() > image[~disc].mean() + 60
        plain = learner.make_transform(False)(source[index], np.random.default_rng(0))
        moved += not torch.equal(made["image"], plain["image"])
    assert moved


# Presets -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "frozen", "reported"),
    [
        ("vlp-seg", True, "dice_positive"),
        ("vlp-seg-linear", True, "dice_positive"),
        ("vlp-seg-unet", False, "dice_positive"),
        ("mgca-seg", True, "dice_all"),
        ("ecamp-seg", True, "dice_all"),
        ("benchx-seg", True, "dice_with_background"),
        ("mrm-seg", False, "dice_all"),
    ],
)
def test_presets_say_what_is_trained_and_what_is_reported(
    name: str, frozen: bool, reported: str
) -> None:
    protocol = read_preset(name).protocol
    assert isinstance(protocol, Segment)
    assert (protocol.frozen, protocol.reported) == (frozen, reported)
    assert protocol.plan().steps >= 1000
    if name.startswith("vlp-"):
        return
    strict = read_preset(f"{name}@fixed").protocol
    assert isinstance(strict, Segment)
    assert strict.reported == strict.select == "dice_positive"
    assert len(strict.known_issues) < len(protocol.known_issues)
    # The legacy headline comes first, and its baseline is beside it all the same.
    quick = Segment(**{**QUICK, "reported": reported})
    _, found = measure(Prevalence(), shape_task(12), quick)
    assert next(iter(found)) == reported
    assert "dice_all_floor" in list(found)[:3]


@pytest.mark.parametrize("decoder", ["unet", "upernet"])
@pytest.mark.parametrize(("stride", "finest"), [(1, 1), (2, 1), (4, 1), (16, 4)])
def test_no_map_is_finer_than_the_input(decoder: str, stride: int, finest: int) -> None:
    side = 64 // stride
    made: Any = make_decoder(decoder, [3] * 4, [float(stride)] * 4, 8, 2)
    maps = [torch.rand(1, 3, side, side)] * 4
    levels = made.ladder(maps)
    sides = [int(level.shape[-1]) for level in levels]
    assert sides == [64 // finest // 2**i for i in range(4)]
    assert made(maps).shape[-1] <= 64

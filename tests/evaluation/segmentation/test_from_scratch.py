"""Networks that start from random weights, and windows over images larger than crops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.evaluation.segmentation.stubs import ShapeSource, shape_task
from tests.evaluation.stubs import block_task
from vlp_zoo.bench.encoders import check_encoders
from vlp_zoo.bench.presets import PROTOCOLS, read_preset
from vlp_zoo.bench.suite import candidates_of, evaluate_task
from vlp_zoo.encoders.checkpoint import load_encoder, open_encoder
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.encoders.references import REFERENCES, ReferenceNetwork
from vlp_zoo.encoders.specs import SPECS
from vlp_zoo.errors import ConfigError, EncoderLoadError, UnknownNameError
from vlp_zoo.evaluation.classification.linear_probe import LinearProbe
from vlp_zoo.evaluation.detection.detection import Detect
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate
from vlp_zoo.evaluation.results import ResultStore
from vlp_zoo.evaluation.segmentation.from_scratch import FromScratch
from vlp_zoo.evaluation.segmentation.mask_truth import MaskRule
from vlp_zoo.evaluation.segmentation.segmentation import Segment
from vlp_zoo.evaluation.segmentation.segmenter import Learnt, Segmenter, overlap_of
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.training.learner import predict

RULE = MaskRule(("corner", "disc"))
QUICK: dict[str, Any] = {
    "size": 64,
    "steps": (30, 30, 30),
    "batch_size": 8,
    "evaluations": 2,
    "augment": "none",
    "replicates": 10,
}


def extraction(**options: Any) -> Extraction:
    return Extraction(progress=False, cache=FeatureCache(None), **options)


def candidate(name: str) -> Candidate:
    module = ReferenceNetwork(name)
    return Candidate(
        subject_of(module, f"monai:{name}", "encoder", extraction()), module
    )


# References ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "colour"), list(zip(REFERENCES, [True, False, True, False], strict=True))
)
def test_all_of_it_is_learnt_from_one_channel_or_three(name: str, colour: bool) -> None:
    source = ShapeSource("train", 2, colour=colour, unknown=False)
    learner = FromScratch(
        ReferenceNetwork(name), RULE, Segment(**QUICK), source
    ).train()
    view = learner.make_transform(True)
    rng = np.random.default_rng(0)
    batch = learner.collate([view(source[i], rng) for i in range(2)])
    assert batch["image"].shape == (2, 3 if colour else 1, 64, 64)
    learner.loss(batch).backward()  # type: ignore[no-untyped-call]
    # Several processes would wait for a weight without a gradient.
    trained = {n: p for n, p in learner.named_parameters() if p.requires_grad}
    assert [n for n, p in trained.items() if p.grad is None] == []
    left_out = {n for n, _ in learner.named_parameters()} - set(trained)
    assert all("norm_cross_attn" in n for n in left_out)
    assert bool(left_out) == (name == "UNETR")
    groups = learner.parameter_groups(1e-3)
    assert sum(len(group["params"]) for group in groups) == len(trained)
    assert learner.eval()(batch["image"]).shape == (2, 2, 64, 64)
    assert learner.details()["input_channels"] == (3 if colour else 1)


def test_the_size_is_the_presets_or_that_of_the_images() -> None:
    source = ShapeSource("train", 1)
    sides = {
        size: FromScratch(
            ReferenceNetwork("SegResNet"),
            RULE,
            Segment(**{**QUICK, "size": size}),
            source,
        ).size
        for size in (0, 70, 100)
    }
    assert sides == {0: 64, 70: 64, 100: 96}


@pytest.mark.slow
def test_it_learns_a_shape_and_equal_seeds_are_equal_networks() -> None:
    task, who = shape_task(), candidate("SegResNet")
    protocol = Segment(**QUICK, learning_rate=1e-2)
    one = protocol.measure(who, task, 0, extraction())
    values = {m.metric: m for m in one.measures}
    # Thirty steps find the large shape, not yet the small one.
    assert (values["dice_positive"].per_label["disc"] or 0) > 0.8
    assert one.details["weights_at_first"] == "random"
    assert one.details["trainable_parameters"] > 100_000
    assert "encoder_parameters_trained" not in one.details
    quick = Segment(**{**QUICK, "steps": (1, 1, 1)})
    again = [
        quick.measure(who, task, seed, extraction()).details["training_losses"]
        for seed in (0, 0, 1)
    ]
    assert again[0] == again[1] != again[2]


@pytest.mark.slow
def test_bench_runs_it_beside_an_encoder_and_refuses_it_elsewhere(
    tmp_path: Path,
) -> None:
    specs = ["random:micro", "monai:SegResNet"]
    who = candidates_of(specs, extraction(), baselines=False)
    said: list[str] = []
    rows = evaluate_task(
        *(who, shape_task(12), ResultStore(tmp_path), extraction()),
        protocols=[Segment(**{**QUICK, "steps": (1, 1, 1)})],
        notify=said.append,
    )
    assert {row.encoder for row in rows} == set(specs)
    assert {row.encoder_sha256 for row in rows if "monai" in row.encoder} == {
        ReferenceNetwork("SegResNet").sha256
    }
    evaluate_task(
        *(who, block_task(), ResultStore(tmp_path), extraction()),
        protocols=[LinearProbe()],
        notify=said.append,
    )
    assert any("monai:SegResNet is a network for masks" in line for line in said)
    (line,) = check_encoders(["net=monai:UNETR"])
    assert line == "encoder net: trained from random weights on each task of masks"


def test_only_masks_take_it() -> None:
    who = candidate("UNETR")
    assert Segment(**QUICK).refusal(who, shape_task()) is None
    assert Segment(**QUICK).refusal(who, block_task()) == "blocks has no masks"
    assert Detect().trains_references is LinearProbe().trains_references is False
    taken = {
        name
        for name in ("vlp-linear", "vlp-finetune", "vlp-det", "vlp-seg", "vlp-rrg")
        if read_preset(name).protocol.trains_references
    }
    assert taken == {"vlp-seg"}
    assert "segmentation" in PROTOCOLS
    with pytest.raises(ConfigError, match="network for masks"):
        who.module(torch.zeros(1, 1, 64, 64))
    with pytest.raises(EncoderLoadError, match="evaluated only"):
        load_encoder("monai:UNETR")
    with pytest.raises(UnknownNameError, match="did you mean 'UNETR'"):
        open_encoder("monai:UNETR2")
    assert all(name in SPECS["monai:NAME"] for name in REFERENCES)


# Windows -------------------------------------------------------------------------


class Bright(Learnt):
    """Marks what is bright pixel by pixel, so that windows change nothing.

    Means of a few whole numbers never fall on the threshold, where rounding decides.
    """

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[-2:] == (self.seen, self.seen)
        bright = images.float().mean(1, keepdim=True) - 150.3
        # MONAI weighs what it gets in place.
        return bright.repeat(1, 2, 1, 1)


def test_windows_see_what_the_whole_image_shows() -> None:
    source = ShapeSource("test", 6)
    crops = Segment(**{**QUICK, "size": 32, "fit": 96, "augment": "crop"})
    whole = Segment(**{**QUICK, "size": 96})
    found = [
        overlap_of(predict(learner, source, extraction(batch_size=n)))
        for learner in (Bright(RULE, crops, 32), Bright(RULE, whole, 96))
        for n in (1, 4)
    ]
    for other in found[1:]:
        assert (found[0].predicted == other.predicted).all()
        assert (found[0].both == other.both).all()
    assert found[0].both.sum() > 0


def test_training_sees_crops_and_the_record_says_so() -> None:
    torch.manual_seed(0)
    protocol = Segment(
        **{**QUICK, "size": 0, "fit": 96, "augment": "crop", "steps": (1, 1, 1)},
        decoder="linear",
    )
    encoder = ImageEncoder("micro").eval()
    learner = Segmenter(encoder, RULE, protocol)
    assert (learner.seen, learner.size) == (32, 96)
    rng = np.random.default_rng(0)
    made = learner.make_transform(True)(ShapeSource("train", 1)[0], rng)
    assert made["image"].shape == (1, 32, 32)
    judged = learner.make_transform(False)(ShapeSource("train", 1)[0], rng)
    assert judged["image"].shape == (1, 96, 96)
    who = Candidate(subject_of(encoder, "m", "encoder", extraction()), encoder)
    outcome = protocol.measure(who, shape_task(12), 0, extraction())
    assert outcome.details["input_size"] == 32
    assert outcome.details["fitted_to"] == 96


def test_crops_need_a_pipeline_that_takes_them_and_old_results_are_found() -> None:
    for wrong in ({"augment": "dense"}, {"augment": "crop", "size": 128}):
        with pytest.raises(ConfigError, match="fit"):
            Segment(**{**QUICK, "fit": 96, **wrong})
    encoder = ImageEncoder("micro").eval()
    small = Segment(**{**QUICK, "size": 0, "fit": 16, "augment": "crop"})
    with pytest.raises(ConfigError, match="the side 32 of a crop or more"):
        Segmenter(encoder, RULE, small)
    subject = subject_of(encoder, "m", "encoder", extraction())
    # A setting that is not used is not in the key of what was stored without it.
    assert "fit" not in Segment(**QUICK).settings(subject, shape_task())
    crops = Segment(**{**QUICK, "fit": 96, "augment": "crop"})
    assert crops.settings(subject, shape_task())["fit"] == 96

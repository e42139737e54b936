"""Grounding: what is known comes out, in the frame of the image, whatever the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.evaluation.detection.test_detection import SquareSource, extraction
from vlp_zoo.bench.presets import read_preset
from vlp_zoo.errors import ConfigError, EncoderLoadError
from vlp_zoo.evaluation.features.extraction import fit_image
from vlp_zoo.evaluation.features.joint import JointEncoder
from vlp_zoo.evaluation.grounding.grounding import Ground
from vlp_zoo.evaluation.grounding.similarity_maps import shown_rectangle
from vlp_zoo.evaluation.protocol import Candidate, Outcome
from vlp_zoo.evaluation.results import ResultStore
from vlp_zoo.evaluation.subject import Subject
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.types import Box, Report

QUICK = Ground(replicates=20)


class BrightPlaces(nn.Module):
    """A joint space in which places resemble any phrase as much as they are bright.

    Args:
        sign: -1 makes them resemble it as much as they are dark.
        side: Side of the input; places are 4 x 4 pixels.
        resize: How the image becomes a square, by the words of an encoder's card.
    """

    def __init__(self, sign: float = 1.0, side: int = 64, resize: str = "pad") -> None:
        super().__init__()
        self.preprocessing = {
            "image_size": side,
            "resize": resize,
            "interpolation": "bilinear",
        }
        self.sign = sign
        self.sha256 = f"bright {sign} {side} {resize}"
        self.asked: list[str] = []

    def embed_images(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        # Another space: who compares this with places is wrong.
        return torch.tensor([[-1.0, 0.0]]).repeat(len(texts), 1)

    def embed_phrases(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        return torch.tensor([[1.0, 0.0]]).repeat(len(texts), 1)

    def embed_patches(self, images: Tensor) -> Tensor | None:
        light = functional.avg_pool2d(images.float().mean(1, keepdim=True) / 255, 4)
        cosine = self.sign * light
        return torch.cat([cosine, (1 - cosine**2).sqrt()], dim=1)


class Nowhere(BrightPlaces):
    """Aligns whole images only."""

    def embed_patches(self, images: Tensor) -> Tensor | None:
        return None


class Broken(BrightPlaces):
    """Yields what is no number."""

    def embed_patches(self, images: Tensor) -> Tensor | None:
        return torch.full((len(images), 2, 4, 4), float("nan"))


def task_of(val: int = 9, test: int = 24) -> Task:
    sizes = {"train": 3, "val": val, "test": test}
    sources = {split: SquareSource(split, n) for split, n in sizes.items()}
    gives = frozenset({"boxes", "reports"})
    return Task("squares", sources, gives, min_positives=1)


def candidate(joint: Any) -> Candidate:
    return Candidate(Subject("b", joint.sha256), nn.Identity(), (), joint)


def measure(
    joint: nn.Module, protocol: Ground = QUICK, task: Task | None = None, **how: Any
) -> Outcome:
    return protocol.measure(candidate(joint), task or task_of(), 0, extraction(**how))


def values(outcome: Outcome) -> dict[str, float]:
    return {m.metric: m.value for m in outcome.measures}


@pytest.fixture(scope="module")
def bright() -> Outcome:
    return measure(BrightPlaces())


def test_places_that_know_are_above_the_middle_of_the_image(bright: Outcome) -> None:
    found = values(bright)
    assert bright.measures[0].metric == Ground.headline == "signed_cnr"
    assert found["signed_cnr"] == found["absolute_cnr"] > 3
    assert found["pointing_game"] == 1
    assert found["pixel_auroc"] > 0.98
    assert found["pixel_ap"] > 0.9
    assert found["miou_tuned"] > found["miou"] > 0.3
    assert 0 < bright.details["threshold"] < 1
    # A square of about 18 x 18 in 64 x 48 pixels: what pointing anywhere reaches.
    assert 0.05 < found["uniform_pointing_game"] < 0.2
    assert found["centre_pixel_auroc"] < 0.9
    above = {m.metric: m for m in bright.measures}["signed_cnr_above_centre"]
    assert above.low is not None
    assert 0 < above.low <= above.value
    head = bright.measures[0]
    assert head.per_label == {"square": pytest.approx(head.value)}
    assert head.details["defined"] == bright.details["phrases"] == 16
    assert head.details["chance"] == max(0, found["centre_signed_cnr"])
    assert bright.n_train == 0


def test_an_inverted_space_is_seen_to_be_one(bright: Outcome) -> None:
    found, upright = values(measure(BrightPlaces(-1))), values(bright)
    assert found["signed_cnr"] == pytest.approx(-upright["signed_cnr"], rel=1e-5)
    assert found["absolute_cnr"] == pytest.approx(upright["absolute_cnr"], rel=1e-5)
    assert found["pointing_game"] == 0
    assert found["pixel_auroc"] == pytest.approx(1 - upright["pixel_auroc"])
    for name in ("centre_signed_cnr", "uniform_pointing_game"):
        assert found[name] == upright[name]


@pytest.mark.parametrize("size", [1, 7, 24])
def test_batches_change_nothing(bright: Outcome, size: int) -> None:
    found = measure(BrightPlaces(), batch_size=size)
    for name, column in found.cases.columns.items():
        if name not in ("finding", "phrase"):
            np.testing.assert_allclose(column, bright.cases.columns[name], atol=1e-6)


def test_loading_processes_change_nothing(bright: Outcome) -> None:
    found = measure(BrightPlaces(), num_workers=2, batch_size=5)
    assert values(found) == pytest.approx(values(bright), abs=1e-6)


def test_differences_are_paired_and_survive_storage(
    bright: Outcome, tmp_path: Path
) -> None:
    other = measure(BrightPlaces(-1))
    task, who = task_of(), candidate(BrightPlaces())
    store = ResultStore(tmp_path)
    store.add(QUICK.rows(bright, who, task, 0))
    cases = store.cases(store.read()[0])
    assert cases is not None
    gap, per_finding = QUICK.difference(cases, other.cases, {}, 0)
    assert gap.value == pytest.approx(2 * values(bright)["signed_cnr"], rel=1e-5)
    assert per_finding == {"square": pytest.approx(gap.value)}
    same, _ = QUICK.difference(cases, bright.cases, {}, 0)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert QUICK.difference(cases, other.cases, {"square": "few"}, 0)[1] == {}


@pytest.mark.parametrize("resize", ["pad", "squash"])
@pytest.mark.parametrize(("width", "height"), [(48, 64), (64, 48), (37, 91), (50, 50)])
def test_the_rectangle_undoes_the_geometry(
    width: int, height: int, resize: str
) -> None:
    card = {"image_size": 32, "resize": resize, "interpolation": "bilinear"}
    x1, y1, x2, y2 = shown_rectangle(width, height, card)
    image = np.zeros((height, width), np.uint8)
    image[:, width // 2 :] = 255
    seen = fit_image(image, card)[0]
    rows, columns = np.nonzero(seen > 127)
    # Where the right half begins and ends, brought back to the image.
    left = x1 + columns.min() / 32 * (x2 - x1)
    right = x1 + (columns.max() + 1) / 32 * (x2 - x1)
    assert left == pytest.approx(width // 2, abs=width / 20)
    assert right == pytest.approx(width, abs=1e-9)
    top, bottom = rows.min(), rows.max() + 1
    assert y1 + top / 32 * (y2 - y1) == pytest.approx(0, abs=1e-9)
    assert y1 + bottom / 32 * (y2 - y1) == pytest.approx(height, abs=1e-9)


def test_a_smaller_frame_gives_nearly_the_same(bright: Outcome) -> None:
    task = task_of()
    for source in task.splits.values():
        squares = cast(SquareSource, source)
        squares.studies[:] = [
            replace(
                study,
                image=np.kron(study.image, np.ones((4, 4), np.uint8)),
                boxes=tuple(
                    replace(b, xyxy=(4 * x1, 4 * y1, 4 * x2, 4 * y2))
                    for b in study.boxes
                    for x1, y1, x2, y2 in [b.xyxy]
                ),
            )
            for study in squares.studies
        ]
    small = values(measure(BrightPlaces(), replace(QUICK, longest_side=64), task))
    for name in ("pixel_auroc", "miou", "pointing_game"):
        assert small[name] == pytest.approx(values(bright)[name], abs=0.03)


def test_findings_count_alike_and_rare_ones_are_named() -> None:
    task = task_of()
    test = cast(SquareSource, task.splits["test"])
    # The last study's box is called otherwise, and lies where nothing is bright.
    dark = np.zeros((48, 64), np.uint8)
    dark[:8] = 200
    test.studies[-1] = replace(
        test.studies[-1], image=dark, boxes=(Box("ring", (9, 20, 30, 40), "lesion"),)
    )
    outcome = measure(BrightPlaces(), task=task)
    found = outcome.measures[0].per_label
    assert set(found) == {"ring", "square"}
    assert values(outcome)["pointing_game"] == pytest.approx(0.5)
    rare = measure(BrightPlaces(), task=replace(task, min_positives=2))
    assert rare.undefined == {"ring": "1 phrases in test"}
    assert values(rare)["pointing_game"] == 1


def test_what_is_said_of_a_finding_and_of_a_report() -> None:
    joint = BrightPlaces()
    words = (("square", "a bright square"),)
    measure(joint, replace(QUICK, templates=("See {}.", "{}"), words=words))
    assert set(joint.asked) == {"See a bright square.", "a bright square"}
    task, joint = task_of(), BrightPlaces()
    for source in task.splits.values():
        squares = cast(SquareSource, source)
        squares.studies[:] = [
            replace(study, report=Report(f"Phrase {i % 2}."))
            for i, study in enumerate(squares.studies)
        ]
    outcome = measure(joint, replace(QUICK, phrase="report"), task)
    assert set(joint.asked) == {"Phrase 0.", "Phrase 1."}
    assert set(outcome.cases.columns["phrase"]) == {"Phrase 0.", "Phrase 1."}
    assert set(outcome.cases.columns["finding"]) == {"square"}
    assert values(outcome)["pointing_game"] == 1


def test_what_cannot_be_is_refused() -> None:
    task = task_of()
    assert QUICK.refusal(candidate(BrightPlaces()), task) is None
    assert "no places" in str(QUICK.refusal(candidate(Nowhere()), task))
    bare = replace(candidate(BrightPlaces()), joint=None)
    assert "no space shared" in str(QUICK.refusal(bare, task))
    labelled = replace(task, gives=frozenset({"reports"}))
    assert "no boxes" in str(QUICK.refusal(candidate(BrightPlaces()), labelled))
    with pytest.raises(ConfigError, match="finding or report"):
        Ground(phrase="title")
    with pytest.raises(ConfigError, match="sentences with"):
        Ground(templates=("There it is.",))
    with pytest.raises(EncoderLoadError, match="finite similarities"):
        measure(Broken())
    for split in ("val", "test"):
        squares = SquareSource(split, 9)
        squares.studies = [replace(study, boxes=()) for study in squares.studies]
        without = replace(task, splits={**task.splits, split: squares})
        if split == "test":
            with pytest.raises(ConfigError, match="box with a phrase"):
                measure(BrightPlaces(), task=without)
        else:
            outcome = measure(BrightPlaces(), task=without)
            assert outcome.details["threshold"] is None
            assert np.isnan(values(outcome)["miou_tuned"])


@pytest.mark.parametrize("name", ["vlp-grounding", "vlp-grounding-phrases"])
def test_presets_are_ready(name: str) -> None:
    protocol = read_preset(name).protocol
    assert isinstance(protocol, Ground)
    assert protocol.phrase == ("report" if name.endswith("phrases") else "finding")


def test_the_stub_is_what_evaluation_expects() -> None:
    joint: JointEncoder = BrightPlaces()
    assert joint.sha256

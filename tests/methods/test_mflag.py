from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.methods.paired import (
    REPORTS,
    assert_each_image_finds_its_text,
    assert_every_parameter_learns,
    assert_two_processes_equal_one,
    batch_of,
    study,
    total,
    train_on,
)
from vlp_zoo.encoders.frozen_text import CorpusText
from vlp_zoo.errors import ConfigError
from vlp_zoo.loading import collate_examples
from vlp_zoo.methods.mflag.losses import alignment, orthogonality
from vlp_zoo.methods.mflag.mflag import MFLAG
from vlp_zoo.types import Report


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))


def build(**arguments: Any) -> MFLAG:
    settings = {
        "image_encoder": "resnet10t",
        "encoder_sizes": {"channels": [8, 8, 16, 16], "stem_width": 8},
        "image_size": 32,
        "text_model": "corpus",
        "text_width": 12,
        "joint_width": 16,
        "head_hidden": 24,
        "rotation": [-10, 10],
    }
    module = MFLAG(**{**settings, **arguments})
    module.frozen_text = CorpusText.learn(REPORTS, 12)
    module.configure_model()
    return module


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"statistics": "local", "centre": True},
        {"orthogonality_weight": 0},
        {"image_encoder": "micro", "encoder_sizes": {}},
    ],
)
def test_every_trainable_parameter_gets_a_gradient(options: dict[str, Any]) -> None:
    module = build(**options).train()
    assert_every_parameter_learns(module, batch_of(module))
    # The text encoder is no part of the module.
    assert all(
        name.startswith(("image_encoder.", "image_head.", "text_head."))
        for name in module.state_dict()
    )


@pytest.mark.slow
def test_a_few_steps_on_one_batch_lower_both_losses_and_pairs_find_each_other() -> None:
    torch.manual_seed(0)
    # As many features as the batch can make orthogonal.
    sizes = {"channels": [8, 8, 8, 4], "stem_width": 8}
    module = build(encoder_sizes=sizes).train()
    batch = batch_of(module)
    before = {name: float(v.detach()) for name, v in module.losses(batch).items()}
    train_on(module, batch, steps=60, rate=3e-3)
    after = {name: float(v.detach()) for name, v in module.losses(batch).items()}
    assert after["orthogonality"] < 0.7 * before["orthogonality"]
    assert after["alignment"] < 0.5 * before["alignment"]
    with torch.no_grad():
        # Running statistics catch up with the weights.
        for _ in range(40):
            module.losses(batch)
        module.eval()
        gains = dict(module.gains(batch, module.losses(batch)))
    assert float(gains["image_gain/alignment"]) > 0.05
    assert_each_image_finds_its_text(module, batch, batch["report_text"])


@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
@pytest.mark.parametrize("centre", [False, True])
def test_orthogonality_by_a_loop(shape: tuple[int, int], centre: bool) -> None:
    torch.manual_seed(1)
    features = torch.randn(shape, dtype=torch.float64)
    rows = features - features.mean(0) if centre else features
    wanted = 0.0
    for i in range(shape[1]):
        for j in range(shape[1]):
            entry = float((rows[:, i] * rows[:, j]).sum()) / 7
            wanted += 0.5 * ((entry - 1) ** 2 if i == j else 0.2 * entry**2)
    found = orthogonality(features, 0.2, divide_by=7, centre=centre)
    assert float(found) == pytest.approx(wanted, rel=1e-9)


def test_alignment_is_the_squared_distance_both_ways() -> None:
    torch.manual_seed(2)
    images, texts = torch.randn(2, 4, 6, dtype=torch.float64)
    units = [rows / rows.norm(dim=1, keepdim=True) for rows in (images, texts)]
    distances = (units[0] - units[1]).square().sum(1)
    assert torch.allclose(alignment(images, texts), 2 * distances.mean())
    some = torch.tensor([True, False, True, False])
    found = alignment(images, texts, some)
    assert torch.allclose(found, 2 * distances[some].mean())
    assert float(alignment(images, texts, ~some & some)) == 0.0
    images[0] = 0
    assert float(alignment(images[:1], texts[:1])) == 4.0


def test_studies_without_a_report_count_in_the_image_space_only() -> None:
    module = build().train()
    transform = module.make_transform(False)
    studies = [study(i) for i in range(4)]
    studies[3] = replace(studies[3], report=Report(" "))
    batch: Any = collate_examples(
        [transform(s, np.random.default_rng(0)) for s in studies]
    )
    assert batch["has_report"].tolist() == [True, True, True, False]
    run = module._read(batch)
    found = module.objective(run, batch["has_report"])
    wanted = alignment(run.image[:3], run.text[:3])
    assert torch.allclose(found["alignment"], wanted)
    assert torch.allclose(found["orthogonality"], orthogonality(run.pooled))


def test_the_impression_is_read_before_the_findings() -> None:
    report = Report(
        "FINDINGS: Clear. IMPRESSION: Normal.", findings="Clear.", impression="Normal."
    )
    transform = build().make_transform(False)
    assert transform.text(report) == "Normal. Clear."
    assert build(separator="").make_transform(False).text(report) == "Normal.Clear."
    assert transform.text(Report("x", findings="Clear.")) == "Clear."
    assert transform.text(Report("x", impression="Normal.")) == "Normal."
    assert transform.text(Report("Heart is large.")) == "Heart is large."


def test_training_views_turn_to_one_side_and_are_never_mirrored() -> None:
    module = build(
        rotation=[90, 90], perspective=0, autocontrast=0, crop_scale=1.0, image_size=48
    )
    image = np.zeros((48, 48), np.uint8)
    image[:24, :24], image[24:, 24:] = 255, 100
    one = replace(study(0), image=image)
    turned, plain = (
        module.make_transform(train)(one, np.random.default_rng(0))["image"][0]
        for train in (True, False)
    )
    # A quarter anticlockwise: what was above on the right is above on the left.
    wanted = np.rot90(plain)
    assert np.abs(turned.astype(int) - wanted.astype(int)).mean() < 8
    assert build().make_transform(True).variation.horizontal_flip == 0


@pytest.mark.parametrize("centre", [False, True])
def test_two_processes_equal_one(centre: bool, tmp_path: Path) -> None:
    module = build(centre=centre).double().train()
    batch = batch_of(module)
    # Nobody has a report in one of the processes.
    batch["has_report"] = torch.tensor([True, True, False, False])
    batch["image"] = batch["image"].double() / 255
    (tmp_path / "meet").mkdir()
    assert_two_processes_equal_one(module, batch, tmp_path / "meet")


def test_statistics_of_one_process_are_plain_batch_norm() -> None:
    module = build(statistics="local")
    assert not module.options.compares_processes
    kinds = {type(m) for m in module.image_head if isinstance(m, nn.BatchNorm1d)}
    assert kinds == {nn.BatchNorm1d}
    assert build().options.compares_processes


@pytest.mark.parametrize(
    "wrong",
    [
        {"statistics": "some"},
        {"rotation": [10]},
        {"rotation": [10, -10]},
        {"orthogonality_weight": -1},
        {"orthogonality_weight": 0, "alignment_weight": 0},
        {"crop_scale": 0.0},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        MFLAG(**wrong)


def test_pictures_show_similarities_and_products() -> None:
    module = build().eval()
    batch = batch_of(module, count=3)
    with torch.no_grad():
        shown = module.pictures(batch)
    assert shown["images"].shape == (3, 32, 96)  # type: ignore[union-attr]
    assert shown["similarity"].shape == (3, 72, 72)  # type: ignore[union-attr]
    assert shown["products"].shape[1] == shown["products"].shape[2]  # type: ignore[union-attr]
    assert REPORTS[2] in str(shown["reports"])
    assert torch.isfinite(total(module, batch))

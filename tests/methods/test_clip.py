from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.methods.paired import (
    REPORTS,
    TEXT,
    assert_each_image_finds_its_text,
    assert_every_parameter_learns,
    assert_two_processes_equal_one,
    batch_of,
    prepared,
    total,
    train_on,
)
from vlp_zoo.encoders.frozen_text import load_frozen_text
from vlp_zoo.errors import ConfigError
from vlp_zoo.losses import info_nce, multi_positive_targets, sigmoid_contrast
from vlp_zoo.methods.clip import CLIP, CLIPOptions
from vlp_zoo.methods.stored import load_method
from vlp_zoo.types import Report, Study

TINY: dict[str, Any] = {
    "image_encoder": "tiny_resnet",
    "image_size": 48,
    **TEXT,
    "joint_width": 16,
    "head_width": 24,
}
KINDS: list[dict[str, Any]] = [
    {},
    {"image_encoder": "micro", "image_size": 32, "learn_temperature": True},
    {"head_width": 0, "multi_positive": False, "sentence_dropout": 0.3},
    {"text_model": "corpus", "text_width": 12},
    {"loss": "sigmoid", "learn_temperature": True},
    {"image_image_weight": 1.0, "text_text_weight": 0.5},
    {"loss": "sigmoid", "image_image_weight": 1.0, "multi_positive": False},
]


STUDY = Study(
    image=np.zeros((40, 40), np.uint8),
    uid="a",
    patient_id="a",
    study_id="a",
    report=Report("", findings="Clear.", impression="Normal."),
)


def build(**arguments: Any) -> CLIP:
    module = CLIP(**{**TINY, **arguments})
    if module.options.text_model == "corpus":
        module.frozen_text = load_frozen_text(
            "corpus", lambda: REPORTS * 2, width=module.options.text_width
        )
    made: CLIP = prepared(module)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_every_trainable_parameter_gets_a_gradient(kind: dict[str, Any]) -> None:
    module = build(**kind).train()
    assert_every_parameter_learns(module, batch_of(module))


@pytest.mark.slow
def test_it_learns_one_batch_by_heart_and_embeds_accordingly() -> None:
    torch.manual_seed(0)
    module = build(jitter=0.0, image_encoder="micro", image_size=32).train()
    batch = batch_of(module, count=8, train=False)
    train_on(module, batch, steps=60, rate=3e-3)
    module.eval()
    with torch.no_grad():
        assert float(total(module, batch)) < 0.3
        gains = dict(module.gains(batch, module.losses(batch)))
    assert set(gains) == {"image_gain/image_to_text", "image_gain/text_to_image"}
    assert min(gains.values()) > 0.5
    assert_each_image_finds_its_text(module, batch)


def test_fixed_features_tell_the_reports_apart() -> None:
    module = build(**KINDS[3], image_encoder="micro", image_size=32).train()
    batch = batch_of(module, count=8, train=False)
    train_on(module, batch, steps=60, rate=3e-3)
    assert_each_image_finds_its_text(module.eval(), batch)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[1], *KINDS[3:]])
def test_two_processes_equal_one(tmp_path: Path, kind: dict[str, Any]) -> None:
    module = build(**kind).train()
    batch = batch_of(module, count=8)
    batch["report_key"][6] = batch["report_key"][1]
    assert_two_processes_equal_one(module, batch, tmp_path)


def test_equal_reports_are_not_negatives() -> None:
    module = build(image_weight=1.0).eval()
    batch = batch_of(module, train=False)
    batch["report_key"][:] = 7
    with torch.no_grad():
        images, texts = module.embed(batch)
        found = module.losses(batch)["image_to_text"]
        similar = torch.nn.functional.normalize(images, dim=1) @ (
            torch.nn.functional.normalize(texts, dim=1).T
        )
    assert torch.allclose(found, -(similar / 0.1).log_softmax(1).mean(), rtol=1e-5)


def test_the_temperature_starts_where_told_and_has_a_floor() -> None:
    assert build(temperature=0.07).temperature == 0.07
    module = build(temperature=0.07, learn_temperature=True)
    assert isinstance(module.temperature, Tensor)
    assert float(module.temperature.detach()) == pytest.approx(0.07)
    with torch.no_grad():
        module.log_scale.fill_(9.0)
        assert float(module.temperature) == pytest.approx(0.01)


@pytest.mark.parametrize("text_model", [None, "corpus"])
def test_a_checkpoint_embeds_without_data(
    tmp_path: Path, text_model: str | None
) -> None:
    # Fewer words than the vocabulary asked for, as in any small corpus.
    module = build(text_model=text_model, text_width=24, vocab_size=1000).eval()
    assert module.vocab_size < 1000
    trainer = pl.Trainer(logger=False, accelerator="cpu", enable_progress_bar=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = load_method(tmp_path / "a.ckpt")
    with torch.no_grad():
        assert torch.equal(again.embed_texts(REPORTS), module.embed_texts(REPORTS))


def test_pictures() -> None:
    module = build().eval()
    with torch.no_grad():
        shown = module.pictures(batch_of(module))
    assert isinstance(shown["images"], Tensor)
    assert shown["images"].shape == (3, 48, 4 * 48)
    assert isinstance(shown["similarity"], Tensor)
    assert shown["similarity"].shape == (3, 96, 96)
    for picture in (shown["images"], shown["similarity"]):
        assert 0 <= float(picture.min()) <= float(picture.max()) <= 1
    assert isinstance(shown["reports"], str)
    assert REPORTS[0] in shown["reports"]


def test_a_pretrained_text_model_brings_its_vocabulary() -> None:
    assert CLIPOptions(text_model="some/bert").tokenizer_name == "some/bert"
    assert (
        CLIPOptions(text_model="some/bert", tokenizer="v.txt").tokenizer_name == "v.txt"
    )
    assert CLIPOptions().tokenizer_name == "corpus"


@pytest.mark.parametrize("arguments", [{"temperature": 0.0}, {"image_weight": 1.5}])
def test_impossible_settings_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        CLIP(**arguments)


def test_the_sigmoid_loss_is_that_of_its_equation() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    scale, bias = 7.0, -3.0
    wanted = 0.0
    for i in range(5):
        for j in range(5):
            cosine = torch.cosine_similarity(a[i], b[j], dim=0)
            sign = 1 if i == j else -1
            wanted += float(torch.log(1 + torch.exp(-sign * (scale * cosine + bias))))
    assert float(sigmoid_contrast(a, b, scale, bias)) == pytest.approx(wanted / 5)
    # All pairs right: no negative is left.
    right = sigmoid_contrast(a, b, scale, bias, targets=torch.full((5, 5), 0.2))
    cosines = functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T
    expected = torch.log(1 + torch.exp(-(scale * cosines + bias))).sum() / 5
    torch.testing.assert_close(right, expected)


@pytest.mark.slow
def test_the_sigmoid_loss_learns_a_batch_by_heart() -> None:
    torch.manual_seed(0)
    module = build(
        loss="sigmoid",
        learn_temperature=True,
        jitter=0.0,
        image_encoder="micro",
        image_size=32,
    ).train()
    batch = batch_of(module, count=8, train=False)
    train_on(module, batch, steps=120, rate=3e-3)
    module.eval()
    with torch.no_grad():
        assert set(module.losses(batch)) == {"sigmoid"}
        similar = module.embed_images(batch["image"]) @ module.embed_texts(REPORTS).T
    assert similar.argmax(1).tolist() == list(range(8))


def test_two_looks_are_compared_with_each_other() -> None:
    module = build(image_image_weight=1.0, text_text_weight=0.5).eval()
    batch = batch_of(module)
    assert not torch.equal(batch["image"], batch["second_image"])
    with torch.no_grad():
        terms = module.losses(batch)
        images, texts = module.looks(batch)
        targets = multi_positive_targets(batch["report_key"])
        one, other = images
        both = info_nce(one, other, module.temperature, targets=targets)
        found = [
            info_nce(image, text, module.temperature, targets=targets)[0]
            for image in images
            for text in texts
        ]
    assert set(terms) == {"image_to_text", "text_to_image", "image_image", "text_text"}
    torch.testing.assert_close(terms["image_image"], torch.stack(both).mean())
    torch.testing.assert_close(terms["image_to_text"], 0.75 * torch.stack(found).mean())


def test_a_report_is_read_in_its_two_halves() -> None:
    module = build(text_text_weight=1.0)
    example = module.make_transform(False)(STUDY, np.random.default_rng(0))
    assert (example["report_text"], example["second_text"]) == ("Clear.", "Normal.")
    whole = build().make_transform(False)(STUDY, np.random.default_rng(0))
    assert example["report_key"] == whole["report_key"]
    assert whole["report_text"] == "Clear. Normal."


def test_labels_stand_in_for_a_report_that_is_not_there() -> None:
    module = build(label_prompts=True)
    module.label_names = ("Edema", "Lung Mass", "Fracture")
    labels = np.array([0, 1, np.nan], np.float32)
    transform, rng = module.make_transform(False), np.random.default_rng(0)
    bare = replace(STUDY, report=Report(""), labels=labels)
    said = transform(bare, rng)["report_text"]
    assert said == "There is no edema. There is lung mass."
    assert transform(STUDY, rng)["report_text"] == "Clear. Normal."
    assert not module.reads_reports
    assert build().reads_reports


def test_studies_of_which_nothing_is_known_are_not_drawn() -> None:
    source: Any = SimpleNamespace(
        labels=np.array([[np.nan], [1.0], [np.nan]], np.float32),
        reports=lambda: iter([Report(""), Report(""), Report("Clear.")]),
    )
    draw = build(label_prompts=True).training_draw(source)
    assert draw is not None
    assert draw.indices.tolist() == [1, 2]
    assert build().training_draw(source) is None


def test_both_views_of_another_patient_are_shown_to_a_text() -> None:
    torch.manual_seed(0)
    module = build(image_image_weight=1.0, multi_positive=False).eval()
    batch = batch_of(module)
    with torch.no_grad():
        terms = module.losses(batch)
        gains = dict(module.gains(batch, terms))
        views = ("image", "second_image")
        swapped: Any = {**batch, **{name: batch[name].roll(1, 0) for name in views}}
        others = module.losses(swapped)
    expected = others["image_to_text"] - terms["image_to_text"]
    torch.testing.assert_close(gains["image_gain/image_to_text"], expected)

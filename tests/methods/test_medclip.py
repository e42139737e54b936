from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.methods.paired import (
    REPORTS,
    TEXT,
    assert_every_parameter_learns,
    assert_two_processes_equal_one,
    batch_of,
    prepared,
    study,
    total,
    train_on,
)
from vlp_zoo.encoders.frozen_text import load_frozen_text
from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.medclip.medclip import MedCLIP, label_targets
from vlp_zoo.methods.medclip.sentences import (
    CLASSES,
    label_row,
    released_sentences,
    sentences_of,
    varied,
)
from vlp_zoo.methods.paired.layers import LayersTower
from vlp_zoo.types import Report


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))


def build(**arguments: Any) -> MedCLIP:
    settings = {
        "image_encoder": "tiny_resnet",
        "image_size": 48,
        **TEXT,
        "text_depth": 3,
        "joint_width": 16,
    }
    module = MedCLIP(**{**settings, **arguments})
    if arguments.get("text_model") == "corpus":
        width = module.options.text_width
        module.frozen_text = load_frozen_text("corpus", lambda: REPORTS, None, width)
    found: MedCLIP = prepared(module)
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"similarity": "dot", "pool_padding": True, "splitter": "released"},
        {"similarity": "pairs", "image_encoder": "micro", "image_size": 32},
        {"second_weight": 0.0, "negatives": "local"},
        {"text_model": "corpus", "text_width": 12},
    ],
)
def test_every_trainable_parameter_gets_a_gradient(options: dict[str, Any]) -> None:
    module = build(**options).train()
    batch = batch_of(module)
    assert batch["labels_of_image"].shape == (4, 14)
    assert set(module.losses(batch)) == {"image_to_text", "text_to_image"}
    assert_every_parameter_learns(module, batch)


@pytest.mark.slow
def test_it_learns_one_batch_and_studies_of_other_findings_are_told_apart() -> None:
    torch.manual_seed(0)
    module = build().train()
    batch = batch_of(module, train=False)
    labels = batch["labels_of_image"], batch["labels_of_text"]
    start = float(total(module, batch).detach())
    train_on(module, batch, steps=60, rate=3e-3)
    # No distribution costs less than the targets themselves.
    least = [
        -(rows * rows.log()).sum(1).mean()
        for rows in label_targets(*labels, gather=False)
    ]
    floor = float(torch.stack(least).mean())
    end = float(total(module, batch).detach())
    assert end - floor < 0.2 * (start - floor)
    module.eval()
    with torch.no_grad():
        images = module.embed_images(batch["image"])
        texts = module.embed_texts(batch["report_text"])
    assert torch.allclose(images.norm(dim=1), torch.ones(4), atol=1e-5)
    assert torch.allclose(texts.norm(dim=1), torch.ones(4), atol=1e-5)


def test_targets_by_a_loop() -> None:
    generator = torch.Generator().manual_seed(3)
    images, texts = (
        torch.randint(-1, 2, (count, 14), generator=generator).float()
        for count in (3, 5)
    )
    texts[4] = 0
    for kind in ("cosine", "dot"):
        forth, back = label_targets(images, texts, kind)
        for i in range(3):
            scores = []
            for j in range(5):
                product = float(images[i] @ texts[j])
                size = float(images[i].norm() * texts[j].norm())
                scores.append(product if kind == "dot" else product / max(size, 1e-12))
            wanted = torch.tensor(scores).softmax(0)
            assert torch.allclose(forth[i], wanted, atol=1e-6)
        assert back.shape == (5, 3)
        assert torch.allclose(back[4], torch.full((3,), 1 / 3))
        assert torch.allclose(back.sum(1), torch.ones(5))


def test_the_loss_is_the_mean_of_both_ways_and_both_sentences() -> None:
    module = build(similarity="dot", negatives="local").eval()
    torch.manual_seed(4)
    images, texts, seconds = torch.randn(3, 5, 16)
    labels = (
        torch.randint(-1, 2, (5, 14)).float(),
        torch.randint(-1, 2, (5, 14)).float(),
    )
    found = torch.stack(
        list(module.objective(images, [texts, seconds], labels).values())
    ).sum()

    def cross(a: Tensor, b: Tensor, targets: Tensor) -> Tensor:
        a, b = (functional.normalize(x, dim=1) for x in (a, b))
        logits = module.log_scale.exp() * a @ b.T
        return -(targets * logits.log_softmax(1)).sum(1).mean()

    forth, back = label_targets(*labels, "dot")
    wanted = torch.stack(
        [
            cross(a, b, targets)
            for text in (texts, seconds)
            for a, b, targets in ((images, text, forth), (text, images, back))
        ]
    ).mean()
    assert torch.allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("padding", [False, True])
def test_a_sentence_is_the_mean_of_three_layers(padding: bool) -> None:
    module = build().eval()
    tower: Any = module.text_tower
    ids, mask = (
        torch.from_numpy(field)
        for field in module.known_tokenizer().encode_batch(list(REPORTS[:2]), 48)
    )
    assert int(mask[0].sum()) != int(mask[1].sum())
    encoder = tower.encoder
    hidden = encoder.embeddings(ids)
    states = []
    for layer in encoder.bert.encoder.layer:
        states.append(hidden := layer(hidden, attention_mask=mask[:, None, None]))
        states[-1] = hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    tokens = torch.stack([states[0], states[1], states[2]]).mean(0)
    rows = [
        row.mean(0) if padding else row[keep].mean(0)
        for row, keep in zip(tokens, mask, strict=True)
    ]
    found = LayersTower(encoder, padding).read(ids, mask)
    assert torch.allclose(found.pooled, torch.stack(rows), atol=1e-5)


def test_the_scale_is_held_and_its_gradient_is_not_stopped() -> None:
    module = build().train()
    with torch.no_grad():
        module.log_scale.fill_(6.0)
    scale = module.scale()
    assert float(scale.detach()) == pytest.approx(100, rel=1e-3)
    assert float(module.log_scale.detach()) == pytest.approx(4.6052)
    (slope,) = torch.autograd.grad(scale, module.log_scale)
    assert float(slope) == pytest.approx(100, rel=1e-3)
    module.eval()
    with torch.no_grad():
        module.log_scale.fill_(-1.0)
    assert float(module.scale().detach()) == 1.0
    assert float(module.log_scale.detach()) == -1.0


def test_sentences_are_drawn_labelled_and_varied() -> None:
    one = replace(study(0), report=Report(f"{REPORTS[4]} {REPORTS[0]} Stable."))
    module = build()
    train, plain = module.make_transform(True), module.make_transform(False)
    drawn = {
        train(one, np.random.default_rng(seed))["report_text"] for seed in range(40)
    }
    usable = sentences_of(one.report.body)
    assert drawn == set(usable)
    assert len(usable) == 2
    fields = plain(one, np.random.default_rng(0))
    assert fields["report_text"] == fields["second_text"] == usable[0]
    assert np.array_equal(fields["input_ids"], fields["second_ids"])
    assert np.array_equal(fields["labels_of_text"], label_row(usable[0]))
    said = dict(zip(CLASSES, fields["labels_of_image"].tolist(), strict=True))
    assert said["Pneumothorax"] == -1.0
    assert said["Pneumonia"] == 1.0
    assert said["Fracture"] == 0.0
    # Nothing is long enough: the report is read whole.
    short = plain(replace(one, report=Report("Stable.")), np.random.default_rng(0))
    assert short["report_text"] == "Stable."


def test_varied_sentences_have_the_same_words_or_fewer() -> None:
    sentence = "a b c d e f g h i j k l"
    rng = np.random.default_rng(0)
    found = [varied(sentence, rng).split() for _ in range(300)]
    words = sentence.split()
    swapped = [f for f in found if len(f) == 12 and f != words]
    assert all(sorted(f) == words for f in swapped)
    assert all(sum(a != b for a, b in zip(f, words, strict=True)) == 2 for f in swapped)
    shorter = [f for f in found if len(f) < 12]
    assert all(f == [w for w in words if w in f] for f in shorter)
    assert min(len(swapped), len(shorter)) > 90
    assert all(varied("no edema", rng) for _ in range(100))
    assert varied("edema", rng) == "edema"


def test_the_released_splitter_loses_what_it_loses() -> None:
    text = "10.Focal opacity in the right base. Tip at T4.5. Unchanged"
    assert released_sentences(text) == ["ocal opacity in the right base"]
    assert sentences_of(text)[0] == "Focal opacity in the right base."


@pytest.mark.slow
@pytest.mark.parametrize("similarity", ["cosine", "pairs"])
def test_two_processes_equal_one(similarity: str, tmp_path: Path) -> None:
    module = build(similarity=similarity).double().train()
    batch = batch_of(module)
    batch["image"] = batch["image"].double() / 255
    (tmp_path / "meet").mkdir()
    assert_two_processes_equal_one(module, batch, tmp_path / "meet")


@pytest.mark.parametrize(
    "wrong",
    [
        {"similarity": "some"},
        {"splitter": "none"},
        {"negatives": "all"},
        {"temperature": 0.0},
        {"second_weight": -1.0},
        {"text_depth": 1},
        {"crop_scale": 0.0},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        MedCLIP(**wrong)


def test_pictures_show_agreement_and_similarity() -> None:
    module = build().eval()
    with torch.no_grad():
        shown = module.pictures(batch_of(module, count=3))
    for name in ("agreement", "similarity"):
        assert shown[name].shape == (3, 72, 72)  # type: ignore[union-attr]
    assert "pleural effusion" in str(shown["sentences"])

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
    study,
    train_on,
)
from vlp_zoo.errors import ConfigError
from vlp_zoo.loading import collate_examples
from vlp_zoo.methods.gloria import losses
from vlp_zoo.methods.gloria.gloria import GLoRIA
from vlp_zoo.methods.gloria.losses import (
    Scales,
    Words,
    local_loss,
    match,
    prompt_scores,
    word_attention,
)
from vlp_zoo.methods.gloria.transform import caption_sentences
from vlp_zoo.types import Report

RESNET = {"image_encoder": "tiny_resnet", "image_size": 48}


def build(**arguments: Any) -> GLoRIA:
    settings: dict[str, Any] = {
        "image_encoder": "micro",
        "image_size": 32,
        **TEXT,
        "text_positions": 48,
        "report_text": "body",
        "caption": "report",
    }
    module: GLoRIA = prepared(GLoRIA(**{**settings, **arguments}))
    return module


def features(images: int = 3, texts: int = 4) -> tuple[Tensor, Words]:
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(images, 6, 5, generator=generator, dtype=torch.float64)
    words = torch.randn(texts, 7, 5, generator=generator, dtype=torch.float64)
    return places, Words(words, torch.tensor([7, 1, 3, 4])[:texts])


def by_loops(places: Tensor, words: Words, scales: Scales, pool: str) -> Tensor:
    """The score of each pair as the paper's formulas have it."""
    scores = torch.zeros(len(places), len(words.counts), dtype=places.dtype)
    for i, image in enumerate(places):
        for j, count in enumerate(words.counts.tolist()):
            text = words.features[j, :count]
            shares = (image @ text.T).softmax(1)
            seen = (scales.attention * shares).softmax(0).T @ image
            cosines = scales.words * functional.cosine_similarity(text, seen, dim=1)
            scores[i, j] = {
                "sum": cosines.exp().sum().log(),
                "mean": cosines.exp().mean().log(),
                "max": cosines.max(),
            }[pool]
    return scores


@pytest.mark.parametrize("pool", ["sum", "mean", "max"])
@pytest.mark.parametrize("values", [2**24, 100, 1])
def test_all_pairs_at_once_or_in_parts_are_the_pairs_one_by_one(
    pool: str, values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "VALUES", values)
    places, words = features()
    scales = Scales(4.0, 5.0, 10.0)
    leaves = [places.requires_grad_(), words.features.requires_grad_()]
    found = match(places, words, scales, pool)
    wanted = by_loops(places, words, scales, pool)
    assert torch.allclose(found, wanted, atol=1e-10)
    chosen = torch.arange(12, dtype=torch.float64).view(3, 4).cos()
    for one, other in zip(
        torch.autograd.grad((found * chosen).sum(), leaves),
        torch.autograd.grad((wanted * chosen).sum(), leaves),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-9)


def test_parts_keep_less_than_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(4, 50, 8, generator=generator, requires_grad=True)
    counts = torch.full((16,), 12)
    words = Words(torch.randn(16, 12, 8, generator=generator), counts)
    kept = []
    for values in (2**24, 4 * 50 * 12):
        monkeypatch.setattr(losses, "VALUES", values)
        # Several parts keep the same memory.
        held: dict[int, int] = {}

        def keep(tensor: Tensor, held: dict[int, int] = held) -> Tensor:
            memory = tensor.untyped_storage()
            held[memory.data_ptr()] = memory.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            match(places, words, Scales(4.0, 5.0, 10.0))
        kept.append(sum(held.values()))
    assert kept[1] < kept[0] / 4


def test_places_beyond_the_words_that_count_do_not_matter() -> None:
    places, words = features(4)
    scales = Scales(4.0, 5.0, 10.0)
    wanted = local_loss(places, words, scales)
    longer = functional.pad(words.features, (0, 0, 0, 3), value=9.0)
    for features_ in (longer, words.features[:, : int(words.counts.max())]):
        found = local_loss(places, Words(features_, words.counts), scales)
        assert torch.allclose(torch.stack(found), torch.stack(wanted))
    attention = word_attention(torch.randn(2, 7, 6), torch.arange(7) < 3, 4.0)
    assert torch.allclose(attention.sum(-1), torch.ones(2, 7))


def test_equal_captions_are_positives_only_if_asked_for() -> None:
    texts = [0, 1, 0, 4]
    found = {}
    for multi in (False, True):
        # Equal captions of equal features have equal scores, whatever the targets.
        module = build(multi_positive=multi, text_dropout=0.5).train()
        transform = module.make_transform(False)
        batch: Any = collate_examples(
            [
                transform(
                    replace(study(i), report=Report(REPORTS[text])),
                    np.random.default_rng(0),
                )
                for i, text in enumerate(texts)
            ]
        )
        assert batch["report_key"][0] == batch["report_key"][2]
        with torch.no_grad():
            torch.manual_seed(0)
            found[multi] = module.losses(batch)
            torch.manual_seed(0)
            run = module.run(batch)
        logits = 10 * functional.normalize(run.image) @ functional.normalize(run.text).T
        targets = torch.eye(4)
        if multi:
            targets[0, [0, 2]] = targets[2, [0, 2]] = 0.5
        wanted = sum(
            -(targets * x.log_softmax(1)).sum(1).mean() for x in (logits, logits.T)
        )
        assert float(found[multi]["global"]) == pytest.approx(float(wanted), rel=1e-5)
    for name, value in found[True].items():
        assert float(value) != pytest.approx(float(found[False][name]), rel=1e-4)


@pytest.mark.parametrize(
    "kind",
    [
        {},
        RESNET,
        {**RESNET, "image_size": 64, "crop_size": 48},
        {"local_weight": 0.0},
        {"global_weight": 0.0},
        {**RESNET, "global_weight": 0.0},
        {"text_scale": "unit", "pool": "mean", "multi_positive": True},
        {"text_depth": 5, "text_scale": "mean"},
        {"count_unknown": False, "sentences": "official", "negatives": "local"},
    ],
)
def test_every_trainable_parameter_gets_a_gradient(kind: dict[str, Any]) -> None:
    module = build(**kind).train()
    batch = batch_of(module)
    assert_every_parameter_learns(module, batch)
    local = bool(kind.get("local_weight", 1.0))
    assert list(module.losses(batch)) == (["local"] if local else []) + ["global"]
    assert all(p.requires_grad for p in module.parameters())


def test_states_are_those_of_the_last_layers_with_the_embeddings() -> None:
    module = build(text_depth=2).eval()
    batch = batch_of(module)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad():
        found = module.encode_pieces(ids, mask)
        outputs = module.text_encoder.bert(
            ids, attention_mask=mask.long(), output_hidden_states=True
        )
        deep = build(text_depth=6).eval()
        deeper = deep.encode_pieces(ids, mask)
        more = deep.text_encoder.bert(
            ids, attention_mask=mask.long(), output_hidden_states=True
        )
    length = int(mask.sum(1).max())
    real = mask[:, :length, None]
    for ours, states in ((found, outputs), (deeper, more)):
        wanted = torch.stack(states.hidden_states[-4:]).sum(0)[:, :length]
        assert torch.allclose(ours * real, wanted * real, atol=1e-4)
    assert len(outputs.hidden_states) == 3


def test_words_that_the_vocabulary_lacks_count_or_cut_the_caption() -> None:
    module = build()
    transform = module.make_transform(True)
    text = ["no 字 edema 字"]
    fields = transform.tokens(text)
    assert (fields["input_ids"] == module.known_tokenizer().unk_id).sum() == 2
    assert fields["word_count"] == 5
    cut = build(count_unknown=False).make_transform(True).tokens(text)
    assert cut["word_count"] == 3
    assert transform.tokens([""])["word_count"] == 1


def test_a_sentence_is_drawn_anew_and_in_validation_is_the_same() -> None:
    module = build(caption="sentence")
    one = study(0)
    drawn = {
        module.make_transform(True)(one, np.random.default_rng(i))["report_text"]
        for i in range(40)
    }
    assert drawn == {
        "there is no pleural effusion",
        "the heart size is normal",
        "lungs are clear",
    }
    whole = build().make_transform(True)(one, np.random.default_rng(0))
    assert whole["report_text"] == " ".join(caption_sentences(REPORTS[0]))
    # The released code stops behind the fifth word.
    short = build(sentences="official").make_transform(True)
    example = short(one, np.random.default_rng(0))
    assert example["report_text"] == "there is no pleural effusion"


def test_the_impression_is_read_and_what_was_seen_where_there_is_none() -> None:
    report = Report("", findings="Heart is large.", impression="No edema.")
    texts = []
    for kind in ("impression", "body"):
        transform = build(report_text=kind).make_transform(False)
        for one in (report, replace(report, impression="")):
            fields = transform(replace(study(0), report=one), np.random.default_rng(0))
            texts.append(fields["report_text"])
    assert texts == [
        "no edema",
        "heart is large",
        "heart is large no edema",
        "heart is large",
    ]
    assert caption_sentences("Stable.") == ["stable"]
    assert caption_sentences("Stable.", official=True) == []


def test_images_are_cut_out_of_a_square_and_enlarged() -> None:
    module = build(**{**RESNET, "image_size": 64, "crop_size": 48}).eval()
    batch = batch_of(module)
    assert batch["image"].shape == (4, 1, 48, 48)
    assert module.image_encoder.image_size == 64
    images = module.image_encoder.normalise(batch["image"])
    assert float(images.min()) >= -1
    assert float(images.max()) <= 1
    large = functional.interpolate(
        images, (64, 64), mode="bilinear", align_corners=True
    )
    with torch.no_grad():
        wanted = module.image_encoder(large.expand(-1, 3, -1, -1))
        run = module.run(batch)
    assert torch.allclose(run.pooled, wanted.pooled, atol=1e-5)
    assert run.places is not None
    level = module.place_head(wanted.levels[-2].flatten(2).transpose(1, 2))
    assert torch.allclose(run.places, level, atol=1e-5)
    assert run.places.shape[1] == math.prod(module.grid)


@pytest.mark.slow
def test_it_learns_one_batch_by_heart_and_embeds_accordingly() -> None:
    torch.manual_seed(0)
    module = build(text_scale="mean").train()
    batch = batch_of(module, count=8, train=False)
    before = {name: float(v.detach()) for name, v in module.losses(batch).items()}
    train_on(module, batch, steps=60, rate=3e-3)
    module.eval()
    with torch.no_grad():
        terms = module.losses(batch)
        gains = dict(module.gains(batch, terms))
        local = module.similarities(batch["image"], list(REPORTS))[1]
    assert all(float(terms[name]) < 0.3 * value for name, value in before.items())
    assert set(gains) == {"image_gain/local", "image_gain/global"}
    assert min(float(gain) for gain in gains.values()) > 0.5
    assert_each_image_finds_its_text(module, batch)
    assert (local.argmax(1) == torch.arange(8)).float().mean() > 0.6


def test_prompts_are_scored_by_their_best_word_without_cls() -> None:
    places, words = features()
    whole, text = torch.randn(3, 5).double(), torch.randn(4, 5).double()
    words = Words(words.features, words.counts.clamp(min=2))
    total, local = prompt_scores(whole, places, text, words, Scales(4.0, 5.0, 1.0))
    said = Words(words.features[:, 1:], words.counts - 1)
    assert torch.allclose(local, by_loops(places, said, Scales(4.0, 5.0, 1.0), "max"))
    cosine = functional.cosine_similarity(whole[:, None], text[None], dim=2)
    assert torch.allclose(total, cosine)


def test_a_prompt_without_words_is_refused_by_name() -> None:
    module = build().eval()
    with pytest.raises(ConfigError, match=r"'\.\.\.'"):
        module.similarities(batch_of(module)["image"], ["no edema", "..."])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [{}, RESNET, {"multi_positive": True}])
def test_two_processes_equal_one(tmp_path: Path, kind: dict[str, Any]) -> None:
    module = build(**kind).train()
    batch = batch_of(module, count=8)
    # The longest caption is in one half, so processes would pad differently.
    batch["image"] = batch["image"].double() / 255
    module.double()
    assert_two_processes_equal_one(module, batch, tmp_path)


@pytest.mark.parametrize(
    ("schedule", "kind"), [("plateau", "Adam"), ("constant", "Adam")]
)
def test_the_released_optimiser_and_the_schedule_it_meant(
    schedule: str, kind: str
) -> None:
    module = build(schedule=schedule, learning_rate=2e-5)
    module._trainer = SimpleNamespace(limit_val_batches=1.0)  # type: ignore[assignment]
    found = module.configure_optimizers()
    optimizer = found["optimizer"] if schedule == "plateau" else found
    assert type(optimizer).__name__ == kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (2e-5, 1e-6)
    assert group["betas"] == (0.5, 0.999)
    if schedule == "plateau":
        watched = found["lr_scheduler"]
        assert (watched["monitor"], watched["interval"]) == ("val/loss", "epoch")
        for _ in range(7):
            watched["scheduler"].step(1.0)
        assert group["lr"] == 1e-5
        module._trainer = SimpleNamespace(limit_val_batches=0)  # type: ignore[assignment]
        with pytest.raises(ConfigError, match="validation"):
            module.configure_optimizers()


@pytest.mark.parametrize(
    "wrong",
    [
        {"report_text": "findings"},
        {"caption": "words"},
        {"sentences": "five"},
        {"text_scale": "large"},
        {"pool": "max"},
        {"negatives": "none"},
        {"schedule": "step"},
        {"crop_scale": 0.0},
        {"warmup_epochs": 1, "schedule": "constant"},
        {"local_weight": -1.0},
        {"local_weight": 0.0, "global_weight": 0.0},
        {"word_scale": 0.0},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        GLoRIA(**wrong)


def test_without_the_global_loss_there_is_no_joint_space() -> None:
    module = build(global_weight=0.0).eval()
    images = batch_of(module)["image"]
    with pytest.raises(ConfigError, match="global_weight"):
        module.embed_images(images)
    with pytest.raises(ConfigError, match="global_weight"):
        module.embed_texts(["no edema"])
    assert build(local_weight=0.0).eval().embed_patches(images) is None


def test_pictures_show_where_words_look() -> None:
    module = build(**RESNET).eval()
    batch = batch_of(module)
    with torch.no_grad():
        shown = module.pictures(batch)
    sheet = shown["attention"]
    assert isinstance(sheet, Tensor)
    # Three studies of 160 pixels with a caption; the image and six words.
    assert sheet.shape == (3, 3 * 212, 7 * 160)
    # "Lungs are clear." has three words; the sheet is white beyond.
    third = sheet[:, 2 * 212 : 2 * 212 + 160]
    assert float(third[:, :, 4 * 160 :].min()) == 1
    assert all(float(third[:, :, n * 160 : (n + 1) * 160].min()) < 1 for n in range(4))
    assert "lungs are clear" in str(shown["captions"])
    blind = build(local_weight=0.0).eval()
    assert list(blind.pictures(batch_of(blind))) == ["captions"]

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.methods import paired
from tests.methods.paired import (
    TEXT,
    assert_every_parameter_learns,
    assert_two_processes_equal_one,
    total,
    train_on,
)
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.errors import ConfigError
from vlp_zoo.loading import collate_examples
from vlp_zoo.methods.flair import FLAIR
from vlp_zoo.methods.flair.networks import official_rate
from vlp_zoo.types import Report, Study

TINY: dict[str, Any] = {
    "image_encoder": "tiny_resnet",
    "image_size": 48,
    **TEXT,
    "text_depth": 3,
    "max_tokens": 40,
    "joint_width": 16,
    # The cosines of untrained images differ by thousandths.
    "temperature": 0.2,
}
LABELS = (
    "drusen",
    "glaucoma",
    "haemorrhage",
    "cotton wool spot",
    "healthy",
    "cataract",
)
STILL = {"horizontal_flip": 0.0, "rotation": 0.0, "zoom": 1.0, "jitter": 0.0}


def build(*labels: str, **options: Any) -> FLAIR:
    """A module for data with these labels; without any, reports are the words."""
    module = FLAIR(**{**TINY, **options})
    module.label_names = labels
    corpus, _ = module.corpus_of(
        SimpleNamespace(
            corpus=lambda: paired.REPORTS, has_reports=True, corpus_fingerprint=""
        )
    )
    module.tokenizer = ReportTokenizer.train(corpus(), 300)
    module.vocab_size = module.tokenizer.vocab_size
    module.configure_model()
    return module


def study(index: int, *words: str, **facts: Any) -> Study:
    labels = np.array([name in words for name in LABELS], np.float32)
    seen = paired.study(index)
    return Study(
        f"s{index}",
        f"p{index}",
        f"s{index}",
        seen.image,
        Report(""),
        labels=labels,
        facts=facts,
    )


def batch_of(module: FLAIR, studies: list[Study], train: bool = True) -> Any:
    transform = pickle.loads(pickle.dumps(module.make_transform(train)))
    pairs = enumerate(studies)
    return collate_examples(
        [transform(one, np.random.default_rng((0, i))) for i, one in pairs]
    )


def eyes(count: int = 8) -> list[Study]:
    """Each of a class of its own, and after the fifth one of two."""
    return [study(i, LABELS[i % 5], *LABELS[3 : 3 + i // 5]) for i in range(count)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"variant": "official"},
        {"image_encoder": "micro", "image_size": 32, "multi_positive": False},
        {"text_depth": 1, "crop_scale": 0.5, "negatives": "local"},
    ],
)
def test_every_trainable_parameter_gets_a_gradient(options: dict[str, Any]) -> None:
    module = build(*LABELS, **options).train()
    batch = batch_of(module, eyes())
    assert module.batch_keys <= set(batch)
    assert batch["image"].dtype == torch.uint8
    assert_every_parameter_learns(module, batch)


@pytest.mark.slow
def test_it_learns_a_batch_by_heart_and_tells_its_classes() -> None:
    torch.manual_seed(0)
    module = build(*LABELS, **STILL, image_encoder="micro", image_size=32).train()
    batch = batch_of(module, eyes(5), train=False)
    train_on(module, batch, steps=60, rate=3e-3)
    module.eval()
    with torch.no_grad():
        assert float(total(module, batch)) < 0.3
        gains = dict(module.gains(batch, module.losses(batch)))
        images = module.embed_images(batch["image"])
        texts = module.prototypes([[text] for text in batch["report_text"]])
    assert set(gains) == {"image_gain/text_to_image", "image_gain/image_to_text"}
    assert min(gains.values()) > 0.5
    assert (images @ texts.T).argmax(1).tolist() == list(range(5))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"variant": "official", "negatives": "global"}]
)
def test_two_processes_equal_one(tmp_path: Path, options: dict[str, Any]) -> None:
    # In double precision: a cold start makes large gradients of few rows.
    module = build(*LABELS, **options).double().train()
    assert_two_processes_equal_one(module, batch_of(module, eyes()), tmp_path)


def test_the_company_of_a_caption_matters_as_released_only() -> None:
    texts = ["A fundus photograph of drusen", "A fundus photograph of " + 9 * "drusen "]
    for variant, same in (("corrected", True), ("official", False)):
        module = build(*LABELS, variant=variant).eval()
        with torch.no_grad():
            both, alone = module.embed_texts(texts), module.embed_texts(texts[:1])
        assert torch.allclose(both[0], alone[0], atol=1e-5) is same


def shares(module: FLAIR, batch: Any) -> tuple[Tensor, Tensor]:
    found = module.targets(batch)
    assert found is not None
    return found


def test_images_that_have_the_drawn_category_are_right() -> None:
    module = build(*LABELS)
    keys = torch.tensor([1, 2, 1])
    words = torch.tensor([[1, 0], [2, 1], [1, 2]])
    batch = {"report_key": keys, "word_keys": words}
    images, texts = shares(module, batch)
    third = 1 / 3
    assert torch.allclose(
        images, torch.tensor([[third] * 3, [0, 0.5, 0.5], [third] * 3])
    )
    assert torch.allclose(
        texts, torch.tensor([[0.5, 0, 0.5], [third] * 3, [third] * 3])
    )
    drawn, back = shares(build(*LABELS, positives="drawn"), batch)
    assert torch.equal(drawn, back)
    assert torch.allclose(drawn[0], torch.tensor([0.5, 0, 0.5]))
    assert build(*LABELS, multi_positive=False).targets(batch) is None


def test_the_scale_stays_in_its_bounds() -> None:
    module = build(*LABELS)
    batch = batch_of(module, eyes())
    for start, end in ((9.0, 4.6052), (-3.0, 0.0)):
        with torch.no_grad():
            module.log_scale.fill_(start)
        total(module, batch).backward()  # type: ignore[no-untyped-call]
        assert float(module.log_scale.detach()) == pytest.approx(end)
        assert isinstance(module.log_scale.grad, Tensor)


def test_captions_have_words_and_classes_of_their_own() -> None:
    module = build(*LABELS)
    batch = batch_of(module, [study(0, "haemorrhage"), study(1, "drusen"), study(2)])
    described = module.lexicon.descriptions["hemorrhages"]
    ends = ("hemorrhages", *described)
    assert batch["report_text"][0].endswith(ends)
    assert batch["report_text"][2] == "A fundus photograph of "
    assert len(set(batch["report_key"].tolist())) == 3
    # The same text in any spelling is one class, to the letter it is another.
    again = batch_of(module, [study(0, categories=("Hemorrhage.",))])
    assert again["report_key"][0] == batch["report_key"][0]
    exact = batch_of(
        build(*LABELS, aliases=False), [study(0, categories=("Hemorrhage.",))]
    )
    assert exact["report_key"][0] != batch["report_key"][0]
    assert exact["report_text"] == ["A fundus photograph of Hemorrhage."]


class Source:
    """Studies of several sets, nothing decoded."""

    def __init__(self, *facts: dict[str, Any]) -> None:
        self.facts = facts
        self.labels = np.zeros((len(facts), 0), np.float32)

    def __len__(self) -> int:
        return len(self.facts)

    def facts_of(self, index: int) -> dict[str, Any]:
        return self.facts[index]

    def reports(self) -> list[Report]:
        return [Report("")] * len(self)


def test_unseen_classes_are_left_out_and_sets_take_turns() -> None:
    sets = [("a", ("drusen",))] * 7 + [
        ("b", ("no cataract",)),
        ("b", ("cataract", "drusen")),
    ]
    sets += [("c", ("chorioretinitis",)), ("c", ())]
    rows = [{"source": source, "categories": words} for source, words in sets]
    source: Any = Source(*rows)
    shown = {}
    for variant in ("corrected", "official"):
        module = build(*LABELS, variant=variant)
        module.label_names = ()
        draw = module.training_draw(source)
        order = draw(np.random.default_rng(0))
        assert len(order) == len(draw)
        drawn = [sets[i][0] for i in order]
        shown[variant] = sorted({*draw.indices.tolist()})
        shares = {drawn.count(name) for name in set(drawn)}
        assert max(shares) - min(shares) <= 1
    assert shown == {"corrected": [*range(8), 9], "official": [*range(7), 10]}
    plain = build(*LABELS, balance=False)
    plain.label_names = ()
    assert sorted(plain.training_draw(source)(np.random.default_rng(0))) == [
        *range(8),
        9,
    ]
    with pytest.raises(ConfigError, match="none with a word"):
        plain.training_draw(Source({"source": "a", "categories": ("cataract",)}))  # type: ignore[arg-type]


def test_the_released_rate_hardly_falls() -> None:
    epoch = 10
    rates = [official_rate(k, epoch, 100 * epoch) for k in range(15 * epoch)]
    assert rates[0] == 0.1
    assert max(rates) == rates[epoch - 1] == rates[epoch] == 1
    assert official_rate(15 * epoch, epoch, 100 * epoch) == pytest.approx(
        0.951, abs=1e-3
    )


def test_pictures() -> None:
    module = build(*LABELS).eval()
    batch = batch_of(module, eyes(4))
    with torch.no_grad():
        shown = module.pictures(batch)
    assert isinstance(shown["images"], Tensor)
    assert shown["images"].shape == (3, 48, 4 * 48)
    assert shown["reports"] == "\n\n".join(batch["report_text"])


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "best"},
        {"temperature": 2.0},
        {"zoom": 0.0},
        {"template": "a photograph"},
        {"text_model": "corpus"},
        {"positives": "all"},
        {"wordless": "none"},
        {"negatives": "some"},
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        FLAIR(**options)

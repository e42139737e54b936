from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.methods.paired import (
    REPORTS,
    TEXT,
    assert_each_image_finds_its_text,
    assert_every_parameter_learns,
    assert_two_processes_equal_one,
    batch_of,
    prepared,
    train_on,
)
from vlp_zoo.encoders.frozen_text import load_frozen_text
from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.paired.sentences import inverse_frequencies
from vlp_zoo.methods.place.networks import Exploration, correlation, pixel_patches
from vlp_zoo.methods.place.place import PLACE
from vlp_zoo.methods.text_keys import text_key

TINY: dict[str, Any] = {
    "image_encoder": "micro",
    "image_size": 32,
    **TEXT,
    "text_depth": 1,
    "max_sentences": 3,
    "joint_width": 16,
    "queries": 5,
    "query_width": 16,
    "query_layers": 1,
    "query_heads": 2,
    "cce_rank": 12,
}
KINDS: dict[str, dict[str, Any]] = {
    "default": {},
    "observations": {"pcma_loss": "obs_infonce", "match": "soft"},
    "resnet": {
        "image_encoder": "tiny_resnet",
        "image_size": 48,
        "feature_level": -2,
        "query_layers": 2,
    },
    "features": {
        "text_model": "corpus",
        "pcma_loss": "set_infonce",
        "match": "hungarian",
    },
    "sentences": {"pcma_loss": "sentence_infonce", "match": "sinkhorn"},
    "pull": {"pcma_loss": "cosine", "match": "maxsim", "false_negatives": "none"},
    "soft": {
        "pcma_loss": "obs_infonce",
        "match": "soft",
        "false_negatives": "soft",
        "query_attention": False,
    },
    "by query": {"cce_condition": "vpor", "cce_statistic": "corr"},
    "by query alone": {
        "cce_condition": "vpor",
        "itc_weight": 0.0,
        "pcma_weight": 0.0,
    },
    "ema": {"cce_target": "ema", "cce_condition": "none", "cce_centre": "patch"},
    "frozen": {"cce_target": "frozen_init", "itc_weight": 0.0},
    "only itc": {"pcma_weight": 0.0, "cce_weight": 0.0},
    "only pcma": {"itc_weight": 0.0, "cce_weight": 0.0},
    "only cce": {"itc_weight": 0.0, "pcma_weight": 0.0},
    "only image": {"itc_weight": 0.0, "pcma_weight": 0.0, "cce_condition": "none"},
    "later": {"pcma_start": 3},
    "diverse": {"diversity_weight": 0.5, "pcma_weight": 0.0},
}


def build(**arguments: Any) -> PLACE:
    module = PLACE(**{**TINY, **arguments})
    if module.options.text_model == "corpus":
        module.frozen_text = load_frozen_text("corpus", lambda: REPORTS * 2, width=24)
    made: PLACE = prepared(module)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_every_trainable_parameter_gets_a_gradient(kind: str) -> None:
    module = build(**KINDS[kind]).train()
    batch = batch_of(module)
    assert_every_parameter_learns(module, batch)
    fixed = {
        n.split(".")[0] for n, p in module.named_parameters() if not p.requires_grad
    }
    assert fixed <= {"reference"}
    # The same without a single sentence of two words.
    batch["sentence_mask"][:] = False
    batch["sentence_weight"][:] = 0
    batch["sentence_key"][:] = 0
    module.zero_grad()
    assert_every_parameter_learns(module, batch)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["default", "resnet", "features", "sentences", "observations", "soft"]
)
def test_two_processes_equal_one(tmp_path: Path, kind: str) -> None:
    module = build(**KINDS[kind]).train()
    batch = batch_of(module, count=8)
    batch["report_key"][6] = batch["report_key"][1]
    assert_two_processes_equal_one(module, batch, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["default", pytest.param("observations", marks=pytest.mark.slow)]
)
def test_it_learns_one_batch_by_heart(kind: str) -> None:
    torch.manual_seed(0)
    # Only equal words are no negatives: likeness would let some sentences merge.
    settings = {"false_negative_threshold": 2.0, "queries": 8}
    module = build(**KINDS[kind], **settings).train()
    batch = batch_of(module, count=8, train=False)
    before = {name: float(v.detach()) for name, v in module.losses(batch).items()}
    train_on(module, batch, steps=250, rate=3e-3)
    module.eval()
    with torch.no_grad():
        after = module.losses(batch)
    assert_each_image_finds_its_text(module, batch)
    assert float(after["cce"]) < 0.2 * before["cce"]
    assert float(after["pcma"]) < 0.3 * before["pcma"]
    assert float(module.measures["vpor_offdiag_cos"]) < 0.8
    # What the set loss has learnt, it has learnt about the images.
    if kind == "default":
        gains = dict(module.gains(batch, after))
        assert float(gains["image_gain/pcma"]) > 1.0
        assert float(gains["image_gain/itc"]) > 1.0
        assert "text_gain/cce" in gains


@pytest.mark.slow
def test_each_sentence_finds_its_observation() -> None:
    torch.manual_seed(0)
    settings = {"false_negative_threshold": 2.0, "queries": 8}
    module = build(**KINDS["observations"], **settings).train()
    batch = batch_of(module, count=8, train=False)
    train_on(module, batch, steps=250, rate=3e-3)
    module.eval()
    with torch.no_grad():
        found = module.image_encoder(module.image_encoder.prepare(batch["image"]))
        visual = module.visual_observations(module.extractor(module.patches(found)))
        text = module.textual_observations(batch, module.read(batch)[1])
        cosines = visual @ text.vectors.transpose(1, 2)
        pairing = module.options.alignment.pairing(cosines, text.weight)
    paired = torch.nn.functional.normalize(pairing.transpose(1, 2) @ visual, dim=2)
    likeness = text.vectors[text.mask] @ paired[text.mask].T
    keys = text.key[text.mask]
    assert (keys[likeness.argmax(1)] == keys).float().mean() > 0.95


def test_measures_are_always_there() -> None:
    module = build().eval()
    module.losses(batch_of(module))
    assert set(module.measures) == {"vpor_offdiag_cos", "query_usage_entropy"}
    assert 0 <= float(module.measures["query_usage_entropy"]) <= 1
    assert build().options.weights.div == 1.0
    assert build(pcma_loss="obs_infonce").options.weights.div == 0.0


def test_a_term_may_start_late() -> None:
    batch_maker = build()
    batch = batch_of(batch_maker)
    late = build(pcma_start=3).eval()
    assert float(late.losses(batch)["pcma"].detach()) == 0.0
    now = build(pcma_start=0).eval()
    assert float(now.losses(batch)["pcma"].detach()) > 0.0


@pytest.mark.parametrize("statistic", ["cov", "corr"])
@pytest.mark.parametrize("centre", ["token", "patch", "none"])
def test_the_explored_target(statistic: str, centre: str) -> None:
    vectors = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(0))
    found = correlation(vectors, statistic, centre)
    assert torch.allclose(found, found.transpose(1, 2))
    assert float(torch.linalg.eigvalsh(found.double()).min()) > -1e-5
    by_hand = vectors[0, 1:3].clone()
    if centre == "token":
        by_hand -= vectors[0].mean(0)
    elif centre == "patch":
        by_hand -= by_hand.mean(1, keepdim=True)
    scale = by_hand[0].norm() * by_hand[1].norm() if statistic == "corr" else 10.0
    wanted = float(by_hand[0] @ by_hand[1] / scale)
    assert float(found[0, 1, 2]) == pytest.approx(wanted, rel=1e-4)


def test_the_best_constant_costs_one_in_squares() -> None:
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    square = Exploration().square(pixel_patches(images, (4, 4)))
    rows, columns = torch.triu_indices(16, 16, 1)
    values = square[:, rows, columns]
    assert torch.allclose(values.var(1, correction=0), torch.ones(2), atol=1e-4)
    # Contrast and brightness of the image do not matter.
    darker = (images // 2).float() * 2
    same = Exploration().square(pixel_patches(darker * 0.25 + 7, (4, 4)))
    assert torch.allclose(
        same, Exploration().square(pixel_patches(darker, (4, 4))), atol=1e-3
    )


def test_patches_of_a_size_that_does_not_divide() -> None:
    patches = pixel_patches(torch.rand(1, 1, 50, 50), (4, 4))
    assert patches.shape == (1, 16, 13 * 13)
    ramp = torch.arange(64.0).view(1, 1, 8, 8)
    assert torch.allclose(
        pixel_patches(ramp, (2, 2))[0, 1].diff(),
        ((ramp - ramp.mean()) / ramp.std(correction=0))[0, 0, :4, 4:].flatten().diff(),
        atol=1e-5,
    )


@pytest.mark.parametrize("condition", ["report", "none"])
def test_exploration_reads_the_report_only_where_told(condition: str) -> None:
    module = build(cce_condition=condition, pcma_weight=0.0).train()
    batch = batch_of(module)
    loss = module.losses(batch)["cce"]
    tower: Any = module.text_tower
    word = tower.encoder.bert.embeddings.word_embeddings.weight
    (gradient,) = torch.autograd.grad(loss, word, allow_unused=True)
    assert (gradient is not None and bool(gradient.any())) == (condition == "report")


def position(encoder: Any) -> Tensor:
    table: Tensor = encoder.timm.pos_embed.data
    return table


def test_the_reference_stands_still_or_follows() -> None:
    for target, wanted in (("ema", 0.25), ("frozen_init", 0.0)):
        module = build(cce_target=target, ema_decay=0.75).train()
        assert not module.reference.training
        before = position(module.reference.encoder).clone()
        position(module.image_encoder).add_(1.0)
        module.on_train_batch_end(None, None, 0)
        moved = position(module.reference.encoder) - before
        assert torch.allclose(moved, torch.full_like(moved, wanted), atol=1e-5)
        run: Any = SimpleNamespace(ckpt_path=None, is_global_zero=True)
        module._trainer = run
        module.on_fit_start()
        same = position(module.reference.encoder) == position(module.image_encoder)
        assert same.all()


def test_rare_sentences_weigh_more() -> None:
    weights = inverse_frequencies(
        ["No edema. Large mass.", "No edema.", "No edema. Clear lungs."]
    )
    assert set(weights) == {text_key("no edema")}
    assert weights[text_key("no edema")] == 0.01
    module = build(sentence_weight="idf")
    module.sentence_idf = weights
    fields = module.report_tokens()("No edema. Large mass.")
    assert fields["sentence_weight"].tolist() == pytest.approx([0.01, 1.0, 0.0])
    saved: dict[str, Any] = {}
    module.on_save_checkpoint(saved)
    other = PLACE(**TINY, sentence_weight="idf")
    other.on_load_checkpoint(saved)
    assert other.sentence_idf == weights


def test_fixed_features_travel_in_the_checkpoint(tmp_path: Path) -> None:
    module = build(text_model="corpus").eval()
    saved: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(saved)
    torch.save(saved, tmp_path / "a.ckpt")
    loaded = torch.load(tmp_path / "a.ckpt", weights_only=True)
    other = PLACE(**TINY, text_model="corpus")
    other.on_load_checkpoint(loaded)
    other.load_state_dict(loaded["state_dict"])
    other.eval()
    with torch.no_grad():
        assert torch.equal(other.embed_texts(REPORTS), module.embed_texts(REPORTS))
    # Lightning builds the networks before it hands over a checkpoint.
    early = prepared(PLACE(**TINY, text_model="corpus")).eval()
    with pytest.raises(ConfigError, match="text features"):
        early.embed_texts(REPORTS)
    early.on_load_checkpoint(loaded)
    early.load_state_dict(loaded["state_dict"])
    with torch.no_grad():
        assert torch.equal(early.embed_texts(REPORTS), module.embed_texts(REPORTS))


@pytest.mark.parametrize("kind", ["default", "resnet", "by query", "only itc"])
def test_pictures(kind: str) -> None:
    module = build(**KINDS[kind]).eval()
    with torch.no_grad():
        shown = module.pictures(batch_of(module))
    assert ("correlation" in shown) == (kind != "only itc")
    assert ("queries" in shown) == (kind != "only itc")
    for picture in shown.values():
        assert isinstance(picture, Tensor)
        assert picture.ndim == 3
        assert 0 <= float(picture.min()) < float(picture.max()) <= 1


def test_attention_is_a_share_of_the_patches() -> None:
    module = build().eval()
    found = module.image_encoder(torch.randn(2, 3, 32, 32))
    seen = module.extractor(module.patches(found))
    assert seen.attention.shape == (2, 5, 16)
    assert torch.allclose(seen.attention.sum(2), torch.ones(2, 5), atol=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"match": "greedy"},
        {"cce_target": "words"},
        {"sentence_weight": "tfidf"},
        {"itc_weight": 0.0, "pcma_weight": 0.0, "cce_weight": 0.0},
        {"feature_level": -2, "itc_weight": 0.0},
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        PLACE(**arguments)


def test_without_its_term_there_is_no_joint_space() -> None:
    module = build(itc_weight=0.0)
    with pytest.raises(ConfigError, match="itc_weight"):
        module.embed_texts(["No edema."])

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.fakes.processes import on_two_processes
from tests.methods.paired import (
    assert_every_parameter_learns,
    assert_unit_vectors,
    total,
    train_on,
)
from vlp_zoo.encoders.frozen_text import CorpusText
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError, EncoderLoadError
from vlp_zoo.loading import collate_examples
from vlp_zoo.methods.imitate.imitate import IMITATE
from vlp_zoo.methods.imitate.losses import (
    Rows,
    clinical_contrast,
    correlation,
    prior,
    smooth,
)
from vlp_zoo.methods.imitate.networks import FindingsBranch, draw_channels
from vlp_zoo.methods.imitate.schedules import findings_weight
from vlp_zoo.methods.imitate.views import sections_of
from vlp_zoo.methods.optimisation import cosine_restarts
from vlp_zoo.methods.paired.views import RandomView, cut_border
from vlp_zoo.methods.stored import load_method
from vlp_zoo.types import Report, Study

REPORTS = (
    ("There is no pleural effusion. The heart is normal.", "No acute disease."),
    ("Large left pleural effusion. The heart is enlarged.", "Left effusion."),
    ("Lungs are clear. The heart is normal.", "Normal chest."),
    ("There is pulmonary edema. The heart is enlarged.", "Edema, large heart."),
)
TINY: dict[str, Any] = {
    "image_encoder": "resnet10t",
    "encoder_sizes": {"channels": [8, 8, 16, 16], "stem_width": 8},
    "image_size": 32,
    "text_model": "corpus",
    "text_width": 12,
    "channel_tokens": 24,
    "pool_side": 4,
    "joint_width": 16,
    "impression_hidden": 24,
    "text_hidden": 24,
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))


def frozen_text() -> CorpusText:
    return CorpusText.learn([" ".join(pair) for pair in REPORTS], 12)


def build(**arguments: Any) -> IMITATE:
    module = IMITATE(**{**TINY, **arguments})
    module.frozen_text = frozen_text()
    module.configure_model()
    return module


def study(
    index: int, findings: str | None = None, impression: str | None = None
) -> Any:
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (70, 60), dtype=np.uint8)
    seen, concluded = REPORTS[index % 4]
    seen = seen if findings is None else findings
    concluded = concluded if impression is None else impression
    report = Report(f"{seen} {concluded}", findings=seen, impression=concluded)
    return Study(f"s{index}", "p", "s", image, report)


def batch_of(
    module: IMITATE, studies: list[Any] | None = None, train: bool = True
) -> Any:
    transform = pickle.loads(pickle.dumps(module.make_transform(train)))
    studies = [study(i) for i in range(4)] if studies is None else studies
    return collate_examples(
        [transform(s, np.random.default_rng((0, i))) for i, s in enumerate(studies)]
    )


def doubled(batch: Any) -> Any:
    """The batch with images in float64, for exact comparisons."""
    views = {name: batch[name].double() / 255 for name in ("image", "image_view2")}
    return {**batch, **views}


VIT = {
    "image_encoder": "micro",
    "encoder_sizes": {},
    "channel_tokens": 24,
}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"view_weight": 0.0},
        {"smoothing": "none"},
        {"smoothing": "gau", "negatives": "local", "sync_batchnorm": False},
        VIT,
    ],
)
def test_every_trainable_parameter_gets_a_gradient(settings: dict[str, Any]) -> None:
    module = build(**settings).train()
    batch = batch_of(module)
    assert module.batch_keys <= set(batch)
    assert batch["image"].shape == batch["image_view2"].shape == (4, 1, 32, 32)
    assert batch["image"].dtype == torch.uint8
    assert len(module.losses(batch)) == (2 if settings.get("view_weight") == 0 else 4)
    assert_every_parameter_learns(module, batch)
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_gradients_stay_where_no_report_has_findings_or_any_text() -> None:
    module = build().train()
    for sections in (("", None), (None, ""), ("", "")):
        batch = batch_of(module, [study(i, *sections) for i in range(4)])
        module.zero_grad()
        losses = module.losses(batch)
        for name, value in losses.items():
            absent = sections[0 if name.endswith("findings") else 1] == ""
            assert (float(value.detach()) == 0.0) == absent, (sections, name)
        assert_every_parameter_learns(module, batch)


@pytest.mark.slow
def test_a_few_steps_on_one_batch_lower_every_loss() -> None:
    torch.manual_seed(0)
    module = build(smoothing="none").train()
    batch = batch_of(module)
    before = {name: float(v.detach()) for name, v in module.losses(batch).items()}
    train_on(module, batch, steps=30, rate=3e-3)
    after = {name: float(v.detach()) for name, v in module.losses(batch).items()}
    for name, value in after.items():
        assert value < 0.5 * before[name], name
    said = batch["impression_text"]
    with torch.no_grad():
        # Running statistics of the text head mix findings and impressions, so that a few
        # texts are told apart surely only by those of the batch.
        alike = module.embed_images(batch["image"]) @ module.embed_texts(said).T
        assert alike.argmax(1).tolist() == list(range(len(said)))
        # Running statistics catch up with the weights.
        for _ in range(40):
            module.losses(batch)
        module.eval()
        gains = dict(module.gains(batch, module.losses(batch)))
    assert set(gains) == {
        "image_gain/image_text_impression",
        "image_gain/image_text_findings",
    }
    assert min(gains.values()) > 0.05
    assert_unit_vectors(module, batch, said)


def slow_loss(x: Tensor, y: Tensor, tau: float, targets: Tensor) -> float:
    sums = 0.0
    for a, b in ((x, y), (y, x)):
        for i, row in enumerate(a):
            cosines = [float(row @ o / row.norm() / o.norm()) / tau for o in b]
            norm = math.log(sum(math.exp(c) for c in cosines))
            for j, cosine in enumerate(cosines):
                sums += float(targets[i, j]) * (norm - cosine) / len(a)
    return sums


@pytest.mark.parametrize("kind", ["exp", "gau", "lap", "sigmoid", "none"])
def test_the_clinical_loss_by_a_loop(kind: str) -> None:
    torch.manual_seed(1)
    x, y, p = (torch.randn(5, d, dtype=torch.float64) for d in (6, 6, 8))
    targets = torch.eye(5, dtype=torch.float64)
    for i in range(5):
        for j in range(5):
            own, other = p[i] - p[i].mean(), p[j] - p[j].mean()
            c = float(own @ other / own.norm() / other.norm()) if i != j else 0.0
            c = max(c, 0.0)
            part = {
                "exp": 1 - math.exp(-0.2 * c),
                "gau": math.exp(-c * c / 2) / math.sqrt(2 * math.pi),
                "lap": 0.5 * math.exp(-c),
                "sigmoid": 1 / (1 + math.exp(-c)),
                "none": 0.0,
            }
            targets[i, j] += 0.1 * part[kind]
    rows = [Rows(t, t, 0) for t in (x, y, p)]
    similar = prior(rows[2], kind)
    assert (similar is None) == (kind == "none")
    found = clinical_contrast(rows[0], rows[1], 0.1, similar)
    assert float(found) == pytest.approx(slow_loss(x, y, 0.1, targets), rel=1e-9)


def test_absent_samples_are_neither_anchors_nor_negatives() -> None:
    torch.manual_seed(2)
    x, y, p = (torch.randn(6, 5, dtype=torch.float64) for _ in range(3))
    there = torch.tensor([True, True, False, True, False, True])
    x.requires_grad_()
    mask = there[:, None].double()
    similar = prior(Rows(p, p, 0), "sigmoid")
    loss = clinical_contrast(
        Rows(x, x, 0), Rows(y, y, 0), 0.07, similar, Rows(mask, mask, 0)
    )
    few = [Rows(t[there], t[there], 0) for t in (x, y, p)]
    wanted = clinical_contrast(few[0], few[1], 0.07, prior(few[2], "sigmoid"))
    assert torch.allclose(loss, wanted)
    (gradient,) = torch.autograd.grad(loss, x)
    assert not gradient[~there].any()
    assert gradient[there].any()
    none = torch.zeros_like(mask)
    empty = clinical_contrast(
        Rows(x, x, 0), Rows(y, y, 0), 0.07, similar, Rows(none, none, 0)
    )
    (gradient,) = torch.autograd.grad(empty, x)
    assert float(empty.detach()) == 0.0
    assert not gradient.any()


def test_texts_without_features_correlate_with_nothing() -> None:
    features = torch.cat([torch.zeros(2, 4), torch.randn(2, 4)])
    found = correlation(Rows(features, features, 0))
    assert torch.isfinite(found).all()
    assert not found[:2].any()
    assert float(smooth(torch.zeros(()), "exp")) == 0.0
    with pytest.raises(ValueError, match="smoothing"):
        smooth(features, "cubic")


def test_only_the_query_that_is_read_is_computed() -> None:
    torch.manual_seed(3)
    branch = FindingsBranch(tokens=9, side=2, heads=2, joint=6).eval()
    nn.init.normal_(branch.positions)
    nn.init.normal_(branch.class_token)
    levels = [torch.randn(3, 4, 6, 6), torch.randn(3, 8, 3, 3)]
    drawn = [torch.tensor([1, 1, 3]), torch.tensor([0, 7])]
    sequence = branch.sequence(levels, drawn)
    whole, _ = branch.attention(sequence, sequence, sequence)
    assert torch.allclose(branch.attend(sequence), whole[:, -1], atol=1e-6)
    # By hand: the first token is channel 1 of the finest level, the sixth is free.
    pooled = levels[0][0, 1].view(2, 3, 2, 3).mean((1, 3)).flatten()
    assert torch.allclose(sequence[0, 0], pooled + branch.positions[0, 1], atol=1e-6)
    assert torch.allclose(sequence[2, 5], branch.positions[0, 6])
    last = branch.class_token[0, 0] + branch.positions[0, 0]
    assert torch.allclose(sequence[1, -1], last)
    # The same draw for all, and each sample's own, are two ways to say it.
    each = [index.expand(3, -1) for index in drawn]
    assert torch.equal(branch.sequence(levels, each), sequence)
    assert torch.equal(
        branch.sequence(levels, [drawn[0], drawn[1][:0]])[:, :3], (sequence[:, :3])
    )


def test_channels_belong_to_the_sample() -> None:
    keys = torch.tensor([5, 6, 7])
    drawn = draw_channels(keys, [10, 100], [30, 40], stream=1)
    assert [tuple(d.shape) for d in drawn] == [(3, 30), (3, 40)]
    for index, size in zip(drawn, (10, 100), strict=True):
        assert 0 <= int(index.min()) <= int(index.max()) < size
    assert len(set(drawn[0].flatten().tolist())) == 10
    alone = draw_channels(keys[1:2], [10, 100], [30, 40], stream=1)
    assert torch.equal(alone[1][0], drawn[1][1])
    other = draw_channels(keys, [10, 100], [30, 40], stream=2)
    assert not torch.equal(other[1], drawn[1])
    module = build()
    first, again = module.draw(keys), module.draw(keys, again=True)
    draws = [torch.cat(view, 1) for view in (*first, *again)]
    assert len({tuple(d[0].tolist()) for d in draws}) == 4


def test_a_batch_gives_the_same_loss_in_any_order() -> None:
    module = build().double().train()
    batch = doubled(batch_of(module))
    order = torch.tensor([2, 0, 3, 1])
    shuffled: Any = {
        name: value[order]
        if isinstance(value, Tensor)
        else [value[i] for i in order.tolist()]
        for name, value in batch.items()
    }
    losses = [total(module, each).detach() for each in (batch, batch, shuffled)]
    assert torch.equal(losses[0], losses[1])
    assert torch.allclose(losses[2], losses[0], rtol=1e-9)


def step(module: IMITATE, batch: Any) -> tuple[Tensor, list[Tensor]]:
    loss = total(module, batch)
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    return loss.detach(), list(gradients)


@pytest.mark.slow
@pytest.mark.parametrize("smoothing", ["exp", "gau"])
def test_two_processes_equal_one_on_the_whole_batch(
    smoothing: str, tmp_path: Path
) -> None:
    # One process lacks more findings than the other.
    studies = [study(i) for i in range(8)]
    studies[1], studies[2] = study(1, findings=""), study(2, findings="")
    studies[6] = study(6, impression="")
    module = build(smoothing=smoothing).double().train()
    whole = doubled(batch_of(module, studies))
    (tmp_path / "meet").mkdir()

    def half(rank: int) -> tuple[Tensor, list[Tensor]]:
        part = slice(4 * rank, 4 * rank + 4)
        return step(module, {name: value[part] for name, value in whole.items()})

    results = on_two_processes(half, tmp_path / "meet")
    loss, gradients = step(module, whole)
    assert torch.allclose((results[0][0] + results[1][0]) / 2, loss, rtol=1e-7)
    for name, one, two, wanted in zip(
        dict(module.named_parameters()),
        results[0][1],
        results[1][1],
        gradients,
        strict=True,
    ):
        # Biases before batch norm have no gradient but rounding.
        scale = max(float(wanted.abs().max()), 1e-4)
        assert float(((one + two) / 2 - wanted).abs().max()) < 1e-5 * scale, name


def test_local_negatives_are_those_of_one_process(tmp_path: Path) -> None:
    module = build(negatives="local", sync_batchnorm=False).train()
    whole = batch_of(module, [study(i) for i in range(8)])

    def half(rank: int) -> Tensor:
        part = slice(4 * rank, 4 * rank + 4)
        batch: Any = {name: value[part] for name, value in whole.items()}
        return total(module, batch).detach()

    results = on_two_processes(half, tmp_path)
    for rank, result in enumerate(results):
        assert torch.allclose(result, half(rank), atol=1e-5)


def test_the_cache_of_texts_changes_no_number() -> None:
    cached, fresh = build().train(), build(cache_text=False).train()
    fresh.load_state_dict(cached.state_dict())
    batch = batch_of(cached)
    wanted = cached.losses(batch)
    for name, value in fresh.losses(batch).items():
        assert torch.equal(value, wanted[name]), name


def test_sections_borrow_but_do_not_count() -> None:
    both = sections_of(Report("x", findings="Clear  lungs.", impression="Fine."))
    assert (both.findings, both.impression) == ("Clear lungs.", "Fine.")
    assert both.has_findings
    assert both.has_impression
    single = sections_of(Report("x", impression="Fine."))
    assert (single.findings, single.has_findings) == ("Fine.", False)
    assert single.has_impression
    plain = sections_of(Report("Heart is large."))
    assert plain.findings == plain.impression == "Heart is large."
    assert plain.has_findings
    assert plain.has_impression
    empty = sections_of(Report(" "))
    assert (empty.has_findings, empty.has_impression) == (False, False)


def test_views_keep_the_image_in_its_frame() -> None:
    image = np.zeros((50, 40), np.uint8)
    image[10:40, 5:35] = np.linspace(40, 140, 900).reshape(30, 30).astype(np.uint8)
    inside = cut_border(image)
    assert inside.shape == (30, 30)
    # The brightest pixel is white and stays white.
    assert (inside.min(), inside.max()) == (0, 255)
    assert cut_border(np.zeros((4, 4), np.uint8)).shape == (4, 4)
    assert cut_border(np.full((4, 4), 7, np.uint8)).max() == 7
    rng = np.random.default_rng(0)
    still = RandomView(
        horizontal_flip=0,
        vertical_flip=0,
        rotation=(0, 0),
        perspective=0,
        autocontrast=0,
    )
    assert np.array_equal(still(inside, rng, 30), inside)
    mirrored = replace(still, horizontal_flip=1)(inside, rng, 30)
    assert np.abs(mirrored.astype(int) - inside[:, ::-1]).max() <= 1
    turned = replace(still, vertical_flip=1)(inside, rng, 30)
    assert np.abs(turned.astype(int) - inside[::-1]).max() <= 1
    tilted = [RandomView()(inside, np.random.default_rng(i), 24) for i in range(8)]
    assert all(v.shape == (24, 24) and v.dtype == np.uint8 for v in tilted)
    assert len({v.tobytes() for v in tilted}) == 8


def test_views_differ_in_training_only_and_depend_on_the_generator() -> None:
    module = build()
    train, test = module.make_transform(True), module.make_transform(False)
    a, b = (train(study(0), np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(a["image"], b["image"])
    assert not np.array_equal(a["image"], a["image_view2"])
    plain = test(study(0), np.random.default_rng(5))
    assert np.array_equal(plain["image"], plain["image_view2"])


def test_schedules_have_their_corners() -> None:
    assert [findings_weight(e) for e in (0, 30, 50, 60)] == [1.0, 1.0, 0.3, 0.3]
    assert findings_weight(31) == pytest.approx(1.25)
    assert cosine_restarts(9, 10) < 0.05
    assert cosine_restarts(10, 10) == 1.0
    assert cosine_restarts(20, 10) == cosine_restarts(30, 10, growth=2) == 1.0
    assert cosine_restarts(20, 10, growth=2) == pytest.approx(0.5)
    assert cosine_restarts(29, 10, floor=0.5) >= 0.5
    module = build(restart_steps=4, learning_rate=1e-3)
    trainer = SimpleNamespace(
        precision="32-true", estimated_stepping_batches=12, max_epochs=1
    )
    module._trainer = trainer  # type: ignore[assignment]
    found = module.configure_optimizers()
    optimizer, schedule = found["optimizer"], found["lr_scheduler"]["scheduler"]
    assert {g["weight_decay"] for g in optimizer.param_groups} == {0.05}
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == rates[4] == pytest.approx(1e-3)
    assert rates[3] < rates[2] < rates[1] < rates[0]
    module.options = replace(module.options, decay_vectors=False)
    groups = module.configure_optimizers()["optimizer"].param_groups
    assert {g["weight_decay"] for g in groups} == {0.05, 0.0}


def test_pictures_show_priors_and_similarities() -> None:
    module = build().eval()
    shown = module.pictures(batch_of(module))
    for name in ("prior_findings", "prior_impression", "similarity_findings"):
        picture = shown[name]
        assert isinstance(picture, Tensor)
        assert picture.shape == (3, 96, 96)
        assert float(picture.min()) == 0.0
        assert float(picture.max()) == 1.0
    views = shown["views"]
    assert isinstance(views, Tensor)
    assert views.shape == (3, 64, 128)
    assert "Left effusion." in str(shown["reports"])
    assert "prior_findings" not in build(smoothing="none").eval().pictures(
        batch_of(module)
    )


def test_a_vit_gives_levels_of_several_blocks() -> None:
    encoder = ImageEncoder("micro", depth=3).eval()
    images = torch.randn(2, 3, 32, 32)
    seen = encoder.pyramid(images, 4)
    assert [tuple(level.shape) for level in seen.levels] == [(2, 32, 4, 4)] * 3
    assert encoder.level_channels(4) == [32] * 3
    plain = encoder(images)
    assert torch.allclose(seen.pooled, plain.pooled, atol=1e-6)
    assert torch.allclose(seen.tokens, plain.tokens, atol=1e-6)
    vit: Any = encoder.timm
    last = vit.norm(seen.levels[-1].flatten(2).transpose(1, 2))
    assert torch.allclose(last, plain.tokens, atol=1e-5)
    cnn = ImageEncoder("resnet10t", 32).eval()
    with torch.no_grad():
        levels = cnn.pyramid(images, 4).levels
    assert [level.shape[1] for level in levels] == cnn.level_channels(4)
    assert len(levels) == 4


def test_impossible_choices_say_so() -> None:
    with pytest.raises(ConfigError, match="smoothing"):
        IMITATE(smoothing="cubic")
    with pytest.raises(ConfigError, match="channel_tokens"):
        build(channel_tokens=3)
    with pytest.raises(ConfigError, match="heads"):
        build(attention_heads=3)
    bare = IMITATE(**TINY)
    bare.configure_model()
    with pytest.raises(ConfigError, match="text features"):
        bare.embed_texts(["Clear."])


def test_the_default_text_model_is_refused_clearly_off_line() -> None:
    module = IMITATE()
    module._trainer = SimpleNamespace(datamodule=None)  # type: ignore[assignment]
    with pytest.raises(EncoderLoadError, match="Bio_ClinicalBERT"):
        module.setup("fit")


def test_a_checkpoint_brings_its_text_features(tmp_path: Path) -> None:
    import lightning.pytorch as pl

    from vlp_zoo.data.datamodules import PhantomChest

    data = PhantomChest(
        train_studies=12, val_studies=4, image_size=48, batch_size=4, num_workers=0
    )
    module = IMITATE(**TINY)
    trainer = pl.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        use_distributed_sampler=False,
    )
    trainer.fit(module, datamodule=data)
    path = tmp_path / "run.ckpt"
    trainer.save_checkpoint(path)
    # Every text of the data set was embedded before the first step.
    assert sum(1 for _ in module.frozen().folder.glob("*.npy")) == 1
    again = load_method(path)
    assert isinstance(again, IMITATE)
    texts = ["No pleural effusion.", "Cardiomegaly."]
    with torch.no_grad():
        assert torch.allclose(
            again.embed_texts(texts), module.eval().embed_texts(texts)
        )
    checkpoint = torch.load(path, weights_only=True)
    other = build()
    with pytest.raises(ConfigError, match="other training reports"):
        other.on_load_checkpoint(checkpoint)
    # What another kind of CPU learns from the same reports has other last digits.
    kept = module.frozen()
    assert isinstance(kept, CorpusText)
    other.frozen_text = CorpusText(
        kept.terms, kept.weights * (1 + 1e-7), kept.components * (1 + 1e-6)
    )
    assert other.frozen_text.fingerprint != kept.fingerprint
    other.on_load_checkpoint(checkpoint)
    assert other.frozen().fingerprint == kept.fingerprint

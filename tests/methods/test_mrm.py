from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
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
from vlp_zoo.errors import ConfigError
from vlp_zoo.loading import collate_examples
from vlp_zoo.methods.mrm.mrm import MRM, hide_words
from vlp_zoo.types import Report


def build(**arguments: Any) -> MRM:
    settings: dict[str, Any] = {
        "image_encoder": "micro",
        "image_size": 32,
        "decoder_width": 16,
        "decoder_depth": 1,
        "decoder_heads": 2,
        **TEXT,
        "text_depth": 1,
        "max_tokens": 32,
    }
    module: MRM = prepared(MRM(**{**settings, **arguments}))
    return module


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"variant": "official"},
        {"target_scale": 1, "norm_pix": False},
        {"mim_weight": 0},
        {"mlm_weight": 0},
        {"words_see_image": False},
    ],
)
def test_every_trainable_parameter_gets_a_gradient(options: dict[str, Any]) -> None:
    module = build(**options).train()
    assert_every_parameter_learns(module, batch_of(module))
    fixed = {n for n, p in module.named_parameters() if not p.requires_grad}
    assert fixed == {"image_encoder.timm.pos_embed"}


@pytest.mark.slow
def test_it_learns_one_batch_by_heart() -> None:
    torch.manual_seed(0)
    module = build(norm_pix=False, text_width=48).train()
    batch = batch_of(module)
    before = {name: float(term) for name, term in module.losses(batch).items()}
    train_on(module, batch, steps=200, rate=3e-3)
    after = {name: float(term) for name, term in module.losses(batch).items()}
    assert after["mim"] < 0.5 * before["mim"]
    assert after["mlm"] < 0.1 * before["mlm"]


def test_images_come_at_twice_the_encoders_side_and_their_patches_are_restored() -> (
    None
):
    module = build().eval()
    batch = batch_of(module, count=2)
    assert batch["image"].shape == (2, 1, 64, 64)
    images = module.image_encoder.normalise(batch["image"])
    with torch.no_grad():
        low = module.shrunk(images, antialias=True)
        run = module.reconstruct(low, module.patch_noise(batch))
        loss = float(module.losses(batch)["mim"])
    assert run.pixels.shape == (2, 16, 16 * 16 * 3)
    errors = []
    for b in range(2):
        for place in run.mask.hidden[b].nonzero()[:, 0].tolist():
            row, column = divmod(place, 4)
            patch = images[b, 0, row * 16 :, column * 16 :][:16, :16]
            # Three equal channels: their variance is over 3 x 256 values.
            copies = patch.expand(3, 16, 16)
            wanted = (copies - copies.mean()) / (copies.var() + 1e-6).sqrt()
            guess = run.pixels[b, place].view(16, 16, 3)
            errors.append((guess - wanted.permute(1, 2, 0)).square().mean())
    assert len(errors) == 24
    assert loss == pytest.approx(float(torch.stack(errors).mean()), rel=1e-5)


@pytest.mark.parametrize("kind", ["hidden", "words", "all"])
def test_the_report_loss_by_a_loop(kind: str) -> None:
    module = build(report_loss=kind).eval()
    batch = batch_of(module)
    ids, present = batch["input_ids"], batch["attention_mask"]
    hidden = module.hidden_words(batch)
    images = module.image_encoder.normalise(batch["image"])
    masked = torch.where(hidden, module.known_tokenizer().mask_id, ids)
    with torch.no_grad():
        run = module.run(images, masked, present, module.patch_noise(batch))
        output = module.mlm_head.output
        logits = functional.linear(
            module.mlm_head(run.text), output.weight, output.bias
        )
        found = float(module.losses(batch)["mlm"])
    losses = []
    for b in range(4):
        for t in range(32):
            counts = {"hidden": hidden[b, t], "words": present[b, t], "all": True}
            if counts[kind]:
                losses.append(-logits[b, t].log_softmax(0)[ids[b, t]])
    assert found == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)


def test_the_mean_of_the_visible_patches_is_added_to_every_word() -> None:
    module = build().eval()
    batch = batch_of(module)
    images = module.image_encoder.normalise(batch["image"])
    ids, present = batch["input_ids"], batch["attention_mask"]
    noise = module.patch_noise(batch)
    with torch.no_grad():
        run = module.run(images, ids, present, noise)
        seen = module.image_to_text(run.image.latent)[:, 1:].mean(1, keepdim=True)
        words = module.text_encoder.embeddings(ids) + seen
        wanted = module.text_encoder.layers(words, present)
        other = module.run(images.roll(1, 0), ids, present, noise)
        blind = replace(module.options, words_see_image=False)
        module.options = blind
        alone = module.run(images, ids, present, noise)
        again = module.run(images.roll(1, 0), ids, present, noise)
    places = present[..., None].expand_as(wanted)
    assert torch.allclose(run.text[places], wanted[places], atol=1e-5)
    assert not torch.allclose(run.text, other.text, atol=1e-3)
    assert torch.equal(alone.text, again.text)


def test_words_are_hidden_whole_and_only_words() -> None:
    generator = torch.Generator().manual_seed(0)
    present = torch.arange(12).expand(500, 12) < 10
    pieces = torch.zeros(500, 12, dtype=torch.bool)
    pieces[:, [3, 4, 8]] = True
    noise = torch.rand(500, 12, generator=generator)
    hidden = hide_words(present, pieces, noise, 0.5)
    assert not hidden[:, 0].any()
    assert not hidden[:, 10:].any()
    for piece, first in ((3, 2), (4, 2), (8, 7)):
        assert torch.equal(hidden[:, piece], hidden[:, first])
    assert 0.45 < float(hidden[:, 1:10].float().mean()) < 0.55
    full = torch.ones_like(present)
    assert hide_words(full, pieces, noise, 1.0)[:, -1].all()
    kept = hide_words(full, pieces, noise, 1.0, last_position_visible=True)
    assert not kept[:, -1].any()
    assert kept[:, 1:-1].all()


def test_the_whole_text_or_what_was_seen_is_read() -> None:
    report = Report(
        "INDICATION: Cough. FINDINGS: Lungs are clear.",
        indication="Cough.",
        findings="Lungs are clear.",
    )
    one = replace(study(0), report=report)
    texts = {}
    for kind in ("body", "raw"):
        fields = build(report_text=kind).make_transform(False)(
            one, np.random.default_rng(0)
        )
        texts[kind] = fields["report_text"]
    assert texts == {"body": "Lungs are clear.", "raw": report.text}


def test_reports_without_words_cost_nothing_and_break_nothing() -> None:
    module = build().train()
    empty = replace(study(0), report=Report(""))
    transform = module.make_transform(True)
    batch: Any = collate_examples(
        [transform(empty, np.random.default_rng(i)) for i in (0, 1)]
    )
    loss = total(module, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert float(module.losses(batch)["mlm"].detach()) == 0.0


@pytest.mark.parametrize("variant", ["corrected", "official"])
def test_two_processes_equal_one(variant: str, tmp_path: Path) -> None:
    module = build(variant=variant).train()
    assert_two_processes_equal_one(module, batch_of(module), tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"report_loss": "some"},
        {"report_text": "impression"},
        {"variant": "paper"},
        {"word_mask_ratio": 0.0},
        {"horizontal_flip": 1.5},
        {"target_scale": 0},
        {"mim_weight": 0, "mlm_weight": 0},
        {"mim_weight": 0, "words_see_image": False},
        {"mlm_weight": -1},
        {"decoder_heads": 7},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)).split("_")[0]):
        MRM(**wrong)


def test_pictures_show_the_restored_image_and_the_hidden_words() -> None:
    module = build().eval()
    with torch.no_grad():
        shown = module.pictures(batch_of(module))
    assert shown["reconstruction"].shape == (3, 64, 4 * 64)  # type: ignore[union-attr]
    assert "`" in str(shown["report_text"])
    assert REPORTS[2].split()[0].lower() in str(shown["report_text"])

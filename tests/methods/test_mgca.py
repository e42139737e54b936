from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.methods.paired import (
    TEXT,
    assert_every_parameter_learns,
    assert_two_processes_equal_one,
    batch_of,
    prepared,
    train_on,
)
from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.mgca.losses import (
    clipped_weights,
    prototype_loss,
    sinkhorn,
    token_losses,
)
from vlp_zoo.methods.mgca.mgca import MGCA
from vlp_zoo.methods.mgca.networks import (
    attended,
    attentive_bert,
    attentive_vit,
    official_slots,
)
from vlp_zoo.methods.paired.words import Pieces, word_slots

TINY: dict[str, Any] = {
    "image_encoder": "micro",
    "image_size": 32,
    **TEXT,
    "text_positions": 48,
    "joint_width": 16,
    "head_hidden": 24,
    "prototypes": 6,
}
OFFICIAL: dict[str, Any] = {
    "token_weights": "official",
    "official_positions": True,
    "unit_attended": False,
    "mask_padding": False,
    "negatives": "local",
    "sync_bn": False,
    "official_captions": True,
}
RESNET: dict[str, Any] = {
    "image_encoder": "tiny_resnet",
    "image_size": 64,
    "crop_size": 48,
}


def build(**arguments: Any) -> MGCA:
    module: MGCA = prepared(MGCA(**{**TINY, **arguments}))
    return module


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(rows, dim=-1)


@pytest.mark.parametrize(
    "kind",
    [
        {},
        RESNET,
        {"bidirectional": False},
        {"learnt_attention": True},
        {"ita_weight": 0.0},
        {"cta_weight": 0.0},
        {"cpa_weight": 0.0},
        OFFICIAL,
        {**OFFICIAL, **RESNET},
    ],
)
def test_every_trainable_parameter_gets_a_gradient(kind: dict[str, Any]) -> None:
    module = build(**kind).train()
    batch = batch_of(module)
    assert_every_parameter_learns(module, batch)
    wanted = [name for name, weight in module.options.weights.items() if weight]
    assert sorted(module.losses(batch)) == sorted(wanted)
    frozen = {n for n, p in module.named_parameters() if not p.requires_grad}
    assert frozen == {"text_encoder.bert.embeddings.token_type_embeddings.weight"}


@pytest.mark.slow
def test_it_learns_one_batch_by_heart() -> None:
    torch.manual_seed(0)
    module = build().train()
    batch = batch_of(module)
    before = {name: float(term) for name, term in module.losses(batch).items()}
    train_on(module, batch, steps=60, rate=3e-3)
    after = {name: float(term) for name, term in module.losses(batch).items()}
    assert after["ita"] < 0.1 * before["ita"]
    assert after["cta"] < 0.8 * before["cta"]
    assert after["cpa"] < before["cpa"]


def test_token_losses_by_a_loop() -> None:
    words, patches = unit(2, 5, 8), unit(2, 7, 8, seed=1)
    weights = torch.rand(2, 5, generator=torch.Generator().manual_seed(2))
    present = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    weights = weights * present
    found, looks = attended(words, patches, 0.1, None)
    forth, back = token_losses(words, found, weights, 0.1, present)
    wanted = [0.0, 0.0]
    for b, count in enumerate((5, 3)):
        for i in range(count):
            similar = [float(words[b, i] @ patches[b, k]) / 0.1 for k in range(7)]
            shares = np.exp(similar) / np.exp(similar).sum()
            assert looks[b, i].numpy() == pytest.approx(shares, rel=1e-4)
            rows = [float(words[b, i] @ found[b, j]) / 0.1 for j in range(count)]
            columns = [float(words[b, j] @ found[b, i]) / 0.1 for j in range(count)]
            for side, scores in enumerate((rows, columns)):
                loss = np.log(np.exp(scores).sum()) - scores[i]
                wanted[side] += float(weights[b, i]) * loss / 2
    assert float(forth) == pytest.approx(wanted[0], rel=1e-4)
    assert float(back) == pytest.approx(wanted[1], rel=1e-4)


def test_weights_are_clipped_to_quantiles_of_what_counts() -> None:
    attention = torch.rand(4, 30, generator=torch.Generator().manual_seed(0)) ** 3
    attention[0, 20:] = 0
    attention[3] = 0
    found = clipped_weights(attention, attention > 0)
    for row in range(3):
        values = attention[row][attention[row] > 0].numpy()
        kept = values.clip(*np.quantile(values, [0.1, 0.9]))
        mine = found[row][found[row] > 0].numpy()
        assert mine == pytest.approx(kept / kept.sum(), rel=1e-5)
    assert not found[0, 20:].any()
    # A report of nothing that is heard weighs nothing, and nothing is not a number.
    assert not found[3].any()


def test_codes_use_prototypes_alike_and_do_not_hang_on_a_shift() -> None:
    scores = unit(64, 8) @ unit(5, 8, seed=1).T
    codes = sinkhorn(scores, 0.05, 200)
    assert torch.allclose(codes.sum(1), torch.ones(64), atol=1e-5)
    assert torch.allclose(codes.sum(0), torch.full((5,), 64 / 5), rtol=1e-3)
    shifted = sinkhorn(scores + 7, 0.05, 3)
    assert torch.allclose(shifted, sinkhorn(scores, 0.05, 3), atol=1e-4)
    images, reports = unit(6, 8, seed=2), unit(6, 8, seed=3)
    prototypes = unit(5, 8, seed=1).requires_grad_()
    mine = prototype_loss(images, reports, prototypes, 0.2, 0.05, 3, False)
    for loss, own, other in (
        (mine[0], images, reports),
        (mine[1], reports, images),
    ):
        code = sinkhorn((own @ prototypes.T).detach(), 0.05, 3)
        logs = (other @ prototypes.T / 0.2).log_softmax(1)
        assert float(loss) == pytest.approx(float(-(code * logs).sum(1).mean()))


def test_the_encoders_say_what_they_say_without_their_attention() -> None:
    module = build().eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = module.image_encoder(images)
        found, looked = attentive_vit(module.image_encoder, images)
        batch = batch_of(module)
        mask = batch["attention_mask"]
        hidden = module.embed_pieces(batch["input_ids"])
        layers = module.text_encoder.bert.encoder.layer
        states, heard = attentive_bert(layers, hidden, mask)
        wanted = module.text_encoder.layers(hidden, mask)
    assert torch.allclose(found.pooled, plain.pooled, atol=1e-5)
    assert torch.allclose(found.tokens, plain.tokens, atol=1e-5)
    assert looked.shape == (2, 16)
    assert (looked.sum(1) < 1).all()
    real = mask[..., None]
    assert torch.allclose(states * real, wanted * real, atol=1e-5)
    assert torch.allclose(heard.sum(1), torch.ones(4))
    assert not heard[~mask].any()


def test_a_word_weighs_what_cls_gives_to_it_or_to_its_neighbour() -> None:
    module = build().eval()
    batch = batch_of(module)
    report = Pieces.of(batch)
    heard = {}
    with torch.no_grad():
        for kind in ("aligned", "official"):
            module.options = replace(module.options, token_weights=kind)
            heard[kind] = module.hear(report)[2]
        layers = module.text_encoder.bert.encoder.layer
        hidden = module.embed_pieces(report.ids)
        row = attentive_bert(layers, hidden, report.present)[1]
    slots = word_slots(report.continues, report.present)
    for b in range(4):
        pieces = [int(slot) for slot in slots[b] if slot < 48]
        for slot in range(1, max(pieces) + 1):
            places = [t for t, s in enumerate(pieces) if s == slot]
            own = sum(float(row[b, t]) for t in places)
            next_one = sum(float(row[b, t + 1]) for t in places)
            assert float(heard["aligned"][b, slot - 1]) == pytest.approx(own, abs=1e-6)
            shifted = float(heard["official"][b, slot - 1])
            assert shifted == pytest.approx(next_one, abs=1e-6)


def test_full_reports_lose_their_last_word_in_the_released_code() -> None:
    mask = torch.tensor([[True] * 6, [True] * 5 + [False]])
    continues = torch.tensor([[False] * 3 + [False, True, False]] * 2)
    slots = word_slots(continues, mask)
    assert slots.tolist() == [[0, 1, 2, 3, 3, 4], [0, 1, 2, 3, 3, 6]]
    lost = official_slots(slots, mask)
    assert lost.tolist() == [[0, 1, 2, 6, 6, 6], [0, 1, 2, 3, 3, 6]]


def test_padding_counts_nowhere_unless_asked_for() -> None:
    terms = {}
    for masked in (True, False):
        for tokens in (40, 48):
            module = build(mask_padding=masked, max_tokens=tokens).train()
            with torch.no_grad():
                terms[masked, tokens] = float(module.losses(batch_of(module))["cta"])
    assert terms[True, 40] == pytest.approx(terms[True, 48], rel=1e-5)
    assert terms[False, 40] != pytest.approx(terms[False, 48], rel=1e-3)


def test_prototypes_have_unit_length_and_wait_for_the_first_epoch() -> None:
    module = build().train()
    batch = batch_of(module)
    for epochs, frozen in ((1, True), (0, False)):
        module.options = replace(module.options, freeze_prototypes_epochs=epochs)
        torch.stack(list(module.losses(batch).values())).sum().backward()  # type: ignore[no-untyped-call]
        module.on_after_backward()
        assert (module.prototypes.weight.grad is None) == frozen
    lengths = module.prototypes.weight.detach().norm(dim=1)
    assert torch.allclose(lengths, torch.ones(6))


def test_crops_are_enlarged_for_a_resnet() -> None:
    module = build(**RESNET).eval()
    batch = batch_of(module, count=2)
    assert batch["image"].shape == (2, 1, 48, 48)
    with torch.no_grad():
        run = module.pass_of(batch)
        wide = functional.interpolate(
            module.image_encoder.normalise(batch["image"].expand(-1, 3, -1, -1)),
            (64, 64),
            mode="bilinear",
            align_corners=True,
        )
        wanted = module.image_encoder(wide).pooled
    assert torch.allclose(run.pooled, wanted, atol=1e-5)
    assert run.patches is not None
    assert run.patches.shape[1] == module.grid[0] * module.grid[1]
    assert torch.allclose(run.patch_weights.sum(1), torch.ones(2))


def test_parts_and_wholes_have_a_joint_space() -> None:
    module = build().eval()
    images = batch_of(module)["image"]
    with torch.no_grad():
        places = module.embed_patches(images)
        phrases = module.embed_phrases(["Small left effusion.", "Clear lungs."])
        wholes = module.embed_images(images), module.embed_texts(["No edema."])
    assert places is not None
    assert places.shape == (4, 16, 4, 4)
    for rows in (places.movedim(1, -1), phrases, *wholes):
        assert torch.allclose(rows.norm(dim=-1), torch.ones(rows.shape[:-1]), atol=1e-5)
    assert build(cta_weight=0.0).embed_patches(images) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [{}, {"cta_weight": 0.0}, {"mask_padding": False}, {"learnt_attention": True}],
    ids=lambda flags: "-".join(flags) or "all",
)
def test_two_processes_equal_one(flags: dict[str, Any], tmp_path: Path) -> None:
    module = build(**flags).double().train()
    batch = batch_of(module)
    batch["image"] = batch["image"].double() / 255
    assert_two_processes_equal_one(module, batch, tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"token_weights": "some"},
        {"negatives": "none"},
        {"ita_weight": -1.0},
        {"ita_weight": 0.0, "cpa_weight": 0.0},
        {"prototypes": 1},
        {"sinkhorn_iterations": 0},
        {"sinkhorn_epsilon": 0.0},
        {"crop_scale": 0.5, "resize": 64},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)).split("_")[0]):
        MGCA(**wrong)

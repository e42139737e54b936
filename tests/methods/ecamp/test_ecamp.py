from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.methods.paired import assert_every_parameter_learns, total, train_on
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.errors import BatchFieldError, ConfigError
from vlp_zoo.loading import collate_examples
from vlp_zoo.methods.ecamp.ecamp import ECAMP
from vlp_zoo.methods.ecamp.networks import SuperResolution
from vlp_zoo.methods.ecamp.window import ECAMPTransform, attention_window, cut
from vlp_zoo.types import Box, Report, Study

REPORTS = (
    "There is no pleural effusion. The heart size is normal.",
    "Large left pleural effusion with atelectasis. Mild cardiomegaly is unchanged.",
    "Lungs are clear.",
)


@pytest.fixture(scope="module")
def tokenizer() -> ReportTokenizer:
    return ReportTokenizer.train(REPORTS * 5, 160)


def build(tokenizer: ReportTokenizer, **arguments: Any) -> ECAMP:
    settings: dict[str, Any] = {
        "image_encoder": "micro",
        "image_size": 32,
        "decoder_width": 16,
        "decoder_depth": 1,
        "decoder_heads": 2,
        "text_width": 24,
        "text_depth": 2,
        "text_heads": 2,
        "text_ffn": 32,
        "max_tokens": 48,
    }
    module = ECAMP(**{**settings, **arguments})
    module.tokenizer = tokenizer
    module.vocab_size = tokenizer.vocab_size
    module.configure_model()
    return module


def study(index: int, **fields: Any) -> Study:
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (90, 80), dtype=np.uint8)
    report = Report(REPORTS[index % 3], context="There is effusion.")
    return Study(f"s{index}", "p", "s", image, report, **fields)


def batch_of(module: ECAMP, count: int = 3, train: bool = True, **fields: Any) -> Any:
    transform = pickle.loads(pickle.dumps(module.make_transform(train)))
    return collate_examples(
        [
            transform(study(i, **fields), np.random.default_rng((0, i)))
            for i in range(count)
        ]
    )


@pytest.mark.parametrize("variant", ["corrected", "official"])
def test_every_trainable_parameter_gets_a_gradient(
    tokenizer: ReportTokenizer, variant: str
) -> None:
    module = build(tokenizer, variant=variant).train()
    batch = batch_of(module)
    assert batch["image"].shape == (3, 1, 64, 64)
    assert batch["image"].dtype == torch.uint8
    assert module.batch_keys <= set(batch)
    assert list(module.losses(batch)) == ["mim", "res", "mlm"]
    assert_every_parameter_learns(module, batch)
    fixed = {n for n, p in module.named_parameters() if not p.requires_grad}
    assert fixed == {"image_encoder.timm.pos_embed"}


@pytest.mark.parametrize("term", ["mim", "res", "mlm"])
def test_a_term_of_weight_0_is_out_and_leaves_the_others_alone(
    tokenizer: ReportTokenizer, term: str
) -> None:
    found = []
    for weight in (1.0, 0.0):
        torch.manual_seed(0)
        settings = {f"{term}_weight": weight, "window_source": "centre"}
        module = build(tokenizer, text_dropout=0.0, **settings).train()
        found.append(module.losses(batch_of(module)))
    whole, without = found
    assert whole[term] > 0
    assert without[term] == 0
    assert all(torch.equal(whole[n], without[n]) for n in whole if n != term)


def test_one_scale_of_the_fusion_does_not_see_the_other(
    tokenizer: ReportTokenizer,
) -> None:
    for scales, part in (("fine", "coarse"), ("coarse", "cross_attention")):
        settings: dict[str, Any] = {"fusion": scales, "window_source": "centre"}
        module = build(tokenizer, **settings).train()
        total(module, batch_of(module)).backward()  # type: ignore[no-untyped-call]
        for name, parameter in module.fusion.named_parameters():
            assert parameter.grad is not None
            # Zero, not None: several devices wait for every gradient.
            silent = not parameter.grad.any()
            assert silent == name.startswith(part) or "key.bias" in name, name


def test_reports_without_context_and_tokens_of_equal_weight(
    tokenizer: ReportTokenizer,
) -> None:
    plain = [int(tokenizer.encode_padded(text, 48)[1].sum()) for text in REPORTS]
    longer = {}
    for insert in (True, False):
        module = build(tokenizer, insert_contexts=insert)
        lengths = batch_of(module, count=12)["attention_mask"].sum(1).tolist()
        longer[insert] = sum(n > plain[i % 3] for i, n in enumerate(lengths))
    assert longer[True] > 4
    assert longer[False] == 0
    assert build(tokenizer, rebalance=False).options.text_rules.template_weight == 1
    assert build(tokenizer).options.text_rules.template_weight == 0.05


@pytest.mark.slow
def test_a_few_steps_on_one_batch_lower_every_loss(tokenizer: ReportTokenizer) -> None:
    torch.manual_seed(0)
    module = build(tokenizer, text_dropout=0.0).train()
    batch = batch_of(module)
    before = {name: float(v.detach()) for name, v in module.losses(batch).items()}
    train_on(module, batch, steps=40, rate=3e-3)
    after = {name: float(v.detach()) for name, v in module.losses(batch).items()}
    assert after["mlm"] < 0.5 * before["mlm"]
    assert after["mim"] < before["mim"]
    assert after["res"] < before["res"]
    gains = dict(module.gains(batch, module.losses(batch)))
    assert set(gains) == {"image_gain/mlm", "text_gain/res"}


def test_what_a_sample_hides_does_not_depend_on_its_neighbours(
    tokenizer: ReportTokenizer,
) -> None:
    module = build(tokenizer).eval()
    batch = batch_of(module)
    order = torch.tensor([2, 0, 1])
    shuffled: Any = {
        name: value[order] if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }
    assert torch.equal(module.mask_words(shuffled), module.mask_words(batch)[order])
    assert torch.equal(module.patch_noise(shuffled), module.patch_noise(batch)[order])
    with torch.no_grad():
        assert torch.allclose(total(module, shuffled), total(module, batch), atol=1e-5)
        again = total(module, batch)
        assert torch.equal(again, total(module, batch))


def test_hidden_words_and_patches_do_not_leak(tokenizer: ReportTokenizer) -> None:
    module = build(tokenizer).eval()
    batch = batch_of(module)
    masked = module.mask_words(batch)
    hidden = masked != batch["input_ids"]
    assert hidden.any()
    assert not hidden[:, 0].any()
    assert not (hidden & ~batch["attention_mask"]).any()
    images = module.image_encoder.normalise(batch["image"])
    noise = module.patch_noise(batch)
    with torch.no_grad():
        run = module.run(images, masked, batch["attention_mask"], noise)
        changed = images.clone()
        # Patches are 16 px of the large image; the resize looks a little beyond.
        where = run.mask.hidden[0].view(4, 4)
        inner = functional.pad(where[None, None].float(), (1, 1, 1, 1), value=1.0)
        lonely = functional.avg_pool2d(inner, 3, stride=1)[0, 0] == 1.0
        assert run.mask.hidden.sum(1).tolist() == [12, 12, 12]
        for row, column in lonely.nonzero().tolist():
            changed[0, :, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] += (
                3.0
            )
        other = module.run(changed, masked, batch["attention_mask"], noise)
    assert lonely.any()
    assert torch.allclose(run.latent, other.latent, atol=1e-5)
    assert torch.allclose(run.text, other.text, atol=1e-5)


def test_masked_means_and_full_means_differ_by_the_shares(
    tokenizer: ReportTokenizer,
) -> None:
    settings: dict[str, Any] = {"variant": "official", "window_source": "centre"}
    full = build(tokenizer, **settings).eval()
    masked = build(tokenizer, masked_mean=True, **settings).eval()
    masked.load_state_dict(full.state_dict())
    batch = batch_of(full)
    with torch.no_grad():
        ours, theirs = masked.losses(batch), full.losses(batch)
    assert torch.allclose(0.75 * ours["mim"], theirs["mim"])
    # 3 of 4 patches a side: 12/14 of the grid, rounded.
    assert torch.allclose((3 / 4) ** 2 * ours["res"], theirs["res"])
    assert torch.allclose(ours["mlm"], theirs["mlm"])


@pytest.mark.parametrize("variant", ["corrected", "official"])
def test_trimming_is_exact_where_padding_is_not_predicted(
    tokenizer: ReportTokenizer, variant: str
) -> None:
    whole = build(tokenizer, variant=variant).eval()
    trimmed = build(tokenizer, variant=variant, trim_padding=True).eval()
    trimmed.load_state_dict(whole.state_dict())
    batch = batch_of(whole)
    assert int(batch["attention_mask"].sum(1).max()) < 48
    with torch.no_grad():
        a, b = whole.losses(batch), trimmed.losses(batch)
    same = torch.allclose(a["mlm"], b["mlm"], rtol=1e-5)
    assert same == (variant == "corrected")
    assert torch.allclose(a["mim"], b["mim"])


def slow_super_resolution(head: SuperResolution, image: Tensor) -> Tensor:
    doubled = functional.interpolate(
        image, scale_factor=2.0, mode="bilinear", align_corners=False
    )
    sharp = head.conv2(head.conv1(doubled).relu()) + doubled
    result: Tensor = sharp.relu() if head.final_relu else sharp
    return result


@pytest.mark.parametrize("final_relu", [False, True])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 7), (8, 8), (20, 15)])
def test_a_window_equals_the_same_part_of_the_whole(
    final_relu: bool, row: int, column: int
) -> None:
    head = SuperResolution(final_relu)
    image = torch.randn(2, 3, 12, 12)
    whole = slow_super_resolution(head, image)
    rows = row + torch.arange(10).expand(2, -1)
    columns = column + torch.arange(10).expand(2, -1)
    part, inside = cut(whole, rows, columns)
    ours = head(image, rows, columns)
    assert torch.allclose((ours - part) * inside, torch.zeros(()), atol=1e-5)
    expected = max(24 - row, 0) if row > 14 else 10
    assert int(inside[0, 0, :, 0].sum()) == expected


def test_the_attention_window_by_a_loop() -> None:
    torch.manual_seed(0)
    grid, cells = (5, 5), 4
    keep = torch.stack([torch.randperm(25)[:9] for _ in range(3)])
    attention = torch.rand(3, 6, 9)
    asking = torch.rand(3, 6) < 0.5
    asking[2] = False
    found = attention_window(attention, asking, keep, grid)
    for b in range(2):
        place = np.zeros(grid)
        for t in range(6):
            for v in range(9):
                number = int(keep[b, v])
                place[number // 5, number % 5] += float(
                    attention[b, t, v] * asking[b, t]
                )
        sums = {
            (r, c): place[r : r + cells, c : c + cells].sum()
            for r in range(2)
            for c in range(2)
        }
        assert tuple(found[b].tolist()) == max(sums, key=lambda key: sums[key])
    assert found[2].tolist() == [0, 0]


def test_given_windows_need_the_field_and_know_their_axes(
    tokenizer: ReportTokenizer,
) -> None:
    official = build(tokenizer, variant="official", window_source="batch").eval()
    batch = batch_of(official, train=False, facts={"window_origin": (1, 0)})
    assert batch["window_origin"].tolist() == [[1, 0]] * 3
    images = official.image_encoder.normalise(batch["image"])
    run = official.run(
        images,
        batch["input_ids"],
        batch["attention_mask"],
        official.patch_noise(batch),
    )
    entity, origin = batch["entity_mask"], batch["window_origin"]
    # The official code lets "column" count downwards.
    assert official.window(run, entity, origin)[0].tolist() == [1, 0]
    corrected = build(tokenizer, window_source="batch").eval()
    assert corrected.window(run, entity, origin)[0].tolist() == [0, 1]
    with pytest.raises(BatchFieldError, match="window_origin"):
        corrected.window(run, entity, None)


def test_attention_windows_start_at_the_centre(tokenizer: ReportTokenizer) -> None:
    module = build(tokenizer, window_warmup_steps=5, image_size=56).eval()
    assert module.image_encoder.grid == (7, 7)
    batch = batch_of(module)
    images = module.image_encoder.normalise(batch["image"])
    ids, present = batch["input_ids"], batch["attention_mask"]
    run = module.run(images, ids, present, module.patch_noise(batch))
    options = module.options
    module.options = replace(options, window_source="centre")
    centre = module.window(run, present, None)
    module.options = options
    assert torch.equal(module.window(run, present, None), centre)
    module.options = replace(options, window_warmup_steps=0)
    expected = attention_window(run.attention, present, run.mask.keep_ids, (7, 7))
    assert torch.equal(module.window(run, present, None), expected)


def test_windows_follow_boxes_through_crop_and_flip(tokenizer: ReportTokenizer) -> None:
    report: Any = build(tokenizer).make_transform(True).report
    box = Box("effusion", (60, 70, 80, 90), "lesion")
    region = Box("heart", (0, 0, 10, 10))
    shown = study(0, boxes=(region, box))
    settings: dict[str, Any] = {"image_px": 64, "grid": (14, 14), "window": "boxes"}
    plain = ECAMPTransform(report, train=False, **settings)
    origin = plain(shown, np.random.default_rng(0))["window_origin"]
    assert origin.tolist() == [2, 2]
    follow = ECAMPTransform(report, train=True, flip=1.0, **settings)
    stay = ECAMPTransform(report, train=True, flip=1.0, follow_crop=False, **settings)
    origins = [
        follow(shown, np.random.default_rng(i))["window_origin"][0].item()
        for i in range(20)
    ]
    # Mirrored, a lesion on the right lies on the left, unless cropped away.
    assert 0 in origins
    assert all(
        stay(shown, np.random.default_rng(i))["window_origin"].tolist() == [2, 2]
        for i in range(5)
    )


def test_equal_channels_are_cropped_alike(tokenizer: ReportTokenizer) -> None:
    transform = build(tokenizer).make_transform(False)
    grey = study(0)
    colour = Study(
        "c", "p", "s", np.repeat(grey.image[..., None], 3, axis=2), grey.report
    )
    a = transform(grey, np.random.default_rng(0))["image"]
    b = transform(colour, np.random.default_rng(0))["image"]
    assert b.shape == (3, *a.shape[1:])
    assert all(np.array_equal(a[0], channel) for channel in b)


def test_pictures_and_report(tokenizer: ReportTokenizer) -> None:
    module = build(tokenizer).eval()
    with torch.no_grad():
        shown = module.pictures(batch_of(module))
    sides = {"input": 32, "masked_input": 32, "reconstruction": 32}
    for name, side in {**sides, "super_resolution": 64}.items():
        picture = shown[name]
        assert isinstance(picture, Tensor)
        assert picture.shape == (3, side, 3 * side)
        assert 0 <= float(picture.min()) <= float(picture.max()) <= 1
    drawn = shown["report"]
    assert isinstance(drawn, Tensor)
    red = (drawn[0] > 0.8) & (drawn[1] < 0.3)
    assert red.any()  # some words are hidden
    assert not red.all()
    report = shown["report_text"]
    assert isinstance(report, str)
    assert "`" in report
    assert len(report.split("\n\n")) == 3


def test_paper_values_are_the_defaults() -> None:
    options = ECAMP().options
    assert options.mask_ratio == 0.75
    assert (options.decoder_width, options.decoder_depth) == (512, 4)
    assert options.decoder_heads == 16
    assert (options.text_width, options.text_depth, options.text_heads) == (768, 6, 6)
    assert (options.text_ffn, options.text_dropout) == (1536, 0.1)
    assert (options.learning_rate, options.weight_decay) == (1.5e-4, 0.05)
    assert (options.warmup_epochs, options.schedule_epochs) == (40, 200)


@pytest.mark.parametrize(
    "arguments",
    [
        {"variant": "paper"},
        {"window_source": "oracle"},
        {"position_table": "learned"},
        {"entities": "all"},
        {"horizontal_flip": 2.0},
        {"fusion": "none"},
        {"res_weight": -1.0},
        {"mlm_weight": 0.0},
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        ECAMP(**arguments)


def test_impossible_networks_are_refused(tokenizer: ReportTokenizer) -> None:
    with pytest.raises(ConfigError, match="decoder_width"):
        build(tokenizer, decoder_width=18)
    with pytest.raises(ConfigError, match="ViT"):
        build(tokenizer, image_encoder="tiny_resnet")

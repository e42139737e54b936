from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align
from transformers import BertModel

from tests.fakes.text_models import text_model
from tests.methods.paired import (
    REPORTS,
    TEXT,
    assert_each_image_finds_its_text,
    assert_every_parameter_learns,
    assert_two_processes_equal_one,
    batch_of,
    prepared,
    study,
    total,
    train_on,
)
from vlp_zoo.cli import main
from vlp_zoo.errors import ConfigError, DatasetNotFoundError, EncoderLoadError
from vlp_zoo.methods.asg.asg import ASG
from vlp_zoo.methods.asg.losses import (
    external_loss,
    global_loss,
    global_scores,
    region_loss,
    soft_labels,
)
from vlp_zoo.methods.asg.networks import TagDecoder, look_up, tag_queries
from vlp_zoo.methods.asg.regions import roi_weights, sentence_means
from vlp_zoo.methods.paired.captions import report_sentences
from vlp_zoo.methods.paired.restarts import cosine_restarts
from vlp_zoo.methods.paired.words import merge_words, word_slots
from vlp_zoo.methods.stored import load_method
from vlp_zoo.reports.regions import RegionAtlas
from vlp_zoo.reports.words.tags import TAGS

TINY: dict[str, Any] = {
    "image_encoder": "micro",
    "image_size": 32,
    **TEXT,
    "text_positions": 48,
    "joint_width": 16,
    "head_hidden": 24,
    "tag_depth": 2,
    "tag_heads": 2,
    "tag_ffn": 24,
    "tag_dropout": 0.0,
    "region_atlas": "phantom",
}
OFFICIAL: dict[str, Any] = {
    "official_roi_index": True,
    "official_positions": True,
    "roi_aligned": False,
    "shared_positives": False,
    "negatives": "local",
    "sync_bn": False,
    "antialias": False,
}


def build(width: int = 20, **arguments: Any) -> ASG:
    module = ASG(**{**TINY, "tag_width": width, **arguments})
    generator = torch.Generator().manual_seed(3)
    module.known_tags = torch.randn(40, width, generator=generator)
    ready: ASG = prepared(module)
    return ready


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"image_encoder": "tiny_resnet", "image_size": 48},
        {"width": 32},
        {"arsa_weight": 0.0},
        {"irl_weight": 0.0, "erl_weight": 0.0},
        {"ira_weight": 0.0, "arsa_weight": 0.0, "irl_weight": 0.0},
        OFFICIAL,
    ],
)
def test_every_trainable_parameter_gets_a_gradient(kind: dict[str, Any]) -> None:
    module = build(**kind).train()
    batch = batch_of(module)
    assert (batch["region_groups"] >= 0).any()
    assert_every_parameter_learns(module, batch)
    wanted = [name for name, weight in module.options.weights.items() if weight]
    assert sorted(module.losses(batch)) == sorted(wanted)
    frozen = {n for n, p in module.named_parameters() if not p.requires_grad}
    assert frozen == {"text_encoder.bert.embeddings.token_type_embeddings.weight"}


def test_a_batch_without_regions_costs_nothing_and_stays_connected() -> None:
    module = build().train()
    batch = batch_of(module)
    batch["region_groups"][:] = -1
    assert float(module.losses(batch)["arsa"].detach()) == 0.0
    assert_every_parameter_learns(module, batch)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [{}, {"image_encoder": "tiny_resnet", "image_size": 48}]
)
def test_two_processes_equal_one(tmp_path: Path, kind: dict[str, Any]) -> None:
    module = build(**kind).train()
    batch = batch_of(module, count=8)
    # Processes differ in regions: the mean runs over all of them.
    batch["region_groups"][:2] = -1
    # In double precision: batch norm makes some gradients small sums of large numbers.
    batch["image"] = batch["image"].double() / 255
    module.double()
    assert_two_processes_equal_one(module, batch, tmp_path)


@pytest.mark.slow
def test_it_learns_one_batch_by_heart_and_embeds_accordingly() -> None:
    torch.manual_seed(0)
    module = build().train()
    batch = batch_of(module, count=8, train=False)
    before = {name: float(v.detach()) for name, v in module.losses(batch).items()}
    train_on(module, batch, steps=80, rate=3e-3)
    after = {name: float(v.detach()) for name, v in module.losses(batch).items()}
    assert after["ira"] < 0.2 * before["ira"]
    assert after["erl"] < 0.5 * before["erl"]
    assert after["irl"] < 0.3 * before["irl"]
    # Regions that share sentences keep the entropy of their targets.
    assert after["arsa"] < before["arsa"] - 0.3
    module.eval()
    with torch.no_grad():
        gains = dict(module.gains(batch, module.losses(batch)))
        assert set(gains) == {f"image_gain/{term}" for term in after}
        # Tags that all reports lack cost nothing, whichever image is shown.
        assert min(v for k, v in gains.items() if not k.endswith("irl")) > 0.1
    assert_each_image_finds_its_text(module, batch)


def test_regions_come_from_their_own_image() -> None:
    module = build().eval()
    batch = batch_of(module)
    changed: Any = {**batch, "image": batch["image"].clone()}
    changed["image"][1] = 255 - changed["image"][1]
    features = []
    for one in (batch, changed):
        run = module.pass_of(one)
        features.append(module.region_features(run, one["region_boxes"], None))
    moved = (features[0] - features[1]).abs().amax((1, 2)) > 1e-4
    assert moved.tolist() == [False, True, False, False]


def test_the_stale_index_reads_other_images() -> None:
    right = build().eval()
    stale = build(official_roi_index=True).eval()
    stale.load_state_dict(right.state_dict())
    batch = batch_of(right, count=6)
    lengths = batch["attention_mask"].sum(1)
    order = sorted(range(6), key=lambda i: (-int(lengths[i]), i))
    assert order != list(range(6))
    with torch.no_grad():
        a, b = right.losses(batch), stale.losses(batch)
        # Sorted by length, every sample sits where its index points to ... of then.
        moved: Any = {
            name: value[order] if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }
        run = right.pass_of(moved)
        official = right.terms(run, moved, torch.tensor(order))
    assert not torch.isclose(a["arsa"], b["arsa"], rtol=1e-3)
    assert torch.isclose(official["arsa"], b["arsa"], rtol=1e-4)
    assert torch.isclose(a["ira"], b["ira"], rtol=1e-5)


def test_official_positions_make_the_report_a_set() -> None:
    module = build(official_positions=True, arsa_weight=0.0).eval()
    ordered = build(arsa_weight=0.0).eval()
    for one, same in ((module, True), (ordered, False)):
        with torch.no_grad():
            a, b = one.embed_texts(["large left effusion", "effusion left large"])
        assert torch.allclose(a, b, atol=1e-5) == same


# The parts against loops and other libraries -------------------------------------


@pytest.mark.parametrize("aligned", [True, False])
def test_regions_equal_torchvision(aligned: bool) -> None:
    torch.manual_seed(0)
    grid, width = (7, 9), 5
    corners = torch.rand(3, 6, 4) * torch.tensor([9.0, 7.0, 9.0, 7.0])
    low = torch.minimum(corners[..., :2], corners[..., 2:])
    high = torch.maximum(corners[..., :2], corners[..., 2:])
    boxes = torch.cat([low, high], dim=-1)
    boxes[0, 0] = torch.tensor([0.0, 0.0, 9.0, 7.0])
    maps = torch.randn(3, width, *grid)
    indices = torch.arange(3.0).repeat_interleave(6)[:, None]
    expected = roi_align(
        maps,
        torch.cat([indices, boxes.flatten(0, 1)], dim=1),
        output_size=1,
        aligned=aligned,
    ).view(3, 6, width)
    found = roi_weights(boxes, grid, aligned) @ maps.flatten(2).transpose(1, 2)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_whole_cell_is_that_patch() -> None:
    box = torch.tensor([[[2.0, 1.0, 3.0, 2.0]]])
    weights = roi_weights(box, (4, 4))[0, 0].view(4, 4)
    assert float(weights[1, 2]) == pytest.approx(1.0)
    assert float(weights.sum()) == pytest.approx(1.0)
    shifted = roi_weights(box, (4, 4), aligned=False)[0, 0].view(4, 4)
    assert shifted[1:3, 2:4].flatten().tolist() == pytest.approx([0.25] * 4)


def test_words_and_sentences_by_a_loop() -> None:
    torch.manual_seed(0)
    pieces = torch.randn(3, 9, 4)
    continues = torch.rand(3, 9) < 0.4
    continues[:, 0] = False
    present = torch.arange(9) < torch.tensor([9, 5, 1])[:, None]
    words = merge_words(pieces, word_slots(continues & present, present))
    for row in range(3):
        expected: list[Tensor] = []
        for place in range(int(present[row].sum())):
            if continues[row, place]:
                expected[-1] = expected[-1] + pieces[row, place]
            else:
                expected.append(pieces[row, place])
        assert torch.allclose(words[row, : len(expected)], torch.stack(expected))
        assert not words[row, len(expected) :].any()
    counts = torch.randint(0, 3, (3, 4, 9), dtype=torch.uint8)
    counts[1, 2] = 0
    means = sentence_means(counts, words)
    for row in range(3):
        for slot in range(4):
            index = [i for i in range(9) for _ in range(int(counts[row, slot, i]))]
            wanted = words[row, index].mean(0) if index else torch.zeros(4)
            assert torch.allclose(means[row, slot], wanted, atol=1e-6)


def test_region_loss_by_a_loop() -> None:
    torch.manual_seed(0)
    regions, sentences = torch.randn(3, 5, 8), torch.randn(3, 5, 8)
    groups = torch.tensor([[0, 1, 2, -1, -1], [-1] * 5, [0, 0, 2, 3, 3]])
    found = region_loss(regions, sentences, groups, 0.5, gather=False)
    loss, number = torch.zeros(()), 0
    for row in range(3):
        valid = [r for r in range(5) if groups[row, r] >= 0]
        for r in valid:
            same = [s for s in valid if groups[row, s] == groups[row, r]]
            for a, b in ((regions, sentences), (sentences, regions)):
                scores = a[row, r] @ b[row, valid].T / 0.5
                chances = scores.log_softmax(0)
                loss -= torch.stack([chances[valid.index(s)] for s in same]).mean()
        number += len(valid)
    assert torch.allclose(found, loss / number, rtol=1e-5)


def test_one_region_teaches_nothing() -> None:
    regions = torch.randn(2, 3, 4, requires_grad=True)
    groups = torch.tensor([[0, -1, -1], [-1, -1, -1]])
    loss = region_loss(regions, torch.randn(2, 3, 4), groups, 0.07, gather=False)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0.0
    assert regions.grad is not None
    assert not regions.grad.any()


def test_global_losses_by_torch() -> None:
    torch.manual_seed(0)
    images = functional.normalize(torch.randn(5, 8), dim=1)
    reports = functional.normalize(torch.randn(5, 8), dim=1)
    tags = (torch.rand(5, 40) < 0.1).float()
    tags[2] = 0
    scores = global_scores(images, reports, 0.07, gather=False)
    logits = images @ reports.T / 0.07
    own = torch.arange(5)
    expected = functional.cross_entropy(logits, own)
    expected = expected + functional.cross_entropy(logits.T, own)
    assert torch.allclose(global_loss(scores, gather=False), expected, rtol=1e-5)
    labels = soft_labels(tags, gather=False)
    assert torch.allclose(labels.sum(1), torch.ones(5))
    assert float(labels[2, 2]) > 0.99
    parts = []
    for side in (logits, logits.T):
        found = side.log_softmax(1)
        parts += [
            functional.kl_div(found, labels, reduction="batchmean"),
            functional.kl_div(labels.log(), found.exp(), reduction="batchmean"),
        ]
    ours = external_loss(scores, labels)
    assert torch.allclose(ours, torch.stack(parts).sum() / 4, rtol=1e-4)


def test_the_tag_decoder_is_a_transformer_decoder() -> None:
    torch.manual_seed(0)
    decoder = TagDecoder(16, 12, depth=2, heads=2, ffn=8, dropout=0.0)
    for name, parameter in decoder.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    tags, patches = torch.randn(40, 16), torch.randn(2, 9, 12)
    memory = decoder.memory(patches)
    decoded = decoder.decoder(tags.expand(2, -1, -1), memory)
    expected = decoder.score(decoded).squeeze(2)
    found = decoder(tags, patches)
    assert torch.allclose(found, expected, atol=1e-5)
    parameters = list(decoder.parameters())
    gradients = torch.autograd.grad(expected.square().sum(), parameters)
    ours = torch.autograd.grad(found.square().sum(), parameters)
    for a, b in zip(gradients, ours, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3)
    last = decoder.decoder.layers[-1].multihead_attn
    queries = torch.randn(2, 40, 16)
    same, weights = look_up(last, queries, memory)
    theirs, shown = last(queries, memory, memory)
    assert torch.allclose(same, theirs, atol=1e-5)
    assert torch.allclose(weights.view(2, 2, 40, 9).mean(1), shown, atol=1e-5)
    assert decoder.attention(tags, patches).shape == (2, 40, 9)


def test_dropout_of_look_ups_keeps_the_mean() -> None:
    torch.manual_seed(0)
    attention = torch.nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
    torch.nn.init.normal_(attention.in_proj_bias)
    queries, memory = torch.randn(1, 3, 8), torch.randn(1, 6, 8)
    with torch.no_grad():
        draws = [look_up(attention, queries, memory)[0] for _ in range(4000)]
        attention.eval()
        exact = look_up(attention, queries, memory)[0]
    assert not torch.equal(draws[0], draws[1])
    assert torch.allclose(torch.stack(draws).mean(0), exact, atol=0.05)


def test_the_schedule_starts_anew() -> None:
    rates = [cosine_restarts(step, 3, 8, 1.0) for step in range(20)]
    assert rates[0] == rates[8] == 1e-8
    assert rates[3] == rates[11] == 1.0
    assert rates[7] < rates[6] < rates[5]


# Around training -----------------------------------------------------------------


def test_tag_queries_tell_tags_apart_that_the_corpus_never_names() -> None:
    data = SimpleNamespace(
        corpus=lambda: iter(REPORTS * 3), corpus_fingerprint="paired reports"
    )
    features = tag_queries("corpus", data, 24)
    assert features.shape[0] == 40
    unit = functional.normalize(features)
    cosines = (unit @ unit.T).fill_diagonal_(0)
    assert float(cosines.max()) < 0.95
    assert torch.equal(features, tag_queries("corpus", data, 24))


def test_without_fitting_tag_features_it_says_so() -> None:
    module = prepared(ASG(**TINY))
    with pytest.raises(ConfigError, match="known_tags"):
        module.losses(batch_of(module))
    with pytest.raises(ConfigError, match="tag_width 20"):
        build(tag_width=24)


def test_checkpoints_bring_their_tags(tmp_path: Path) -> None:
    module = build()
    trainer = Trainer(max_steps=0, logger=False, default_root_dir=tmp_path)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "asg.ckpt")
    fresh: Any = load_method(tmp_path / "asg.ckpt")
    for name, value in module.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name])
    batch = batch_of(module)
    with torch.no_grad():
        assert torch.equal(total(module.eval(), batch), total(fresh, batch))


def test_the_report_encoder_starts_from_the_first_layers_of_a_bert(
    tmp_path: Path,
) -> None:
    folder = text_model(tmp_path / "bert", "bert", REPORTS)
    start = {"text_model": str(folder), "max_tokens": 40}

    def pretrained(**settings: Any) -> ASG:
        module = ASG(**{**TINY, **start, "irl_weight": 0.0, **settings})
        module.tokenizer = module.load_tokenizer(module.options.tokenizer_name)
        module.vocab_size = module.tokenizer.vocab_size
        module.configure_model()
        return module

    module = pretrained(text_depth=1)
    ours = module.text_encoder.bert.state_dict()
    theirs = BertModel.from_pretrained(folder).state_dict()
    assert {name for name in ours if "layer.1." in name} == set()
    for name, value in ours.items():
        same = torch.equal(value, theirs[name])
        assert same != ("token_type" in name), name
    assert not ours["embeddings.token_type_embeddings.weight"].any()
    assert {p.p for p in module.modules() if isinstance(p, nn.Dropout)} == {0.0}
    assert module.report_head(torch.randn(3, 16)).shape == (3, TINY["joint_width"])

    trainer = Trainer(max_steps=0, logger=False, default_root_dir=tmp_path)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "asg.ckpt")
    shutil.rmtree(folder)
    fresh = load_method(tmp_path / "asg.ckpt").state_dict()
    for name, value in module.state_dict().items():
        assert torch.equal(value, fresh[name])

    text_model(folder, "bert", REPORTS)
    with pytest.raises(EncoderLoadError, match=r"missing.*layer\.2"):
        pretrained(text_depth=3)


def test_pictures_show_regions_scores_and_tags() -> None:
    module = build().eval()
    with torch.no_grad():
        shown = module.pictures(batch_of(module))
    for name, shape in {
        "regions": (3, 4 * 224, 644),
        "region_sentence_scores": (3, 29 * 12, 4 * 29 * 12),
    }.items():
        picture = shown[name]
        assert isinstance(picture, Tensor)
        assert picture.shape == shape
        assert 0 <= float(picture.min()) <= float(picture.max()) <= 1
    colours = shown["regions"]
    assert isinstance(colours, Tensor)
    # Boxes are coloured; images are grey.
    grey = colours[0, :, :224] - colours[2, :, :224]
    assert (grey.abs() > 0.3).any()
    tags = shown["tags"]
    assert isinstance(tags, str)
    assert len(tags.split("\n\n")) == 4
    assert "**pleural effusion**" in tags


def test_the_atlas_serves_images_without_boxes(tmp_path: Path) -> None:
    shown, none = build(), build(region_source="study")
    assert (batch_of(shown)["region_groups"] >= 0).any()
    assert not (batch_of(none)["region_groups"] >= 0).any()
    path = tmp_path / "atlas.json"
    RegionAtlas({"left costophrenic angle": (0.5, 0.5, 1.0, 1.0)}).save(path)
    own = build(region_atlas=str(path))
    example = own.make_transform(False)(study(1), np.random.default_rng(0))
    assert (example["region_groups"] >= 0).sum() == 1
    path.write_text(json.dumps({"boxes": {"left lung": [1, 2]}}))
    with pytest.raises(DatasetNotFoundError, match="atlas"):
        ASG(region_atlas=str(path))


def fit_pairs(folder: Path, *words: str, boxes: str = "") -> int:
    rng = np.random.default_rng(0)
    rows = ["image,findings,split,boxes"]
    for i in range(6):
        pixels = rng.integers(0, 256, (40, 40), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        rows.append(f'{i}.png,{REPORTS[i]},{"val" if i > 3 else "train"},"{boxes}"')
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    command = ["fit", "--config=demo/asg", "--data=pairs", f"--out={folder / 'out'}"]
    command += [f"--data.path={folder / 'pairs.csv'}", "--data.batch_size=2"]
    command += ["--trainer.max_epochs=1", "--data.num_workers=0", "--evaluate=[]"]
    return main([*command, "--trainer.accelerator=cpu", *words])


def card_of(folder: Path) -> dict[str, Any]:
    (card,) = folder.rglob("version_*/encoder.json")
    content: dict[str, Any] = json.loads(card.read_text())
    return content


@pytest.mark.slow
def test_other_data_without_boxes_are_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit_pairs(tmp_path) == 1
    said = " ".join(capsys.readouterr().err.split())
    for way in (
        "'boxes' column",
        "--model.scene_graphs DIR",
        "--model.region_atlas FILE",
    ):
        assert way in said
    assert "--model.region_atlas phantom" in said
    assert not list(tmp_path.rglob("*.ckpt"))
    assert fit_pairs(tmp_path, "--model.arsa_weight=0") == 0
    assert "regions" not in card_of(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["study", "file", "phantom"])
def test_the_card_says_where_the_regions_came_from(tmp_path: Path, source: str) -> None:
    words, boxes = [], ""
    expected: dict[str, Any] = dict.fromkeys(("scene_graphs", "study", "none"), 0.0)
    if source == "study":
        boxes = "[{'name': 'left lung', 'xyxy': [1, 2, 30, 31]}]".replace("'", '""')
    elif source == "file":
        RegionAtlas({"left lung": (0.5, 0.1, 0.9, 0.9)}, "mine").save(
            tmp_path / "a.json"
        )
        words = [f"--model.region_atlas={tmp_path / 'a.json'}"]
    else:
        words = ["--model.region_atlas=phantom"]
    assert fit_pairs(tmp_path, *words, boxes=boxes) == 0
    origin = {"study": None, "file": "mine", "phantom": "phantom_chest"}[source]
    expected |= {"atlas": 0.0, "looked_at": 4, "atlas_origin": origin}
    expected["study" if source == "study" else "atlas"] = 1.0
    assert card_of(tmp_path)["regions"] == expected


@pytest.mark.parametrize(
    "arguments",
    [
        {"negatives": "some"},
        {"ira_weight": 0.0, "erl_weight": 0.0},
        {"irl_weight": -1.0},
        {"region_source": "oracle"},
        {"scene_graphs": "nowhere"},
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, Any]) -> None:
    name = next(iter(arguments))
    with pytest.raises((ConfigError, DatasetNotFoundError), match=name.split("_")[0]):
        ASG(**arguments)


def test_paper_values_are_the_defaults() -> None:
    options = ASG().options
    assert (options.text_width, options.text_depth, options.text_heads) == (768, 6, 12)
    assert (options.text_ffn, options.text_dropout) == (3072, 0.0)
    assert (options.head_hidden, options.joint_width) == (2048, 128)
    assert (options.tag_depth, options.tag_heads, options.tag_ffn) == (4, 4, 1024)
    assert options.tag_dropout == 0.1
    assert options.weights == {"ira": 1.0, "arsa": 1.0, "irl": 5.0, "erl": 1.0}
    assert (options.learning_rate, options.weight_decay) == (4e-5, 0.05)
    assert (options.square, options.max_tokens, len(TAGS)) == (256, 112, 40)


def test_radgraph_annotations_replace_the_rules(tmp_path: Path) -> None:
    one = study(1)
    (first, *_) = report_sentences(one.report)
    said = {"tokens": "hernia", "label": "OBS-DP", "start_ix": 0, "end_ix": 0}
    report = {"text": first, "entities": {"1": {**said, "relations": []}}}
    file = tmp_path / "radgraph.json"
    file.write_text(json.dumps({"s1": report}))
    module = build(radgraph=str(file))
    example = module.make_transform(False)(one, np.random.default_rng(0))
    plain = build().make_transform(False)(one, np.random.default_rng(0))
    place = TAGS.index("hernia")
    assert (example["tags"][place], plain["tags"][place]) == (1, 0)

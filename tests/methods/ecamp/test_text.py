from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tests.conftest import require_shared
from tests.methods.ecamp import text_reference as slow
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.methods.ecamp.text import (
    CORRECTED,
    OFFICIAL,
    ReportTransform,
    TextRules,
    TokenTables,
    assemble,
    insertion_points,
    mark_tokens,
    render_masked,
    select_masked,
    token_weights,
)
from vlp_zoo.parity.ecamp.replay import replay_fixture
from vlp_zoo.parity.replay import Vocabulary
from vlp_zoo.reports.contexts.context import distil
from vlp_zoo.reports.words.entities import ENTITIES
from vlp_zoo.types import Report, Study

WORDS = [
    "there",
    "is",
    "no",
    "evidence",
    "of",
    "effusion",
    "effusions",
    "pneumothorax",
    "pneumothoraces",
    "edema",
    "mild",
    "left",
    "small",
    "basal",
    "opacity",
    "opacities",
    ".",
    ".",
    ",",
    "unremarkable",
    "cardiomediastinal",
    "nodule",
]
CORPUS = [
    "There is no evidence of effusion. There is no pneumothorax.",
    "Mild left basal opacity, small nodule. Edema is of no evidence.",
] * 20
REAL = "There is a 3.5 cm nodule. There is no effusion. Mild edema."


@pytest.fixture(scope="module")
def tokenizer() -> ReportTokenizer:
    trained = ReportTokenizer.train(CORPUS, 260)
    # The random texts must have entities of one piece and of several.
    assert len(trained.pieces("effusion")) == 1
    assert len(trained.pieces("pneumothoraces")) > 1
    return trained


def random_text(rng: np.random.Generator, length: int) -> str:
    return " ".join(rng.choice(WORDS, size=length))


def make_study(text: str, context: str | None = None) -> Study:
    report = Report(text, context=context)
    return Study("u", "p", "s", np.zeros((4, 4), np.uint8), report)


def positions(mask: Any) -> set[int]:
    return set(np.flatnonzero(mask).tolist())


def batch_of(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(np.stack([row[name] for row in rows]))
        for name in rows[0]
    }


def hide(
    batch: dict[str, torch.Tensor],
    noise: tuple[torch.Tensor, torch.Tensor],
    rules: TextRules,
) -> torch.Tensor:
    return select_masked(
        batch["attention_mask"],
        batch["entity_mask"],
        batch["descriptor_mask"],
        batch["continuation_mask"],
        token_noise=noise[0],
        entity_noise=noise[1],
        rules=rules,
    )


def weigh(batch: dict[str, torch.Tensor], rules: TextRules) -> torch.Tensor:
    return token_weights(
        batch["attention_mask"],
        batch["descriptor_mask"],
        batch["template_mask"],
        rules=rules,
    )


def random_batch(
    tokenizer: ReportTokenizer, rules: TextRules, seed: int, length: int = 40
) -> tuple[dict[str, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    rng = np.random.default_rng(seed)
    transform = ReportTransform(tokenizer, length, rules)
    sizes = rng.integers(0, 45, size=64)
    batch = batch_of([transform.encode(random_text(rng, n)) for n in sizes])
    shape = (len(sizes), length)
    noise = torch.from_numpy(rng.random(shape)), torch.from_numpy(rng.random(shape))
    return batch, noise


# Recordings of the authors' code ------------------------------------------------


@pytest.fixture(scope="module")
def published() -> tuple[Path, ReportTokenizer]:
    folder = require_shared("golden", "ecamp")
    tokenizer = ReportTokenizer.from_file(folder / "mimic_wordpiece.json")
    return folder / "text_public", tokenizer


def test_recorded_runs_are_replayed_bit_for_bit(
    published: tuple[Path, ReportTokenizer],
) -> None:
    rows = [row for row in replay_fixture(published[0]) if row.ok]
    values = 33 * 256
    assert [row.quantity for row in rows] == [
        *(f"text.{name}" for name in ("mask_id", "pad_id", "cls_id", "n")),
        *(f"text.{name} ({values})" for name in ("type_ids", "ids", "attention_mask")),
        *(f"text.{name} ({values})" for name in ("masked_ids", "weights")),
        "text.draws",
        rows[-1].quantity,
    ]
    assert rows[-1].quantity.startswith("inputs replayed: 11 of 15")
    assert {row.error for row in rows if "weights" not in row.quantity} == {0.0}


def test_the_replay_can_fail(
    published: tuple[Path, ReportTokenizer], tmp_path: Path
) -> None:
    folder, _ = published
    shared = json.loads((folder / "cases.json").read_text())
    case = next(c for c in shared["cases"] if c["draws_entity"])
    case["draws_entity"][0][1] = 1.0 - case["draws_entity"][0][1]
    case["draws_token"][0][0] += 1
    (tmp_path / "cases.json").write_text(json.dumps(shared))
    words = Vocabulary(folder.parent / "mimic_wordpiece.json")
    with pytest.raises(DatasetNotFoundError, match="tensors"):
        replay_fixture(tmp_path, vocabulary=words)
    source = (folder / "tensors.safetensors").read_bytes()
    (tmp_path / "tensors.safetensors").write_bytes(source)
    wrong = [
        row.quantity for row in replay_fixture(tmp_path, vocabulary=words) if not row.ok
    ]
    assert [name.partition(" ")[0] for name in wrong] == [
        "text.masked_ids",
        "text.draws",
    ]


def test_slow_reference_equals_the_recordings(
    published: tuple[Path, ReportTokenizer],
) -> None:
    folder, tokenizer = published
    shared = json.loads((folder / "cases.json").read_text())
    recorded = load_file(folder / "tensors.safetensors")
    entities = set(np.flatnonzero(TokenTables.build(tokenizer).entity).tolist())
    assert len(entities) == 41
    for row, case in enumerate(shared["cases"]):
        text = slow.assemble_slowly(
            case["report"], case["llm_output"], case["draw_where"]
        )
        ids = tokenizer.encode_padded(text, 256)[0].tolist()
        assert ids == recorded["ids"][row].tolist()
        tokens = [tokenizer.tokens[i] for i in ids]
        marked = {p for p, i in enumerate(ids) if i in entities}
        noise = [[2.0] * 256, [2.0] * 256]
        for line, name in zip(noise, ("draws_token", "draws_entity"), strict=True):
            for position, value in case[name]:
                line[position] = value
        hidden = slow.mask_as_official(tokens, marked, *noise)
        masked = [3 if h else i for h, i in zip(hidden, ids, strict=True)]
        assert masked == recorded["masked_ids"][row].tolist()
        descriptors = slow.descriptors_of_tokens(ids, entities, shared["period_id"])
        templates = slow.templates_official(ids, *shared["templates"])
        real = int(recorded["attention_mask"][row].sum())
        weights = slow.weigh(256, real, descriptors, templates, padding=True)
        np.testing.assert_allclose(weights, recorded["weights"][row], atol=1e-6)


# Fast against slow ---------------------------------------------------------------


def test_assembly_equals_the_slow_one() -> None:
    for report in (REAL, "", ".", "...", "no stop", "a..b...c.", "x.\n\ny. "):
        for where in (None, *range(insertion_points(report) + 1)):
            for context in ("", "There is edema.", " a. b"):
                expected = slow.assemble_slowly(report, context, where)
                assert assemble(report, context, where) == expected


@pytest.mark.parametrize("seed", range(4))
def test_official_rules_equal_the_slow_ones(
    tokenizer: ReportTokenizer, seed: int
) -> None:
    batch, noise = random_batch(tokenizer, OFFICIAL, seed)
    hidden, weights = hide(batch, noise, OFFICIAL), weigh(batch, OFFICIAL)
    tables = TokenTables.build(tokenizer)
    entities = positions(tables.entity)
    long, short = (
        tokenizer.pieces(t) for t in ("there is no evidence of", "there is no")
    )
    assert len(long) == 5
    for row, ids in enumerate(batch["input_ids"].tolist()):
        tokens = [tokenizer.tokens[i] for i in ids]
        marked = {p for p, i in enumerate(ids) if i in entities}
        assert positions(batch["entity_mask"][row]) == marked - {0, len(ids) - 1}
        descriptors = slow.descriptors_of_tokens(ids, entities, tables.period_id)
        assert positions(batch["descriptor_mask"][row]) == descriptors
        templates = slow.templates_official(ids, long, short)
        assert positions(batch["template_mask"][row]) == templates
        expected = slow.mask_as_official(
            tokens, marked, noise[0][row].tolist(), noise[1][row].tolist()
        )
        assert hidden[row].tolist() == expected
        real = int(batch["attention_mask"][row].sum())
        heavy = slow.weigh(len(ids), real, descriptors, templates, padding=True)
        np.testing.assert_allclose(weights[row].numpy(), heavy, rtol=1e-5)
    torch.testing.assert_close(weights.sum(dim=1), torch.full((64,), 40.0))


def test_whole_words_are_never_split_by_masking(tokenizer: ReportTokenizer) -> None:
    rules = replace(OFFICIAL, single_tokens=False)
    batch, noise = random_batch(tokenizer, rules, 3)
    hidden, pieces = hide(batch, noise, rules), batch["continuation_mask"].clone()
    pieces[:, -1] = False
    before = hidden.roll(1, dims=1)
    assert (pieces & batch["entity_mask"]).any()
    assert torch.equal(hidden[pieces], before[pieces])


@pytest.mark.parametrize("seed", range(4))
def test_corrected_rules_equal_the_slow_ones(
    tokenizer: ReportTokenizer, seed: int
) -> None:
    batch, noise = random_batch(tokenizer, CORRECTED, seed)
    hidden, weights = hide(batch, noise, CORRECTED), weigh(batch, CORRECTED)
    for row, ids in enumerate(batch["input_ids"].tolist()):
        tokens = [tokenizer.tokens[i] for i in ids]
        entity = slow.entities_of_words(tokens, ENTITIES)
        assert positions(batch["entity_mask"][row]) == entity
        descriptors = slow.descriptors_of_words(tokens, entity)
        assert positions(batch["descriptor_mask"][row]) == descriptors
        expected = slow.mask_as_corrected(
            tokens, entity, descriptors, noise[0][row].tolist(), noise[1][row].tolist()
        )
        assert hidden[row].tolist() == expected
        templates = positions(batch["template_mask"][row])
        real = int(batch["attention_mask"][row].sum())
        heavy = slow.weigh(len(ids), real, descriptors, templates, padding=False)
        np.testing.assert_allclose(weights[row].numpy(), heavy, rtol=1e-5)
    real_tokens = batch["attention_mask"].sum(dim=1).float()
    torch.testing.assert_close(weights.sum(dim=1), real_tokens)
    assert not weights[~batch["attention_mask"]].any()


# What the rules mean --------------------------------------------------------------


def words_marked(
    tokenizer: ReportTokenizer, text: str, rules: TextRules, name: str
) -> str:
    fields = ReportTransform(tokenizer, 64, rules).encode(text)
    return tokenizer.decode(fields["input_ids"][fields[name]])


def test_plurals_count_only_in_the_corrected_rules(tokenizer: ReportTokenizer) -> None:
    text = "Small pneumothoraces, no effusion."
    official = words_marked(tokenizer, text, OFFICIAL, "entity_mask")
    corrected = words_marked(tokenizer, text, CORRECTED, "entity_mask")
    assert official == "effusion"
    assert corrected == "pneumothoraces effusion"


def test_an_entity_inside_a_longer_word_is_none(tokenizer: ReportTokenizer) -> None:
    # "effusionlike" begins with the token of an entity.
    pieces = [tokenizer.tokens[i] for i in tokenizer.pieces("effusionlike")]
    assert pieces[0] == "effusion"
    assert words_marked(tokenizer, "effusionlike", CORRECTED, "entity_mask") == ""
    found = words_marked(tokenizer, "effusionlike", OFFICIAL, "entity_mask")
    assert found == "effusion"


def test_descriptors_and_sentence_ends(tokenizer: ReportTokenizer) -> None:
    text = "Left. Small edema, mild left effusion nodule"
    official = words_marked(tokenizer, text, OFFICIAL, "descriptor_mask")
    corrected = words_marked(tokenizer, text, CORRECTED, "descriptor_mask")
    assert official.split() == ["small", "mild", "left", "effusion"]
    assert corrected.split() == ["small", "mild", "left"]
    across = "Left. effusion"
    assert words_marked(tokenizer, across, OFFICIAL, "descriptor_mask") == "left"
    assert words_marked(tokenizer, across, CORRECTED, "descriptor_mask") == ""


def test_decimals_split_only_officially() -> None:
    assert insertion_points(REAL) == 5
    assert insertion_points(REAL, at_periods=False) == 3
    official = [assemble(REAL, "X.", at) for at in range(6)]
    assert "3.X.5 cm nodule" in official[1]
    corrected = [assemble(REAL, "X.", at, at_periods=False) for at in range(4)]
    assert all("3.5 cm" in text for text in corrected)
    assert corrected[0] == f"X. {REAL}"
    assert corrected[3] == f"{REAL} X."
    assert len(set(corrected)) == 4
    numbered = "1. Clear. 2. No edema."
    assert assemble(numbered, "", 1, at_periods=False) == numbered


def test_masking_rates(tokenizer: ReportTokenizer) -> None:
    text = "Left mild edema is small basal left of mild left small basal"
    fields = ReportTransform(tokenizer, 64).encode(text)
    batch = {k: v.expand(20_000, -1) for k, v in batch_of([fields]).items()}
    generator = torch.Generator().manual_seed(0)
    noise = (
        torch.rand(20_000, 64, generator=generator),
        torch.rand(20_000, 64, generator=generator),
    )
    hidden = hide(batch, noise, OFFICIAL)
    entity = batch["entity_mask"]
    assert hidden[entity].float().mean().item() == pytest.approx(0.75, abs=0.01)
    others = batch["attention_mask"] & ~entity
    others[:, 0] = False
    assert hidden[others].float().mean().item() == pytest.approx(0.7, abs=0.01)
    without = {**batch, "entity_mask": torch.zeros_like(entity)}
    plain = hide(without, noise, OFFICIAL)[others].float().mean().item()
    assert plain == pytest.approx(0.75, abs=0.01)
    forced = hide(batch, noise, replace(OFFICIAL, force_descriptors=True))
    assert forced[batch["descriptor_mask"]].all()
    assert not hidden[batch["descriptor_mask"]].all()


def test_pieces_of_an_entity(tokenizer: ReportTokenizer) -> None:
    fields = ReportTransform(tokenizer, 32).encode("Mild effusionlike")
    batch = batch_of([fields])
    noise = torch.ones(1, 32), torch.zeros(1, 32)
    pieces = batch["continuation_mask"]
    assert pieces.any()
    visible = hide(batch, noise, OFFICIAL)
    assert visible[batch["entity_mask"]].all()
    assert not visible[pieces].any()
    follow = hide(batch, noise, replace(OFFICIAL, pieces_left_visible=False))
    assert follow[pieces].all()


def test_ends_are_never_hidden(tokenizer: ReportTokenizer) -> None:
    noise = torch.zeros(1, 16), torch.zeros(1, 16)
    for rules, last in ((OFFICIAL, False), (CORRECTED, True)):
        transform = ReportTransform(tokenizer, 16, rules)
        batch = batch_of([transform.encode("mild " * 30)])
        hidden = hide(batch, noise, rules)
        assert not hidden[0, 0]
        assert bool(hidden[0, -1]) is last
        assert hidden[0, 1:-1].all()


def test_an_entity_that_cannot_be_hidden_does_not_count() -> None:
    none = torch.zeros(1, 8, dtype=torch.bool)
    ends = none.clone()
    ends[0, [0, -1]] = True
    # 0.72 hides a token in a report without entities and leaves it in one with.
    noise = torch.full((1, 8), 0.72, dtype=torch.float64)
    hidden = select_masked(
        ~none, ends, none, none, token_noise=noise, entity_noise=noise
    )
    assert torch.equal(hidden, ~ends)


def test_a_row_does_not_depend_on_its_batch(tokenizer: ReportTokenizer) -> None:
    batch, noise = random_batch(tokenizer, CORRECTED, 5)
    one = {name: tensor[3:4] for name, tensor in batch.items()}
    alone = hide(one, (noise[0][3:4], noise[1][3:4]), CORRECTED)
    assert torch.equal(alone, hide(batch, noise, CORRECTED)[3:4])
    assert torch.equal(weigh(one, OFFICIAL), weigh(batch, OFFICIAL)[3:4])


def test_weights_stay_float32_under_autocast(tokenizer: ReportTokenizer) -> None:
    batch, _ = random_batch(tokenizer, OFFICIAL, 6)
    with torch.autocast("cpu", torch.bfloat16):
        weights = weigh(batch, OFFICIAL)
    assert weights.dtype == torch.float32
    assert torch.equal(weights, weigh(batch, OFFICIAL))


# The transform ---------------------------------------------------------------------


@pytest.mark.parametrize("rules", [OFFICIAL, CORRECTED])
def test_transform_fields_and_repeatability(
    tokenizer: ReportTokenizer, rules: TextRules
) -> None:
    transform = ReportTransform(tokenizer, 48, rules)
    copy: Callable[..., dict[str, Any]] = pickle.loads(pickle.dumps(transform))
    study = make_study(REAL, "There is edema.")
    first = transform(study, np.random.default_rng((1, 2, 3)))
    second = copy(study, np.random.default_rng((1, 2, 3)))
    assert set(first) == {
        "input_ids",
        "attention_mask",
        "entity_mask",
        "descriptor_mask",
        "template_mask",
        "continuation_mask",
        "report_text",
    }
    assert first["report_text"] == REAL
    for name, value in first.items():
        assert np.array_equal(value, second[name])
        if name != "report_text":
            assert value.shape == (48,)
            assert value.dtype == (np.int64 if name == "input_ids" else np.bool_)
    draws = {
        transform(study, np.random.default_rng(seed))["input_ids"].tobytes()
        for seed in range(40)
    }
    assert len(draws) > 3


def test_transform_draws_what_it_says(tokenizer: ReportTokenizer) -> None:
    transform = ReportTransform(tokenizer, 64)
    study = make_study(REAL, "Mild effusion.")
    for seed in range(20):
        rng = np.random.default_rng(seed)
        inserted = rng.random() < 0.8
        where = int(rng.integers(0, 6)) if inserted else None
        text = assemble(REAL, "Mild effusion.", where)
        got = transform(study, np.random.default_rng(seed))["input_ids"]
        assert np.array_equal(got, tokenizer.encode_padded(text, 64)[0])


@pytest.mark.parametrize("rules", [OFFICIAL, CORRECTED])
@pytest.mark.parametrize("text", ["", "....", " . . ", "effusion " * 400, "漢"])
def test_odd_reports(tokenizer: ReportTokenizer, rules: TextRules, text: str) -> None:
    transform = ReportTransform(tokenizer, 256, rules)
    for seed in range(4):
        fields = transform(make_study(text, ""), np.random.default_rng(seed))
        fields.pop("report_text")
        batch = batch_of([fields])
        assert batch["attention_mask"][0, 0]
        noise = torch.full((1, 256), 0.5), torch.full((1, 256), 0.5)
        hidden = hide(batch, noise, rules)
        assert not (hidden & ~batch["attention_mask"]).any()
        weights = weigh(batch, rules)
        assert weights.isfinite().all()
        total = 256 if rules.weigh_padding else int(batch["attention_mask"].sum())
        assert weights.sum().item() == pytest.approx(total, rel=1e-5)


def test_weights_of_nothing_but_a_template() -> None:
    real = torch.tensor([[True, True, True, False]])
    none = torch.zeros_like(real)
    weights = token_weights(real, none, real, rules=CORRECTED)
    torch.testing.assert_close(weights, real.float())


def test_missing_context_is_distilled(tokenizer: ReportTokenizer) -> None:
    always = replace(OFFICIAL, insert_probability=1.0)
    transform = ReportTransform(tokenizer, 256, always)
    got = transform(make_study(REAL), np.random.default_rng(0))
    same = transform(make_study(REAL, distil(REAL)), np.random.default_rng(0))
    empty = transform(make_study(REAL, ""), np.random.default_rng(0))
    assert np.array_equal(got["input_ids"], same["input_ids"])
    assert not np.array_equal(got["input_ids"], empty["input_ids"])


def test_marks_leave_the_ids_alone(tokenizer: ReportTokenizer) -> None:
    ids = tokenizer.encode_padded(REAL, 32)[0]
    before = ids.copy()
    for rules in (OFFICIAL, CORRECTED):
        mark_tokens(ids, TokenTables.build(tokenizer, rules))
    assert np.array_equal(ids, before)


def test_render_escapes_and_marks() -> None:
    tokens = ["[CLS]", "no", "<b>", "effus", "##ion", "[PAD]"]
    masked = [False, False, False, True, True, False]
    entity = [False, False, False, True, True, False]
    page = render_masked(tokens, masked, entity)
    assert "&lt;b&gt;" in page
    assert page.count("<span") == page.count("</span>") == 2
    assert page.startswith("no ")
    text = render_masked(tokens, masked, entity, form="markdown")
    assert text == r"no \<b\> **`effus`****`ion`**"
    with pytest.raises(ValueError, match="zip"):
        render_masked(tokens, masked[:-1])


def test_a_vocabulary_without_the_official_entities_is_told() -> None:
    small = ReportTokenizer.train(["There is no effusion."] * 9, 64)
    with pytest.warns(UserWarning, match="of the 41 entities"):
        TokenTables.build(small, OFFICIAL)

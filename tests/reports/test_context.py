"""Distilled contexts and the sources that make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vlp_zoo.errors import ConfigError, DatasetNotFoundError, ReportSourceError
from vlp_zoo.reports.contexts.context import (
    ContextSource,
    CsvContext,
    HFContext,
    RuleContext,
    context_source,
    distil,
    read_contexts,
)
from vlp_zoo.reports.contexts.endpoint import EndpointContext
from vlp_zoo.reports.contexts.prompt import tidy
from vlp_zoo.reports.words.entities import ENTITIES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Chest film.", ""),
        (
            "No pneumothorax. Possible pneumonia. Small left effusion.",
            (
                "There is small left pleural effusion. There may be pneumonia. There is no"
                " pneumothorax."
            ),
        ),
        ("Mild edema. Edema. No edema.", "There is mild edema."),
        ("The lungs are clear.", "There is no lung opacity."),
        ("PICC line. No chest tube.", "There is support device."),
        ("Nodules. Interstitial fibrosis.", "There is nodule. There is fibrosis."),
        ("The heart is mildly enlarged.", "There is mild cardiomegaly."),
    ],
)
def test_distil(text: str, expected: str) -> None:
    assert distil(text) == expected


def test_distilled_sentences_are_in_order_and_name_each_finding_once() -> None:
    text = (
        "No edema. Cardiomegaly. May be atelectasis. No mass. Left effusion. Effusion."
        " No pneumothorax or fracture."
    )
    sentences = distil(text).removesuffix(".").split(". ")
    order = [
        s.startswith("There is no") * 2 + s.startswith("There may") for s in sentences
    ]
    assert order == sorted(order)
    assert len({s.split()[-1] for s in sentences}) == len(sentences) == 7
    assert all(s.split()[-1] in ENTITIES for s in sentences)


def test_rules_as_a_source() -> None:
    source = context_source("rules")
    assert isinstance(source, ContextSource)
    assert isinstance(source, RuleContext)
    assert source.contexts(["a"], ["Edema."]) == ["There is edema."]


def test_authors_csv_and_our_json_lines_hold_the_same(tmp_path: Path) -> None:
    table = tmp_path / "authors.csv"
    table.write_text(
        'img_path,report,llm_output\na.jpg,"Edema, mild.",There is edema.\nb.jpg,x,\n'
    )
    lines = tmp_path / "ours.jsonl"
    lines.write_text(
        '{"uid": "a.jpg", "context": "There is edema."}\n\n'
        '{"uid": "b.jpg", "context": ""}\n'
    )
    expected = {"a.jpg": "There is edema.", "b.jpg": ""}
    assert read_contexts(table) == read_contexts(lines) == expected
    source = CsvContext(table)
    first, second = source.contexts(["b.jpg", "z"], ["", ""])
    assert first == ""
    assert isinstance(second, ReportSourceError)


def test_files_that_are_not_contexts_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="no such file"):
        read_contexts(tmp_path / "none.csv")
    table = tmp_path / "t.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(DatasetNotFoundError, match="a, b"):
        read_contexts(table)
    lines = tmp_path / "t.jsonl"
    lines.write_text('{"uid": "a", "context": "x"}\n{"uid": \n')
    with pytest.raises(ReportSourceError, match="line 2"):
        read_contexts(lines)


def test_words_for_sources(tmp_path: Path) -> None:
    endpoint = context_source("http://127.0.0.1:1/v1", "m", cache=tmp_path, workers=2)
    assert isinstance(endpoint, EndpointContext)
    assert endpoint.workers == 2
    with pytest.raises(ConfigError, match="--model"):
        context_source("http://127.0.0.1:1/v1")
    for word in ("rule", "csv:", "gpt", ""):
        with pytest.raises(ConfigError, match="--source rules"):
            context_source(word)


def test_tidy_undoes_lists() -> None:
    assert tidy("- There is a.\n\n* There is no b.\n") == "There is a. There is no b."


def test_local_language_model_answers_in_batches(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers import PreTrainedTokenizerFast as WordTokenizer

    words = ["[UNK]", "[PAD]", "There", "is", "edema", ".", "no"]
    bare = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    bare.pre_tokenizer = Whitespace()
    wrap: Any = WordTokenizer
    wrap(tokenizer_object=bare, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(
        tmp_path
    )
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(words), n_positions=512, n_embd=8, n_layer=1, n_head=1,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    source = HFContext(tmp_path, max_new_tokens=4, device="cpu")
    assert isinstance(source, ContextSource)
    reports = ["Edema.", "There is no edema at all. " * 5]
    answers = source.contexts(["a", "b"], reports)
    alone = [source.contexts([""], [report])[0] for report in reports]
    assert answers == alone
    assert all(isinstance(answer, str) for answer in answers)


def test_missing_model_is_reported(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ReportSourceError, match="causal language model"):
        HFContext(tmp_path / "none")

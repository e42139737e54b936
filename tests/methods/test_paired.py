from __future__ import annotations

import numpy as np
import pytest

from tests.methods.paired import REPORTS, study
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.methods.paired.fields import (
    PairedTransform,
    ReportTokens,
    observations,
)
from vlp_zoo.methods.text_keys import text_key
from vlp_zoo.types import Report, Study


@pytest.fixture(scope="module")
def tokenizer() -> ReportTokenizer:
    return ReportTokenizer.train(REPORTS * 5, 160)


def test_keys_are_equal_for_equal_words_only() -> None:
    assert text_key("No edema. ") == text_key("no EDEMA")
    assert text_key("No edema") != text_key("edema")
    assert text_key("no 3 cm mass") != text_key("no 4 cm mass")


def test_spans_point_at_the_words_of_their_sentence(tokenizer: ReportTokenizer) -> None:
    fields = ReportTokens(tokenizer, 48, sentences=5)(REPORTS[3])
    assert fields["sentences"][:3] == [
        "No pneumothorax",
        "no edema.",
        "The heart size is normal.",
    ]
    assert fields["sentence_mask"].tolist() == [True] * 3 + [False] * 2
    assert fields["sentence_weight"].tolist() == [1, 1, 1, 0, 0]
    for number, words in enumerate(("no pneumothorax ;", "no edema .")):
        ids = fields["input_ids"][fields["span_ids"] == number]
        assert tokenizer.decode(ids) == words
    assert fields["span_ids"][0] == -1  # [CLS]
    assert (fields["span_ids"][~fields["attention_mask"]] == -1).all()
    plain = ReportTokens(tokenizer, 48)(REPORTS[3])
    assert np.array_equal(plain["input_ids"], fields["input_ids"])


def test_short_and_repeated_sentences_are_read_but_not_marked_twice(
    tokenizer: ReportTokenizer,
) -> None:
    tokens = ReportTokens(tokenizer, 48, sentences=4)
    fields = tokens("Stable. Lungs are clear. LUNGS ARE CLEAR.")
    assert fields["sentence_mask"].sum() == 1
    twice = fields["input_ids"][fields["span_ids"] == 0]
    assert tokenizer.decode(twice) == "lungs are clear . lungs are clear ."
    empty = tokens("Stable.")
    assert not empty["sentence_mask"].any()
    assert not empty["sentence_key"].any()
    assert empty["attention_mask"].sum() > 1
    assert tokens("")["attention_mask"].sum() == 1


def test_too_many_sentences_are_drawn_in_training_and_cut_otherwise(
    tokenizer: ReportTokenizer,
) -> None:
    tokens = ReportTokens(tokenizer, 64, sentences=2)
    text = REPORTS[0]
    assert tokens(text)["sentences"] == observations(text)[:2]
    drawn = {
        tuple(tokens(text, np.random.default_rng(i))["sentences"]) for i in range(20)
    }
    assert len(drawn) == 3  # each pair of three, in order
    # Cut before the last sentence: it has no tokens, so it is no observation.
    short = ReportTokens(tokenizer, 9, sentences=3)(text)
    kept = short["sentence_mask"].tolist()
    assert kept[0]
    assert not kept[2]
    assert short["sentences"][2] == ""
    assert short["sentence_key"][2] == 0


def test_weights_by_sentence(tokenizer: ReportTokenizer) -> None:
    weights = {text_key("Lungs are clear"): 0.25}
    fields = ReportTokens(tokenizer, 64, sentences=4, weights=weights)(REPORTS[0])
    assert fields["sentence_weight"].tolist() == [1, 1, 0.25, 0]


def test_the_transform_varies_in_training_only(tokenizer: ReportTokenizer) -> None:
    tokens = ReportTokens(tokenizer, 64)
    plain = PairedTransform(tokens, 32, train=False)
    vary = PairedTransform(tokens, 32, True, jitter=0.3, sentence_dropout=0.5)
    one, two = (plain(study(0), np.random.default_rng(i)) for i in range(2))
    assert np.array_equal(one["image"], two["image"])
    assert one["noise_key"] != two["noise_key"]
    assert one["report_text"] == REPORTS[0]
    texts = set()
    for i in range(20):
        drawn = vary(study(0), np.random.default_rng(i))
        again = vary(study(0), np.random.default_rng(i))
        assert np.array_equal(drawn["image"], again["image"])
        assert not np.array_equal(drawn["image"], one["image"])
        assert drawn["image"].shape == (1, 32, 32)
        assert drawn["report_key"] == one["report_key"]
        texts.add(drawn["report_text"])
    assert 3 < len(texts) <= 7
    assert "" not in texts


def test_deidentified_spans_are_left_out(tokenizer: ReportTokenizer) -> None:
    pair = Study("u", "p", "s", study(0).image, Report("The XXXX lungs are ___ clear."))
    transform = PairedTransform(ReportTokens(tokenizer, 64), 32, train=False)
    fields = transform(pair, np.random.default_rng(0))
    assert fields["report_text"] == "The lungs are clear."

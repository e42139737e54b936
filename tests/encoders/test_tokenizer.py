from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from time import sleep

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import require_shared
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.encoders.vocabulary import SPECIALS, train_word_piece
from vlp_zoo.errors import TokenizerError

CORPUS = [
    "There is no evidence of pneumothorax. There is no effusion.",
    "Small left pleural effusion (unchanged), 3.5 cm.",
    "Naïve opacities at the left base.",
]

TRAIN_HERE = """
import random
from vlp_zoo.encoders.tokenizer import ReportTokenizer
draw = random.Random(0)
word = lambda: "".join(draw.choice("abcdefgh") for _ in range(draw.randint(2, 6)))
corpus = [" ".join(word() for _ in range(10)) for _ in range(100)]
print(ReportTokenizer.train(corpus, 400).fingerprint)
"""


@pytest.fixture(scope="module")
def trained() -> ReportTokenizer:
    return ReportTokenizer.train(CORPUS, 300)


def test_published_file_reproduces_the_recorded_ids() -> None:
    folder = require_shared("golden", "ecamp")
    tokenizer = ReportTokenizer.from_file(folder / "mimic_wordpiece.json")
    cases = json.loads((folder / "text_public" / "cases.json").read_text())["cases"]
    recorded = load_file(folder / "text_public" / "tensors.safetensors")
    assert tokenizer.vocab_size == 30_000
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id) == (0, 1, 2)
    assert (tokenizer.mask_id, tokenizer.sep_id) == (3, 4)
    assert tokenizer.token_id(".") == 16
    compared = 0
    for row, case in enumerate(cases):
        if case["draw_where"] is None:
            text = case["report"].replace("..", ".")
            ids, mask = tokenizer.encode_padded(text, 256)
            assert np.array_equal(ids, recorded["ids"][row])
            assert np.array_equal(mask, recorded["attention_mask"][row] > 0)
            compared += 1
    assert compared > 5


def test_normalises_case_accents_and_digit_runs(trained: ReportTokenizer) -> None:
    assert trained.pieces("NAÏVE Effusion") == trained.pieces("naive effusion")
    assert trained.pieces("3.5cm") == trained.pieces("3 . 5 cm")


def test_specials_lead_the_vocabulary(trained: ReportTokenizer) -> None:
    assert tuple(trained.tokens[:5]) == SPECIALS
    assert len(trained) == trained.vocab_size == len(trained.tokens)
    marked = [t.startswith("##") for t in trained.tokens]
    assert trained.continuation.tolist() == marked
    assert any(marked)


def test_specials_in_a_report_are_ordinary_text(trained: ReportTokenizer) -> None:
    ids = trained.pieces("effusion [PAD] [MASK] [CLS]")
    assert not set(ids) & {trained.pad_id, trained.mask_id, trained.cls_id}


@pytest.mark.slow
def test_same_vocabulary_in_every_process() -> None:
    first, second = (
        subprocess.run(
            [sys.executable, "-c", TRAIN_HERE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    )
    assert first == second


def test_corpus_order_does_not_matter(trained: ReportTokenizer) -> None:
    assert ReportTokenizer.train(reversed(CORPUS), 300) == trained
    assert ReportTokenizer.train(CORPUS[:2], 300) != trained


def test_pickle_and_json_keep_everything(trained: ReportTokenizer) -> None:
    for copy in (
        pickle.loads(pickle.dumps(trained)),
        ReportTokenizer.from_json(trained.to_json()),
    ):
        assert copy == trained
        assert copy.tokens == trained.tokens
        assert np.array_equal(copy.encode(CORPUS[1]), trained.encode(CORPUS[1]))


def test_lengths_padding_and_sep(trained: ReportTokenizer) -> None:
    full = trained.encode(CORPUS[0])
    assert full.dtype == np.int64
    assert full[0] == trained.cls_id
    assert trained.encode(CORPUS[0], 4, sep=True)[-1] == trained.sep_id
    assert len(trained.encode(CORPUS[0], 4, sep=True)) == 4
    ids, mask = trained.encode_padded(CORPUS[0], 64)
    assert ids.shape == mask.shape == (64,)
    assert mask.sum() == len(full)
    assert (ids[~mask] == trained.pad_id).all()
    batch, valid = trained.encode_batch([CORPUS[0], "", "edema"], 64)
    assert batch.shape == (3, len(full))
    assert valid.sum(axis=1)[1] == 1
    assert np.array_equal(batch[0], full)


def test_empty_text_is_cls_alone(trained: ReportTokenizer) -> None:
    assert trained.encode("").tolist() == [trained.cls_id]


def test_decode_joins_pieces(trained: ReportTokenizer) -> None:
    ids, _ = trained.encode_padded("Unknowable effusion", 32)
    assert trained.decode(ids) == "[CLS] unknowable effusion"


def test_vocab_txt(tmp_path: Path, trained: ReportTokenizer) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(trained.tokens) + "\n", encoding="utf-8")
    read = ReportTokenizer.load(path)
    assert read.tokens == trained.tokens
    assert np.array_equal(read.encode(CORPUS[2]), trained.encode(CORPUS[2]))


def test_bert_order_of_specials_is_accepted(tmp_path: Path) -> None:
    letters = [chr(c) for c in range(97, 123)]
    words = [*letters, *(f"##{c}" for c in letters)]
    order = ["[PAD]", *words, "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(order))
    tokenizer = ReportTokenizer.from_file(path)
    assert tokenizer.mask_id == len(order) - 1
    assert tokenizer.sep_id == len(order) - 2
    assert tokenizer.decode(tokenizer.encode("ab")) == "[CLS] ab"


def test_from_pretrained_folder(tmp_path: Path, trained: ReportTokenizer) -> None:
    from transformers import PreTrainedTokenizerFast

    path = tmp_path / "tokenizer.json"
    path.write_text(trained.to_json())
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(path), pad_token="[PAD]", unk_token="[UNK]"
    )
    wrapped.save_pretrained(tmp_path / "model")
    loaded = ReportTokenizer.load(tmp_path / "model")
    assert loaded.tokens == trained.tokens
    assert np.array_equal(loaded.encode(CORPUS[0]), trained.encode(CORPUS[0]))


@pytest.mark.parametrize(
    ("content", "suffix", "needle"),
    [
        ("not json", ".json", "not JSON"),
        ("[1, 2]", ".json", "list"),
        ('{"model": {"type": "BPE"}}', ".json", "BPE"),
        ('{"model": {"type": "WordPiece"}}', ".json", "refuses"),
        ("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", ".txt", "5 tokens"),
        ("\n".join(f"word{i}" for i in range(50)), ".txt", "without [PAD]"),
        ("a\na\n", ".txt", "1 repeated"),
    ],
)
def test_bad_vocabularies_are_refused(
    tmp_path: Path, content: str, suffix: str, needle: str
) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_text(content)
    with pytest.raises(TokenizerError) as caught:
        ReportTokenizer.from_file(path)
    assert needle in caught.value.found
    assert str(path) in caught.value.looked_for


def test_missing_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="FileNotFoundError"):
        ReportTokenizer.load(tmp_path / "absent.json")
    with pytest.raises(TokenizerError, match="a tokenizer at"):
        ReportTokenizer.load(tmp_path / "absent_folder")
    with pytest.raises(TokenizerError, match="2 reports without text"):
        ReportTokenizer.train(["", "  "])


def test_cache_trains_once_and_heals(tmp_path: Path, trained: ReportTokenizer) -> None:
    calls: list[int] = []

    def corpus() -> list[str]:
        calls.append(1)
        return CORPUS

    def get(fingerprint: str = "a", size: int = 300) -> ReportTokenizer:
        return ReportTokenizer.for_corpus(corpus, fingerprint, size, tmp_path)

    assert get() == get() == trained
    assert len(calls) == 1
    (cached,) = tmp_path.glob("*.json")
    cached.write_text(cached.read_text()[:500])
    assert get() == trained
    assert len(calls) == 2
    assert get() == trained
    assert len(calls) == 2
    get("b")
    get("a", 200)
    assert len(calls) == 4
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".lock"}


def test_who_asks_meanwhile_waits_and_reads_no_report(tmp_path: Path) -> None:
    both, calls = Barrier(2), []

    def corpus() -> list[str]:
        calls.append("read")
        sleep(0.3)
        return CORPUS

    def ask(_: int) -> ReportTokenizer:
        both.wait()
        return ReportTokenizer.for_corpus(corpus, "a", 200, tmp_path)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(ask, range(2))
    assert one == other
    assert calls == ["read"]


def test_cache_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path))
    ReportTokenizer.for_corpus(lambda: CORPUS, "a", 200)
    assert len(list((tmp_path / "tokenizers").glob("*.json"))) == 1


def test_unwritable_cache_still_gives_a_tokenizer(
    tmp_path: Path, trained: ReportTokenizer
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    got = ReportTokenizer.for_corpus(lambda: CORPUS, "a", 300, blocked / "sub")
    assert got == trained


@pytest.mark.parametrize("run", ["a", "7", "-"])
def test_runs_longer_than_any_word_teach_nothing_and_cost_nothing(run: str) -> None:
    reports = ["no effusion - seen 17 times", "small effusion a 7"]
    usual = train_word_piece(reports, 200)
    # Merging pieces inside one word of this length would take minutes.
    with_long = train_word_piece([*reports, f"clear {run * 400_000} lungs"], 200)
    as_blank = train_word_piece([*reports, "clear lungs"], 200)
    assert with_long == as_blank
    assert with_long != usual

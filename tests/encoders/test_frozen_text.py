from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from vlp_zoo.encoders.frozen_text import (
    BertText,
    CorpusText,
    FrozenText,
    frozen_text_from_state,
    load_frozen_text,
)
from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.errors import ConfigError, EncoderLoadError

REPORTS = [
    "There is a left pleural effusion. The heart is enlarged.",
    "There is no pleural effusion. The heart is normal.",
    "Large right pleural effusion. Heart size is normal.",
    "No effusion. No pneumothorax. Lungs are clear.",
    "Lungs are clear. No pneumothorax.",
    "The heart is enlarged. There is pulmonary edema.",
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("VLPZOO_CACHE", str(folder))
    return folder


def watched(frozen: FrozenText, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that really are encoded from now on."""
    seen: list[str] = []
    encode = frozen.encode

    def spy(texts: Any) -> Tensor:
        seen.extend(texts)
        return encode(texts)

    monkeypatch.setattr(frozen, "encode", spy)
    return seen


def test_similar_reports_are_near_and_negation_counts() -> None:
    frozen = CorpusText.learn(REPORTS, 5)
    unit = torch.nn.functional.normalize(frozen.encode(REPORTS), dim=1)
    near = unit @ unit.T
    assert near[3, 4] > near[3, 0]
    assert near[0, 5] > near[4, 5]
    # With all directions the cosines are those of TF-IDF itself.
    whole = CorpusText.learn(REPORTS, 64)
    assert whole.width == 64
    full = whole.encode(REPORTS)
    assert torch.allclose(full.norm(dim=1), torch.ones(6), atol=1e-5)
    pair = whole.encode(["pleural effusion", "no effusion"])
    assert not torch.allclose(pair[0], pair[1], atol=0.1)


def test_the_same_corpus_gives_the_same_encoder_once() -> None:
    calls = []

    def corpus() -> Iterator[str]:
        calls.append(1)
        yield from REPORTS

    first = load_frozen_text("corpus", corpus, "abc", width=4)
    again = load_frozen_text("corpus", corpus, "abc", width=4)
    assert len(calls) == 1
    assert first.fingerprint == again.fingerprint
    other = load_frozen_text("corpus", lambda: REPORTS[:4], "xyz", width=4)
    assert other.fingerprint != first.fingerprint
    restored = frozen_text_from_state(first.state())
    assert restored.fingerprint == first.fingerprint
    assert torch.equal(restored.encode(REPORTS), first.encode(REPORTS))


LEARN = """
import sys, time
from pathlib import Path
from vlp_zoo.encoders.frozen_text import CorpusText

def corpus():
    me, other = (Path(sys.argv[1]) / name for name in sys.argv[2:4])
    me.touch()
    until = time.monotonic() + 2
    while not other.exists() and time.monotonic() < until:
        time.sleep(0.05)
    return sys.argv[4:]

print(CorpusText.for_corpus(corpus, "abc", 4).fingerprint)
"""


@pytest.mark.slow
def test_processes_that_learn_at_the_same_time_get_the_same_encoder(
    tmp_path: Path,
) -> None:
    # What each would learn by itself differs in its last digits on most machines.
    kinds = ("Prescott", "Haswell")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LEARN, str(tmp_path), one, other, *REPORTS],
            stdout=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_CORETYPE": one},
        )
        for one, other in (kinds, kinds[::-1])
    ]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert said[0] == said[1]
    assert sum((tmp_path / kind).exists() for kind in kinds) == 1


def test_the_number_of_threads_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(800)]
    corpus = [" ".join(rng.choice(words, 12)) for _ in range(2000)]
    prints = set()
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            prints.add(CorpusText.learn(corpus, 128).fingerprint)
    assert len(prints) == 1


def test_unknown_and_empty_texts_have_a_vector() -> None:
    frozen = CorpusText.learn(REPORTS, 4)
    assert not frozen.encode(["", "zebra"]).any()
    assert frozen.encode([]).shape == (0, 4)
    with pytest.raises(ConfigError, match="share words"):
        CorpusText.learn(["one", "two"], 4)
    with pytest.raises(ConfigError, match="training reports"):
        load_frozen_text("corpus", None, None)


def test_each_text_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = CorpusText.learn(REPORTS, 4)
    plain = frozen.encode(REPORTS)
    seen = watched(frozen, monkeypatch)
    assert torch.equal(frozen.cached(REPORTS + REPORTS[:2])[:6], plain)
    assert seen == REPORTS
    frozen.cached([REPORTS[3]])
    assert len(seen) == 6
    frozen.flush()
    # A later run finds them on disk, and so does this one.
    later = frozen_text_from_state(frozen.state())
    seen_later = watched(later, monkeypatch)
    assert torch.equal(later.cached(REPORTS[::-1]), plain.flip(0))
    assert torch.equal(frozen.cached(REPORTS), plain)
    assert seen_later == []
    # Another encoder never meets these vectors.
    other = CorpusText.learn(REPORTS[:4], 4)
    seen_other = watched(other, monkeypatch)
    other.cached(REPORTS[:1])
    assert seen_other == REPORTS[:1]


def test_processes_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = [CorpusText.learn(REPORTS, 4) for _ in range(2)]
    seen = [watched(frozen, monkeypatch) for frozen in ranks]
    texts = [*REPORTS, REPORTS[0]]
    # The second sees what the first has written by then, and still takes its share.
    counts = [frozen.fill(texts, rank, 2) for rank, frozen in enumerate(ranks)]
    assert min(counts) > 0
    assert sorted(seen[0] + seen[1]) == sorted(REPORTS)
    ranks[0].cached(texts)
    assert len(seen[0]) == counts[0]


def test_a_damaged_or_unwritable_cache_costs_time_only(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frozen = CorpusText.for_corpus(lambda: REPORTS, "f", 4)
    plain = frozen.encode(REPORTS)
    frozen.fill(REPORTS)
    (shard,) = frozen.folder.glob("*.npy")
    shard.write_bytes(shard.read_bytes()[:90])
    (stored,) = (cache / "frozen_text").glob("corpus-*.safetensors")
    stored.write_bytes(b"nothing")
    again = CorpusText.for_corpus(lambda: REPORTS, "f", 4)
    assert torch.equal(again.cached(REPORTS), plain)
    assert "damaged" in caplog.text
    assert "anew" in caplog.text
    blocked = CorpusText.learn(REPORTS[:4], 4)
    blocked.folder.parent.mkdir(parents=True, exist_ok=True)
    blocked.folder.write_text("a file where the folder should be")
    assert blocked.fill(REPORTS) == 6
    assert torch.equal(blocked.cached(REPORTS), blocked.encode(REPORTS))
    assert "not cached" in caplog.text


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = ReportTokenizer.train(REPORTS * 4, 200)
    torch.manual_seed(0)
    encoder = TextEncoder(tokenizer.vocab_size, 24, 2, 2, 32, max_positions=40)
    encoder.bert.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer.to_json())
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", '
        '"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", '
        '"mask_token": "[MASK]"}'
    )
    return folder


def test_bert_vectors_are_first_tokens_whatever_the_batch(bert: Path) -> None:
    frozen = load_frozen_text(str(bert))
    assert isinstance(frozen, BertText)
    assert frozen.width == 24
    together = frozen.encode([*REPORTS, ""])
    alone = torch.cat([frozen.encode([text]) for text in [*REPORTS, ""]])
    assert torch.allclose(together, alone, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(frozen.encode([*REPORTS, ""]), together)
    ids = torch.from_numpy(frozen.tokenizer.encode(REPORTS[0], 40, sep=True))[None]
    assert ids[0, -1] == frozen.tokenizer.sep_id
    with torch.no_grad():
        hidden = frozen.encoder.bert(ids).last_hidden_state
    assert torch.allclose(together[:1], hidden[:, 0], atol=1e-5)
    # Features may enter a graph: they are no inference tensors.
    layer = torch.nn.Linear(24, 2)
    layer(together).sum().backward()
    assert layer.weight.grad is not None
    frozen.fill(REPORTS)
    assert np.allclose(frozen.cached(REPORTS), together[:6], atol=1e-5)
    assert frozen.to("cpu").state()["name"] == str(bert)


def test_a_bert_is_known_by_its_weights(bert: Path) -> None:
    frozen = BertText(str(bert))
    assert frozen_text_from_state(frozen.state()).fingerprint == frozen.fingerprint
    assert BertText(str(bert), max_tokens=8).fingerprint != frozen.fingerprint
    with pytest.raises(EncoderLoadError, match="original text model"):
        frozen_text_from_state({**frozen.state(), "fingerprint": "x"})
    with pytest.raises(EncoderLoadError, match="'corpus'"):
        load_frozen_text("nobody/no-such-bert")


def test_batches_hold_texts_of_like_length(bert: Path) -> None:
    frozen = BertText(str(bert), batch_size=3)
    lengths = [30, 4, 5, 28, 29, 31, 6]
    parts = list(frozen._alike(lengths))
    assert parts == [[1, 2, 6], [3, 4, 0], [5]]

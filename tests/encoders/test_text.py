from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.errors import (
    ConfigError,
    EncoderLoadError,
    TokenizerError,
)

VOCAB = 120


def make_encoder(**changes: object) -> TextEncoder:
    torch.manual_seed(0)
    settings = {"width": 24, "depth": 2, "heads": 3, "ffn": 32, "max_positions": 20}
    encoder = TextEncoder(VOCAB, **{**settings, **changes})  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return encoder.eval()


@pytest.fixture(scope="module")
def texts() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(12) < torch.tensor([12, 5, 1])[:, None]
    ids = torch.randint(5, VOCAB, (3, 12), generator=generator)
    return ids.masked_fill(~mask, 0), mask


Texts = tuple[torch.Tensor, torch.Tensor]


def test_halves_equal_the_plain_bert(texts: Texts) -> None:
    ids, mask = texts
    encoder = make_encoder()
    plain = encoder.bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    ours = encoder.layers(encoder.embeddings(ids), mask)
    assert torch.equal(ours, plain)
    no_padding = encoder.layers(encoder.embeddings(ids), torch.ones_like(mask))
    assert (no_padding - plain).abs().max() > 1e-3


def test_padding_does_not_reach_tokens(texts: Texts) -> None:
    ids, mask = texts
    encoder = make_encoder(pooling="mean")
    other = torch.where(mask, ids, 7)
    first, second = encoder(ids, mask), encoder(other, mask)
    torch.testing.assert_close(first.pooled, second.pooled)
    torch.testing.assert_close(first.tokens[mask], second.tokens[mask])
    cut = encoder(ids[1:2, :5], mask[1:2, :5])
    torch.testing.assert_close(first.pooled[1:2], cut.pooled)


def test_output_fields(texts: Texts) -> None:
    ids, mask = texts
    output = make_encoder()(ids, mask)
    assert output.tokens.shape == (3, 12, 24)
    assert output.grid == (1, 12)
    assert output.levels == ()
    assert torch.equal(output.pooled, output.tokens[:, 0])
    mean = make_encoder(pooling="mean")(ids, mask)
    torch.testing.assert_close(mean.pooled[1], mean.tokens[1, :5].mean(dim=0))


def test_gradients_reach_every_weight(texts: Texts) -> None:
    encoder = make_encoder(pooling="mean").train()
    encoder(*texts).pooled.square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_bfloat16_autocast(texts: Texts) -> None:
    encoder = make_encoder(pooling="mean")
    exact = encoder(*texts).pooled
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder(*texts).pooled
    torch.testing.assert_close(rough.float(), exact, atol=0.1, rtol=0.1)


def test_spec_rebuilds_the_same_network(texts: Texts) -> None:
    encoder = make_encoder(pooling="mean", dropout=0.3)
    copy = TextEncoder.from_spec(json.loads(json.dumps(encoder.spec))).eval()
    assert copy.spec == encoder.spec
    copy.load_state_dict(encoder.state_dict())
    assert torch.equal(copy(*texts).pooled, encoder(*texts).pooled)
    assert copy.bert.config.hidden_dropout_prob == 0.3
    with pytest.raises(EncoderLoadError):
        TextEncoder.from_spec({"bert": {}, "pooling": "cls"})


def test_pretrained_folder(tmp_path: Path, texts: Texts) -> None:
    saved = make_encoder()
    saved.bert.save_pretrained(tmp_path)
    loaded = TextEncoder(VOCAB, name=str(tmp_path)).eval()
    assert loaded.width == 24
    assert torch.equal(loaded(*texts).pooled, saved(*texts).pooled)
    assert loaded.spec == saved.spec
    with pytest.raises(TokenizerError, match="120 tokens"):
        TextEncoder(VOCAB + 1, name=str(tmp_path))


def test_incomplete_or_foreign_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderLoadError, match="pretrained text encoder"):
        TextEncoder(VOCAB, name=str(tmp_path))
    saved = make_encoder()
    saved.bert.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    deeper = {**config, "num_hidden_layers": 3}
    (tmp_path / "config.json").write_text(json.dumps(deeper))
    with pytest.raises(EncoderLoadError, match="16 missing"):
        TextEncoder(VOCAB, name=str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    with pytest.raises(EncoderLoadError, match="mismatch"):
        TextEncoder(VOCAB, name=str(tmp_path))


def test_tokenizer_must_fit() -> None:
    tokenizer = ReportTokenizer.train(["No effusion is seen."], VOCAB)
    fitting = TextEncoder(tokenizer.vocab_size, width=24, depth=1, heads=3)
    fitting.check_tokenizer(tokenizer)
    with pytest.raises(TokenizerError, match=r"\[PAD\] = 3"):
        TextEncoder(
            tokenizer.vocab_size, width=24, depth=1, heads=3, pad_id=3
        ).check_tokenizer(tokenizer)
    with pytest.raises(TokenizerError, match="200 tokens"):
        TextEncoder(200, width=24, depth=1, heads=3).check_tokenizer(tokenizer)


def test_bad_sizes_are_refused(texts: Texts) -> None:
    with pytest.raises(ConfigError, match="divisible"):
        make_encoder(heads=5)
    with pytest.raises(ConfigError, match="pooling"):
        make_encoder(pooling="max")
    with pytest.raises(ConfigError, match="at most 20"):
        make_encoder().embeddings(torch.ones(1, 21, dtype=torch.long))

"""Pretrained text encoders of many kinds, and runs that outlive the folders of theirs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from tests.fakes.text_models import KINDS, text_model
from tests.methods.paired import REPORTS
from vlp_zoo.encoders.frozen_text import BertText, frozen_text_from_state
from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.errors import ConfigError, EncoderLoadError, TokenizerError

CORPUS = [*REPORTS, "Small left effusion; heart size is normal. No pneumothorax."]


def opened(folder: Path, **options: Any) -> tuple[TextEncoder, ReportTokenizer]:
    tokenizer = ReportTokenizer.load(folder, any_kind=True)
    size, pad = tokenizer.vocab_size, tokenizer.pad_id
    return TextEncoder(size, pad_id=pad, name=str(folder), **options), tokenizer


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_features_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    folder = text_model(tmp_path / kind, kind, CORPUS)
    encoder, tokenizer = opened(folder, pooling="mean")
    theirs: Any = AutoModel.from_pretrained(folder).eval()
    words: Any = AutoTokenizer.from_pretrained(folder)
    text = "Small left effusion. No pneumothorax."
    plain = words(text, add_special_tokens=False)["input_ids"]
    ids, mask = tokenizer.encode_padded(text, 40, sep=True)
    wanted = [words.cls_token_id, *plain, words.sep_token_id]
    assert ids[mask].tolist() == wanted
    assert set(ids[~mask].tolist()) == {words.pad_token_id}
    with torch.no_grad():
        found = encoder.eval()(
            torch.from_numpy(ids)[None], torch.from_numpy(np.array(mask))[None]
        )
        alone = theirs(input_ids=torch.tensor([wanted])).last_hidden_state
    torch.testing.assert_close(found.tokens[:, : len(wanted)], alone)
    torch.testing.assert_close(found.pooled, alone.mean(1))
    assert encoder.width == 16
    # RoBERTa's kind has two positions fewer than its table has rows.
    assert encoder.max_positions == (64 if kind in ("roberta", "mpnet") else 66)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pretrained_text_encoder_starts_in_training_mode(
    kind: str, tmp_path: Path
) -> None:
    encoder, tokenizer = opened(text_model(tmp_path / kind, kind, CORPUS))
    assert all(part.training for part in encoder.modules())
    drops = [part for part in encoder.modules() if isinstance(part, nn.Dropout)]
    assert drops
    assert all(part.training for part in drops)
    again = TextEncoder.from_spec(json.loads(json.dumps(encoder.spec)))
    assert all(part.training for part in again.modules())
    again.load_state_dict(encoder.state_dict())
    ids, mask = tokenizer.encode_batch(REPORTS, 40)
    fields = torch.from_numpy(ids), torch.from_numpy(mask)
    with torch.no_grad():
        first = encoder.eval()(*fields).tokens
        assert torch.equal(again.eval()(*fields).tokens, first)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_features_outlive_the_folder(kind: str, tmp_path: Path) -> None:
    folder = text_model(tmp_path / kind, kind, CORPUS)
    frozen = BertText(str(folder))
    first = frozen.encode(REPORTS)
    torch.save(frozen.state(), tmp_path / "state.pt")
    shutil.rmtree(folder)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    again = frozen_text_from_state(state)
    assert isinstance(again, BertText)
    assert again.fingerprint == frozen.fingerprint
    assert torch.equal(again.encode(REPORTS), first)
    assert not any(part.training for part in again.encoder.modules())
    # A checkpoint of an older release has the name alone, and needs the folder.
    old = {k: state[k] for k in ("kind", "name", "max_tokens", "fingerprint")}
    with pytest.raises((EncoderLoadError, TokenizerError)):
        frozen_text_from_state(old)
    text_model(folder, kind, CORPUS)
    assert frozen_text_from_state(old).fingerprint == frozen.fingerprint


def test_a_tokenizer_of_another_kind_travels_as_json(tmp_path: Path) -> None:
    folder = text_model(tmp_path / "r", "roberta", CORPUS)
    tokenizer = ReportTokenizer.load(folder, any_kind=True)
    again = ReportTokenizer.from_json(tokenizer.to_json())
    assert again == tokenizer
    ids = tokenizer.encode(REPORTS[0], sep=True)
    assert again.encode(REPORTS[0], sep=True).tolist() == ids.tolist()
    assert again.decode(ids) == f"<s>{REPORTS[0]}</s>"


def test_methods_with_masked_words_keep_needing_word_pieces(tmp_path: Path) -> None:
    folder = text_model(tmp_path / "r", "roberta", CORPUS)
    with pytest.raises(TokenizerError, match="WordPiece"):
        ReportTokenizer.load(folder)
    encoder, _ = opened(folder)
    with pytest.raises(ConfigError, match=r"(?s)type bert.*type roberta"):
        encoder.embeddings(torch.zeros(1, 3, dtype=torch.int64))


def test_a_model_without_its_weights_is_refused(tmp_path: Path) -> None:
    folder = text_model(tmp_path / "m", "mpnet", CORPUS)
    from safetensors.torch import load_file, save_file

    state: dict[str, Tensor] = load_file(folder / "model.safetensors")
    lost = next(key for key in state if key.endswith("attn.q.weight"))
    del state[lost]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderLoadError, match=r"(?s)mpnet.*1 missing"):
        opened(folder)

"""Names of pretrained text models stand for their sizes, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlp_zoo.encoders.drafts import drafting, drafts_names, known_config
from vlp_zoo.encoders.frozen_text import load_frozen_text
from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.errors import EncoderLoadError

BERT = "emilyalsentzer/Bio_ClinicalBERT"
REPORTS = ["No pleural effusion.", "Large left pleural effusion."]


def test_a_known_name_is_drafted_without_weights() -> None:
    with drafting(lambda: REPORTS):
        tokenizer = ReportTokenizer.load(BERT, any_kind=True)
        whole = TextEncoder(tokenizer.vocab_size, pad_id=tokenizer.pad_id, name=BERT)
        six = TextEncoder(
            tokenizer.vocab_size, name=BERT, changes={"num_hidden_layers": 6}
        )
        frozen = load_frozen_text(BERT)
    assert not drafts_names()
    # BERT-base, cased, without its pooler: Devlin et al. count 108 M.
    assert sum(p.numel() for p in whole.parameters()) == 107_719_680
    assert len(six.bert.encoder.layer) == 6
    assert (tokenizer.vocab_size, whole.max_positions, frozen.width) == (
        28996,
        512,
        768,
    )
    # Words are whole tokens, as in the vocabulary itself.
    assert tokenizer.decode(tokenizer.encode("Pleural effusion.", 9)).count("##") == 0


def test_what_is_not_known_off_line_is_said_by_name() -> None:
    with pytest.raises(EncoderLoadError, match="nobody/nothing") as error:
        known_config("nobody/nothing", {})
    assert BERT in str(error.value)


def test_a_folder_with_a_config_alone_is_enough(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, '
        '"num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 300}'
    )
    with drafting(lambda: REPORTS):
        encoder = TextEncoder(300, name=str(tmp_path))
    assert encoder.width == 32
    with pytest.raises(EncoderLoadError):
        TextEncoder(300, name=str(tmp_path))

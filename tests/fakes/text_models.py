"""Folders of small text encoders as transformers writes them, each with its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from vlp_zoo.encoders.tokenizer import ReportTokenizer

__all__ = ["KINDS", "text_model"]

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 66,
}
DISTIL: dict[str, Any] = {
    "dim": 16,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 24,
    "max_position_embeddings": 66,
}
KINDS: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "bert": (BertConfig, BertModel, SIZES, "bert"),
    "distilbert": (DistilBertConfig, DistilBertModel, DISTIL, "bert"),
    "roberta": (RobertaConfig, RobertaModel, SIZES, "roberta"),
    "mpnet": (MPNetConfig, MPNetModel, SIZES, "mpnet"),
    "modernbert": (ModernBertConfig, ModernBertModel, SIZES, "modernbert"),
}
"""Model type to its classes, its sizes and whose special tokens it has."""

NAMES = {
    "bert": ("[PAD]", "[UNK]", "[CLS]", "[MASK]", "[SEP]"),
    "roberta": ("<pad>", "<unk>", "<s>", "<mask>", "</s>"),
    "mpnet": ("<pad>", "[UNK]", "<s>", "<mask>", "</s>"),
    "modernbert": ("[PAD]", "[UNK]", "[CLS]", "[MASK]", "[SEP]"),
}


def text_model(folder: Path, kind: str, corpus: Sequence[str]) -> Path:
    """Write one.

    Args:
        folder: Where to.
        kind: A key of `KINDS`.
        corpus: What the vocabulary is learnt from.

    Returns:
        The folder.
    """
    config, network, sizes, family = KINDS[kind]
    roles = dict(zip(("pad", "unk", "cls", "mask", "sep"), NAMES[family], strict=True))
    if family in ("bert", "mpnet"):
        text = ReportTokenizer.train(corpus, 200).to_json()
        if family == "mpnet":
            # BERT's own names stay in the vocabulary as ordinary words, as there.
            spec = json.loads(text)
            spec["added_tokens"] = []
            words = spec["model"]["vocab"]
            for name in roles.values():
                words.setdefault(name, len(words))
            text = json.dumps(spec)
        backend = Tokenizer.from_str(text)
    else:
        backend = Tokenizer(models.BPE(unk_token=roles["unk"]))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        # RoBERTa counts positions from behind [PAD], so that it must come early.
        special = [roles[role] for role in ("cls", "pad", "sep", "unk", "mask")]
        backend.train_from_iterator(
            corpus,
            trainers.BpeTrainer(
                vocab_size=400,
                special_tokens=special,
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                show_progress=False,
            ),
        )
    tokens = {f"{role}_token": name for role, name in roles.items()}
    factory: Any = PreTrainedTokenizerFast
    tokenizer = factory(tokenizer_object=backend, **tokens)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    ids: dict[str, Any] = {"pad_token_id": tokenizer.pad_token_id}
    if kind == "modernbert":
        ids |= {"cls_token_id": tokenizer.cls_token_id, "bos_token_id": None}
        ids |= {"sep_token_id": tokenizer.sep_token_id, "eos_token_id": None}
    whole = network(config(vocab_size=len(tokenizer), **ids, **sizes))
    whole.save_pretrained(folder)
    return folder

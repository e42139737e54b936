"""Pretrained text models without their weights: what a plan needs are their sizes.

Inside `drafting`, whoever asks by name for a pretrained text encoder, its vocabulary or
its frozen features gets one of the same sizes. No weight is read and nothing is
downloaded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vlp_zoo.encoders.hub import is_cached, one_line
from vlp_zoo.encoders.text_cache import FrozenText
from vlp_zoo.encoders.vocabulary import train_word_piece, word_piece
from vlp_zoo.encoders.wheels import KIND, wheel_path
from vlp_zoo.errors import EncoderLoadError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = [
    "DraftText",
    "drafting",
    "drafts_names",
    "known_config",
    "vocabulary_like",
    "vocabulary_of_size",
]

SIZES: dict[str, dict[str, int]] = {
    # The config.json of its model card: BERT-base, cased.
    "emilyalsentzer/Bio_ClinicalBERT": {
        "vocab_size": 28996,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
    },
    # Its paper (arXiv 2204.09817): BERT-base with a vocabulary of its own.
    "microsoft/BiomedVLP-CXR-BERT-general": {
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
    },
}
"""Sizes of the text models that packaged configs name, for work without a network."""

REPORTS = 2000
"""Reports that a stand-in for a vocabulary is learnt on."""

_reports: ContextVar[Callable[[], Iterable[str]] | None] = ContextVar(
    "reports", default=None
)


@contextlib.contextmanager
def drafting(reports: Callable[[], Iterable[str]]) -> Iterator[None]:
    """Let names of pretrained text models stand for their sizes.

    Args:
        reports: Gives reports, so that a stand-in for a vocabulary cuts words into about
            as many pieces as the vocabulary itself.
    """
    token = _reports.set(reports)
    try:
        yield
    finally:
        _reports.reset(token)


def drafts_names() -> bool:
    """Whether names stand for sizes now."""
    return _reports.get() is not None


def known_config(name: str, changes: Mapping[str, Any]) -> PreTrainedConfig:
    """The config of a pretrained text encoder, as far as it is known off line.

    Args:
        name: Folder, hub name, or a wheel's spec.
        changes: Entries that differ.

    Raises:
        EncoderLoadError: If no folder, no cache and no table of ours has it.
    """
    from transformers import AutoConfig, BertConfig

    place = wheel_path(name, text=True)
    try:
        found: PreTrainedConfig = AutoConfig.from_pretrained(
            place, local_files_only=True, **changes
        )
    except (OSError, ValueError, KeyError) as error:
        if name in SIZES:
            return BertConfig(**{**SIZES[name], **changes})
        raise EncoderLoadError(
            f"the sizes of the text model {name}, off line",
            one_line(error),
            "give a folder with its config.json (no weights are needed), or load it once "
            f"on line; known by name: {', '.join(SIZES)}",
        ) from error
    return found


def vocabulary_like(name: str) -> dict[str, Any] | None:
    """A ``tokenizer.json`` in place of a pretrained model's vocabulary.

    Returns:
        None where names are not drafted, or the vocabulary itself is at hand.
    """
    if not drafts_names() or Path(name).exists() or name.startswith(KIND):
        return None
    if is_cached(name, ("tokenizer.json", "vocab.txt")):
        return None
    config = known_config(name, {})
    return vocabulary_of_size(int(config.vocab_size), int(config.pad_token_id or 0))


def vocabulary_of_size(size: int, pad_id: int = 0) -> dict[str, Any]:
    """A ``tokenizer.json`` of exactly that many tokens, learnt on reports at hand.

    Args:
        size: V; what the reports do not fill is filled with tokens that never occur.
        pad_id: Id of [PAD].
    """
    reports = _reports.get()
    learnt = train_word_piece(islice(reports() if reports else (), REPORTS), size)
    places = learnt["model"]["vocab"]
    tokens = sorted(places, key=places.__getitem__)
    tokens += [f"[unused{number}]" for number in range(size - len(tokens))]
    tokens[0], tokens[pad_id] = tokens[pad_id], tokens[0]
    return word_piece({token: index for index, token in enumerate(tokens)})


class DraftText(FrozenText):
    """Frozen features of a pretrained text model: their width alone.

    Args:
        name: Folder, hub name, or a wheel's spec.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.width = int(known_config(name, {}).hidden_size)
        self.fingerprint = "draft"

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Ones, (N, D)."""
        return torch.ones(len(texts), self.width)

    cached = encode

    def state(self) -> dict[str, Any]:
        """Nothing that could be kept.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("a draft is never trained")

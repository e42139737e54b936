"""What methods that read reports have beside their images: vocabulary and text encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.options import ReportOptions

__all__ = [
    "find_tokenizer",
    "longest",
    "stored_run",
    "text_encoder",
    "without_padding",
]


class _Reads(Protocol):
    """What `find_tokenizer` asks a method for."""

    @property
    def data(self) -> Any: ...

    def continued(self, *options: str) -> Mapping[str, Any] | None: ...

    def load_tokenizer(self, name: str) -> ReportTokenizer: ...

    def corpus_of(self, data: Any) -> tuple[Callable[[], Iterable[str]], str]: ...


def longest(batch: Mapping[str, Any]) -> int:
    """Tokens of a batch's longest report, counted here unless the data module did."""
    counted = batch.get("longest")
    return int(batch["attention_mask"].sum(1).max() if counted is None else counted)


def without_padding(
    input_ids: Tensor, attention_mask: Tensor, length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Ids and mask, (B, T) each, cut behind the longest text.

    Args:
        input_ids: (B, T) int64.
        attention_mask: (B, T) bool, True = token.
        length: Tokens of the longest text; None counts them on the device.
    """
    length = length or longest({"attention_mask": attention_mask})
    return input_ids[:, :length], attention_mask[:, :length]


def stored_run(
    place: str | Path | None, now: Mapping[str, Any], *options: str
) -> Mapping[str, Any] | None:
    """The checkpoint that a run continues or looks at.

    Args:
        place: Its file, if there is one.
        now: Hyper-parameters of the run.
        options: Those that must be what they were there.

    Returns:
        None where there is none, or an option was changed.
    """
    if place is None or not Path(place).is_file():
        return None
    # Mapped: only what is asked for is read.
    file = torch.load(place, map_location="cpu", weights_only=True, mmap=True)
    then = file.get("hyper_parameters", {})
    same = all(then.get(name) == now.get(name) for name in options)
    return file if same else None


def find_tokenizer(method: _Reads, options: ReportOptions) -> ReportTokenizer:
    """The vocabulary of a run: of its checkpoint, by its name, or of its reports.

    Args:
        method: Says where these are.
        options: Those of the method.

    Raises:
        ConfigError: If there are no reports to learn one from.
    """
    if options.tokenizer_name != "corpus":
        stored = method.continued("tokenizer", "text_model") or {}
        if "tokenizer_json" in stored:
            return ReportTokenizer.from_json(stored["tokenizer_json"])
        return method.load_tokenizer(options.tokenizer_name)
    if not hasattr(method.data, "corpus"):
        raise ConfigError(
            "training reports to learn a vocabulary from (tokenizer='corpus')",
            "no data module with a corpus",
            "pass --model.tokenizer FILE (vocab.txt or tokenizer.json)",
        )
    corpus, fingerprint = method.corpus_of(method.data)
    return ReportTokenizer.for_corpus(corpus, fingerprint, options.vocab_size)


def text_encoder(
    options: ReportOptions,
    tokenizer: ReportTokenizer | None,
    spec: Mapping[str, Any] | None,
    vocab_size: int,
    name: str | None = None,
    **kind: Any,
) -> TextEncoder:
    """A text encoder of the options' sizes that knows the vocabulary's padding.

    Args:
        options: Options of the method.
        tokenizer: The vocabulary, once there is one.
        spec: Architecture of a checkpoint's text encoder, whose weights it then brings.
        vocab_size: Size of the vocabulary.
        name: Folder or hub name of a pretrained one, which has its own sizes.
        **kind: What else `TextEncoder` takes.

    Raises:
        ConfigError: If a pretrained one cannot read ``max_tokens``.
    """
    if name is not None and spec is not None:
        encoder = TextEncoder.from_spec(spec)
    else:
        sizes = {"max_positions": options.max_tokens, **kind}
        encoder = TextEncoder(
            vocab_size,
            options.text_width,
            options.text_depth,
            options.text_heads,
            options.text_ffn,
            dropout=options.text_dropout,
            pad_id=0 if tokenizer is None else tokenizer.pad_id,
            name=name,
            **sizes,
        )
    if options.max_tokens > encoder.max_positions:
        raise ConfigError(
            f"texts of at most {encoder.max_positions} tokens, as "
            f"{name or 'the text encoder'} reads them",
            f"max_tokens {options.max_tokens}",
            f"use --model.max_tokens {encoder.max_positions}",
        )
    if tokenizer is not None:
        encoder.check_tokenizer(tokenizer)
    return encoder

"""What methods that read reports have beside their images: vocabulary and text encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.options import (
    PretrainedTextOptions,
    PretrainOptions,
    ReportOptions,
)

__all__ = ["ReadsText", "longest"]


def longest(batch: Mapping[str, Any]) -> int:
    """Tokens of a batch's longest report, counted here unless the data module did."""
    counted = batch.get("longest")
    return int(batch["attention_mask"].sum(1).max() if counted is None else counted)


class ReadsText(pl.LightningModule):
    """The text side of `vlp_zoo.methods.base.VLPModule`."""

    options: PretrainOptions
    tokenizer: ReportTokenizer | None
    vocab_size: int
    text_spec: Mapping[str, Any] | None = None
    """Architecture of a checkpoint's text encoder, whose weights it then brings."""

    def setup(self, stage: str) -> None:
        """Fix the tokenizer before the networks are built (Lightning's hook)."""
        if self.tokenizer is None and isinstance(self.options, ReportOptions):
            self._use_tokenizer(self._find_tokenizer(self.options))
        if isinstance(self.options, PretrainedTextOptions):
            stored = self.continued("text_model") or {}
            self.text_spec = stored.get("text_encoder")

    def continued(self, *options: str) -> Mapping[str, Any] | None:
        """The checkpoint that this run continues or looks at.

        Args:
            options: Hyper-parameters that must be what they were there.

        Returns:
            None where there is none, or an option was changed.
        """
        place = getattr(self._trainer, "ckpt_path", None)
        if place is None or not Path(place).is_file():
            return None
        # Mapped: only what is asked for is read.
        file = torch.load(place, map_location="cpu", weights_only=True, mmap=True)
        then = file.get("hyper_parameters", {})
        same = all(then.get(name) == self.hparams.get(name) for name in options)
        return file if same else None

    def _find_tokenizer(self, options: ReportOptions) -> ReportTokenizer:
        if options.tokenizer_name != "corpus":
            stored = self.continued("tokenizer", "text_model") or {}
            if "tokenizer_json" in stored:
                return ReportTokenizer.from_json(stored["tokenizer_json"])
            return self.load_tokenizer(options.tokenizer_name)
        data = getattr(self.trainer, "datamodule", None)
        if data is None or not hasattr(data, "corpus"):
            raise ConfigError(
                "training reports to learn a vocabulary from (tokenizer='corpus')",
                "no data module with a corpus",
                "pass --model.tokenizer FILE (vocab.txt or tokenizer.json)",
            )
        corpus, fingerprint = self.corpus_of(data)
        return ReportTokenizer.for_corpus(corpus, fingerprint, options.vocab_size)

    def corpus_of(self, data: Any) -> tuple[Callable[[], Iterable[str]], str]:
        """Texts of a data module to learn a vocabulary from, and what names them."""
        return data.corpus, data.corpus_fingerprint

    def load_tokenizer(self, name: str) -> ReportTokenizer:
        """The tokenizer of that name: a WordPiece vocabulary."""
        return ReportTokenizer.load(name)

    def _use_tokenizer(self, tokenizer: ReportTokenizer) -> None:
        self.tokenizer = tokenizer
        self.vocab_size = tokenizer.vocab_size

    def known_tokenizer(self) -> ReportTokenizer:
        """The tokenizer, which a method has once it is set up.

        Raises:
            ConfigError: If there is none yet.
        """
        if self.tokenizer is None:
            raise ConfigError(
                "a tokenizer", "none yet", "call setup() or set module.tokenizer first"
            )
        return self.tokenizer

    @property
    def mask_id(self) -> int:
        """Id of [MASK]; 3, as in the authors' vocabularies, before there is a tokenizer."""
        return 3 if self.tokenizer is None else self.tokenizer.mask_id

    @property
    def trained_text(self) -> TextEncoder | None:
        """The text encoder that is trained, once it is built."""
        return getattr(self, "text_encoder", None)

    def make_first_layers(
        self, options: PretrainedTextOptions, positions: int
    ) -> TextEncoder:
        """A BERT of ``text_depth`` layers, the first ones of a pretrained one.

        Args:
            options: Options of the method.
            positions: Size of its position table.
        """
        rates = ("hidden_dropout_prob", "attention_probs_dropout_prob")
        encoder = self.make_text_encoder(
            options,
            options.text_model,
            max_positions=positions,
            changes={
                "num_hidden_layers": options.text_depth,
                **dict.fromkeys(rates, options.text_dropout),
            },
        )
        encoder.require_bert()
        return encoder

    def make_text_encoder(
        self, options: ReportOptions, name: str | None = None, **kind: Any
    ) -> TextEncoder:
        """A text encoder of the options' sizes that knows the vocabulary's padding.

        Args:
            options: Options of the method.
            name: Folder or hub name of a pretrained one, which has its own sizes; a
                checkpoint that was loaded brings it.
            **kind: What else `TextEncoder` takes.

        Raises:
            ConfigError: If a pretrained one cannot read ``max_tokens``.
        """
        if name is not None and self.text_spec is not None:
            encoder = TextEncoder.from_spec(self.text_spec)
        else:
            sizes = {"max_positions": options.max_tokens, **kind}
            encoder = TextEncoder(
                self.vocab_size,
                options.text_width,
                options.text_depth,
                options.text_heads,
                options.text_ffn,
                dropout=options.text_dropout,
                pad_id=0 if self.tokenizer is None else self.tokenizer.pad_id,
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
        if self.tokenizer is not None:
            encoder.check_tokenizer(self.tokenizer)
        return encoder

"""An image encoder and a text tower side by side, for methods that align the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vlp_zoo.encoders.checkpoint import load_encoder
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.errors import ConfigError
from vlp_zoo.gather import sync_batchnorm
from vlp_zoo.methods.base import BatchT, VLPModule
from vlp_zoo.methods.paired import ReportTokens

__all__ = ["PairedTowers", "TextOutput", "TextSizes", "TextTower", "projection"]


class TextSizes(NamedTuple):
    """Sizes of a BERT from scratch."""

    width: int = 768
    depth: int = 6
    heads: int = 12
    ffn: int = 3072
    dropout: float = 0.1


class TextOutput(NamedTuple):
    """What a text tower makes of reports."""

    pooled: Tensor  # (B, D)
    tokens: Tensor  # (B, T, D), T the longest of the batch
    mask: Tensor  # (B, T) bool


def projection(width: int, inner: int, joint: int) -> nn.Module:
    """Linear, ReLU, linear; without an inner width one linear map."""
    if not inner:
        return nn.Linear(width, joint)
    return nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, joint))


class TextTower(nn.Module):
    """A trainable BERT that does no work for padding.

    Args:
        encoder: The BERT.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = encoder.width

    def forward(
        self, input_ids: Tensor, mask: Tensor, texts: Sequence[str]
    ) -> TextOutput:
        """Encode.

        Args:
            input_ids: (B, T) int64.
            mask: (B, T) bool, True = token.
            texts: The same reports as strings, for towers that read those.
        """
        longest = int(mask.sum(1).max())
        ids, mask = input_ids[:, :longest], mask[:, :longest]
        found = self.encoder(ids, mask)
        return TextOutput(found.pooled, found.tokens, mask)


class PairedTowers(VLPModule[BatchT]):
    """The half that image-report methods share: encoders, warm start, tokens."""

    text_tower: TextTower

    def set_towers(
        self,
        image_encoder: str,
        image_size: int,
        encoder_sizes: dict[str, int] | None,
        warm_start: str | None,
        text_model: str | None,
        text_sizes: TextSizes,
        max_tokens: int,
        sentences: int = 0,
    ) -> None:
        """Remember the settings until `build_towers`."""
        self.image_encoder_name = image_encoder
        self.image_size = image_size
        self.encoder_sizes = dict(encoder_sizes or {})
        self.warm_start = warm_start
        self.text_model = text_model
        self.text_sizes = text_sizes
        self.max_tokens = max_tokens
        self.sentences = sentences
        if text_model not in (None, "corpus") and self.tokenizer_name == "corpus":
            # A pretrained BERT understands its own vocabulary only.
            self.tokenizer_name = str(text_model)

    def build_towers(self) -> None:
        """Create both encoders; batch norms see the rows of all processes."""
        self.image_encoder = ImageEncoder(
            self.image_encoder_name,
            self.image_size,
            pooling="avg",
            timm_arguments=self.encoder_sizes,
        )
        sync_batchnorm(self.image_encoder)
        self.text_tower = TextTower(self._text_encoder())

    def _text_encoder(self) -> TextEncoder:
        sizes = self.text_sizes
        encoder = TextEncoder(
            self.vocab_size,
            sizes.width,
            sizes.depth,
            sizes.heads,
            sizes.ffn,
            max_positions=self.max_tokens,
            dropout=sizes.dropout,
            pad_id=0 if self.tokenizer is None else self.tokenizer.pad_id,
            name=self.text_model,
            pooling="mean",
        )
        if self.tokenizer is not None:
            encoder.check_tokenizer(self.tokenizer)
        return encoder

    def on_fit_start(self) -> None:
        """Take over the weights of ``warm_start`` unless a checkpoint is resumed."""
        if self.warm_start and self.trainer.ckpt_path is None:
            state = load_encoder(self.warm_start).timm.state_dict()
            self.image_encoder.load_weights(state, self.warm_start)

    def report_tokens(self) -> ReportTokens:
        """Text to fields; needs the tokenizer."""
        if self.tokenizer is None:
            raise ConfigError(
                "a tokenizer", "none yet", "call setup() or set module.tokenizer first"
            )
        return ReportTokens(self.tokenizer, self.max_tokens, self.sentences)

    def encode_texts(self, texts: Sequence[str]) -> TextOutput:
        """Texts straight through the tower, on this module's device."""
        tokens = self.report_tokens()
        tokenizer: ReportTokenizer = tokens.tokenizer
        ids, mask = tokenizer.encode_batch(list(texts), self.max_tokens)
        device = self.device
        found: TextOutput = self.text_tower(
            torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device), texts
        )
        return found

"""An image encoder and a text tower side by side, for methods that align the two."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.encoders.frozen_text import FrozenText, text_for
from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.errors import ConfigError
from vlp_zoo.gather import sync_batchnorm
from vlp_zoo.methods.base import BatchT, VLPModule
from vlp_zoo.methods.paired.fields import PairedTransform, ReportTokens
from vlp_zoo.methods.paired.options import CORPUS, TowerOptions
from vlp_zoo.methods.reading import without_padding

__all__ = [
    "FrozenTower",
    "PairedTowers",
    "TextOutput",
    "TextTower",
    "projection",
]


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
        self,
        input_ids: Tensor,
        mask: Tensor,
        texts: Sequence[str],
        length: int | None = None,
    ) -> TextOutput:
        """Encode.

        Args:
            input_ids: (B, T) int64.
            mask: (B, T) bool, True = token.
            texts: Reports as strings, in the order of the ids, for towers that read
                those.
            length: Tokens of the longest report; None counts them on the device.
        """
        return self.read(*without_padding(input_ids, mask, length))

    def read(self, input_ids: Tensor, mask: Tensor) -> TextOutput:
        """Encode token ids (B, T) with their mask (B, T)."""
        found = self.encoder(input_ids, mask)
        return TextOutput(found.pooled, found.tokens, mask)


class FrozenTower(nn.Module):
    """Fixed features of whole texts; nothing to train and nothing in the state dict.

    Features are scaled to unit mean square, as a linear map expects them.

    Args:
        width: D.
        frozen: Makes the features; may come later, from a checkpoint.
    """

    anchor: Tensor

    def __init__(self, width: int, frozen: FrozenText | None = None) -> None:
        super().__init__()
        self.frozen = frozen
        self.width = width
        # Knows the device.
        self.register_buffer("anchor", torch.zeros(()), persistent=False)

    def features(self, texts: Sequence[str]) -> Tensor:
        """(N, D) without gradient, on this module's device.

        Raises:
            ConfigError: If nothing makes features yet.
        """
        if self.frozen is None:
            raise ConfigError(
                "text features of the training reports (text_model: corpus)",
                "none yet",
                "call setup() with a data module, or set module.frozen_text first",
            )
        found = self.frozen.cached(texts).to(self.anchor.device, non_blocking=True)
        return functional.normalize(found, dim=1) * math.sqrt(self.width)

    def forward(
        self,
        input_ids: Tensor,
        mask: Tensor,
        texts: Sequence[str],
        length: int | None = None,
    ) -> TextOutput:
        """Encode ``texts``; one token stands for each. See `TextTower.forward`."""
        found = self.features(texts)
        return TextOutput(found, found[:, None], mask[:, :1])


class PairedTowers(VLPModule[BatchT]):
    """The half that image-report methods share: encoders and tokens.

    A method builds ``image_head`` and ``text_head``, from the encoders' pooled vectors
    into the joint space.
    """

    options: TowerOptions
    has_text_head: ClassVar[bool] = True
    ends_texts: ClassVar[bool] = False
    """Whether [SEP] ends a text."""
    label_names: tuple[str, ...] = ()
    """Names of the label columns of the data, once the run is set up."""
    text_tower: TextTower | FrozenTower
    image_head: nn.Module
    text_head: nn.Module

    def build_towers(
        self,
        read: bool = True,
        tower: Callable[[TextEncoder], TextTower] = TextTower,
        **look: Any,
    ) -> None:
        """Create both encoders; batch norms see the rows of all processes.

        Args:
            read: Create the text tower.
            tower: What makes it of its encoder, where it is trained.
            **look: Mean and deviation of images, as for `ImageEncoder`.
        """
        self.image_encoder = self.make_image_encoder(pooling="avg", **look)
        sync_batchnorm(self.image_encoder)
        if not read:
            return
        if self.options.text_model == CORPUS:
            self.text_tower = FrozenTower(self.options.text_width, self.frozen_text)
        else:
            self.text_tower = tower(
                self.make_text_encoder(
                    self.options, name=self.options.text_model, pooling="mean"
                )
            )

    def setup(self, stage: str) -> None:
        """Learn the names of the labels, then the vocabulary and fixed text features."""
        self.label_names = tuple(getattr(self.data, "label_names", ()))
        super().setup(stage)
        if self.options.text_model == CORPUS and self.frozen_text is None:
            self.frozen_text = text_for(self.data, CORPUS, self.options.text_width)

    @property
    def trained_text(self) -> TextEncoder | None:
        """The text encoder of the tower that is trained."""
        tower = getattr(self, "text_tower", None)
        return tower.encoder if isinstance(tower, TextTower) else None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the tower; Lightning may have built the networks before."""
        super().on_load_checkpoint(checkpoint)
        tower = getattr(self, "text_tower", None)
        if isinstance(tower, FrozenTower):
            tower.frozen = self.frozen_text

    def load_tokenizer(self, name: str) -> ReportTokenizer:
        """The tokenizer of that name; a pretrained text tower may bring any kind."""
        return ReportTokenizer.load(name, any_kind=self.options.text_model == name)

    def embed_images(self, images: Tensor) -> Tensor:
        """Images, (B, 1 or 3, H, W) uint8, in the joint space: (B, E), unit length."""
        self._need_heads()
        pooled = self.image_encoder.encode(images).pooled
        return functional.normalize(self.image_head(pooled).float(), dim=1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Reports or prompts in the joint space: (B, E), unit length."""
        self._need_heads()
        pooled = self.encode_texts(texts).pooled
        return functional.normalize(self.text_head(pooled).float(), dim=1)

    def linear_places(self, images: Tensor) -> Tensor | None:
        """Places in the joint space: (B, E, h, w), unit length along E.

        For a linear image head: the embedding of an image is the mean of what the places
        become, up to its length, so that each has its share in it. Where the encoder does
        not pool by the plain mean, the head has never seen a place: None.
        """
        found = self.image_encoder.encode(images)
        gap = (found.tokens.float().mean(1) - found.pooled.float()).norm()
        # Wide enough for half precision; a norm between mean and output is far beyond.
        if gap > 0.05 * found.pooled.float().norm():
            return None
        places = functional.normalize(self.image_head(found.tokens).float(), dim=2)
        return torch.unflatten(places.transpose(1, 2), 2, found.grid)

    def _need_heads(self) -> None:
        if not hasattr(self, "image_head"):
            raise ConfigError(
                "a joint space of images and reports",
                "a model trained without that term",
                "train with --model.itc_weight above 0",
            )

    def report_tokens(self) -> ReportTokens:
        """Text to fields; needs the tokenizer."""
        return ReportTokens(self.known_tokenizer(), self.options.max_tokens)

    def make_look(self, train: bool, sentence_dropout: float = 0.0) -> PairedTransform:
        """Crop, vary, tokenise.

        Args:
            train: Draw crops and changes.
            sentence_dropout: Chance to leave out each sentence in training.
        """
        options = self.options
        return PairedTransform(
            self.report_tokens(),
            options.image_size,
            train,
            options.crop_scale,
            options.jitter,
            sentence_dropout,
        )

    def encode_texts(self, texts: Sequence[str]) -> TextOutput:
        """Texts straight through the tower, on this module's device."""
        tokenizer = self.known_tokenizer()
        ids, mask = tokenizer.encode_batch(
            list(texts), self.options.max_tokens, sep=self.ends_texts
        )
        device = self.device
        found: TextOutput = self.text_tower(
            torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device), texts
        )
        return found

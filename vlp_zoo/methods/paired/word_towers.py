"""Towers that read images by patches and reports by words, as MGCA and ASG do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vlp_zoo.encoders.image import EncoderOutput, ImageEncoder
from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.methods.base import BatchT, VLPModule
from vlp_zoo.methods.optimisation import steps_per_epoch
from vlp_zoo.methods.paired.captions import tokenize_texts
from vlp_zoo.methods.paired.heads import ProjectionHead, unit_length
from vlp_zoo.methods.paired.options import WordOptions, WordReadingOptions
from vlp_zoo.methods.paired.restarts import official_optimizer
from vlp_zoo.methods.paired.words import Pieces, merge_words, word_slots
from vlp_zoo.methods.reading import without_padding
from vlp_zoo.modules import bert_layers

__all__ = ["WordTowers", "first_layers", "local_features", "local_shape"]


def local_shape(encoder: ImageEncoder) -> tuple[tuple[int, int], int]:
    """Grid and width of the local image features."""
    if encoder.is_vit:
        return encoder.grid, encoder.width
    return encoder.shapes.sides[-2], encoder.shapes.channels[-2]


def local_features(encoder: ImageEncoder, encoded: EncoderOutput) -> Tensor:
    """(B, P, C): patches of a ViT, the last stage but one of a CNN."""
    if encoder.is_vit:
        return encoded.tokens
    return encoded.levels[-2].flatten(2).transpose(1, 2)


def first_layers(method: VLPModule[Any], options: WordReadingOptions) -> TextEncoder:
    """A BERT of ``text_depth`` layers, the first ones of a pretrained one.

    Args:
        method: Has the vocabulary.
        options: Those of the method.
    """
    rates = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    encoder = method.make_text_encoder(
        options,
        options.text_model,
        max_positions=options.text_positions,
        changes={
            "num_hidden_layers": options.text_depth,
            **dict.fromkeys(rates, options.text_dropout),
        },
    )
    encoder.require_bert()
    return encoder


class WordTowers(VLPModule[BatchT]):
    """An image encoder, a BERT whose pieces are summed to words, and heads for both.

    ``image_head`` and ``report_head`` lead wholes into the joint space, ``patch_head``
    and ``word_head`` parts, where a method aligns those.
    """

    options: WordOptions
    has_text_head: ClassVar[bool] = True
    least_batch: ClassVar[int] = 2
    run: Callable[..., Any]
    """What a method makes of normalised images (B, 3, S, S) and `Pieces` of reports."""

    @property
    def aligns_parts(self) -> bool:
        """Whether parts of images and reports are aligned: only then they have heads."""
        raise NotImplementedError

    def build_towers(self, mean: Sequence[float], std: Sequence[float]) -> int:
        """Create encoders and heads.

        Args:
            mean: Mean of the pixels of each channel.
            std: Deviations of the pixels.

        Returns:
            Width of the local image features.
        """
        options = self.options
        self.image_encoder = self.make_image_encoder(mean=mean, std=std)
        self.grid, patch_width = local_shape(self.image_encoder)
        self.text_encoder = first_layers(self, options)
        segments: Any = self.text_encoder.bert.embeddings.token_type_embeddings
        nn.init.zeros_(segments.weight).requires_grad_(False)
        width, inner, joint = (
            self.text_encoder.width,
            options.head_hidden,
            options.joint_width,
        )
        self.image_head = ProjectionHead(self.image_encoder.width, inner, joint)
        self.report_head = ProjectionHead(width, inner, joint)
        if self.aligns_parts:
            self.patch_head = ProjectionHead(patch_width, inner, joint)
            self.word_head = ProjectionHead(width, inner, joint)
        return patch_width

    def pass_of(self, batch: BatchT) -> Any:
        """`run` of a batch."""
        colour = batch["image"].expand(-1, 3, -1, -1)
        return self.run(self.image_encoder.normalise(colour), Pieces.of(batch))

    def embed_pieces(self, input_ids: Tensor) -> Tensor:
        """Word pieces (B, T) as the layers see them first, (B, T, D)."""
        at_zero = self.options.official_positions
        places = torch.zeros_like(input_ids) if at_zero else None
        hidden: Tensor = self.text_encoder.bert.embeddings(
            input_ids, position_ids=places
        )
        return hidden

    def encode_pieces(
        self, input_ids: Tensor, attention_mask: Tensor, length: int | None = None
    ) -> Tensor:
        """Word piece features (B, L, D), L the longest report: none of padding."""
        ids, mask = without_padding(input_ids, attention_mask, length)
        layers = self.text_encoder.bert.encoder.layer
        return bert_layers(layers, self.embed_pieces(ids), mask)

    def encode_words(self, report: Pieces) -> Tensor:
        """Word features (B, T, D), [CLS] first, zero beyond [SEP]."""
        pieces = self.encode_pieces(report.ids, report.present, report.length)
        return merge_words(pieces, word_slots(report.continues, report.present))

    def pieces_of(self, texts: Sequence[str]) -> Pieces:
        """Texts as they are read, on this module's device."""
        tokenizer, most = self.known_tokenizer(), self.options.max_tokens
        ids, present, continues = (
            field.to(self.device) for field in tokenize_texts(tokenizer, texts, most)
        )
        return Pieces(ids, present, continues)

    def embed_images(self, images: Tensor) -> Tensor:
        """Images (B, 1 or 3, H, W), uint8, in the joint space: (B, E), unit length."""
        encoded = self.image_encoder.encode(images)
        return unit_length(self.image_head(encoded.pooled))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Reports or prompts in the joint space: (B, E), unit length."""
        words = self.encode_words(self.pieces_of(texts))
        return unit_length(self.report_head(words[:, 0]))

    def embed_patches(self, images: Tensor) -> Tensor | None:
        """Local features in the space of words: (B, E, h, w); None without that space."""
        if not self.aligns_parts:
            return None
        encoded = self.image_encoder.encode(images)
        patches = self.patch_head(local_features(self.image_encoder, encoded))
        return torch.unflatten(unit_length(patches).transpose(1, 2), 2, self.grid)

    def embed_phrases(self, texts: Sequence[str]) -> Tensor:
        """Phrases as the mean of their words: (B, E)."""
        if not self.aligns_parts:
            return self.embed_texts(texts)
        read = self.pieces_of(texts)
        words = unit_length(self.word_head(self.encode_words(read)))
        # [CLS] is the first word and [SEP] the last; neither is said.
        last = (read.present & ~read.continues).sum(1, keepdim=True) - 1
        number = torch.arange(words.shape[1], device=words.device)
        said = ((number > 0) & (number < last)).to(words.dtype)
        return unit_length((said[..., None] * words).sum(1))

    def configure_optimizers(self) -> Any:
        """The base's, or the released code's AdamW and schedule with restarts."""
        if not self.options.official_schedule:
            return super().configure_optimizers()
        per_epoch = steps_per_epoch(self.trainer)
        warmup = self.options.warmup_epochs * per_epoch
        end = self.options.schedule_epochs
        cycle = end * per_epoch if end else self.trainer.estimated_stepping_batches
        return official_optimizer(self.parameters(), self.options, warmup, cycle)

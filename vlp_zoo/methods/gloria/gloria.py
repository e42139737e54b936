r"""GLoRIA: global-local representations of images, by attention, from reports.

Huang, Shen, Lungren, Yeung, "GLoRIA: A multimodal global-local representation learning
framework for label-efficient medical image recognition", ICCV 2021. Official code:
marshuang80/gloria @ 416466a (Apache-2.0; nothing of it is copied here).

An image and a sentence of its report meet as wholes, by their global features, and in
parts: each word attends to the places of the image, and how much each word resembles
what it sees makes the local score of the pair (`vlp_zoo.methods.gloria.losses`). Both
scores are contrasted over the batch, in both directions, and all four losses added:

.. math:: L = L_{local}^{v \to t} + L_{local}^{t \to v} + L_{global}^{v \to t}
    + L_{global}^{t \to v}

========================  =====================================================
here                      in the paper's terms
========================  =====================================================
``places``                local image features, a map of an intermediate layer
``words``                 word features: summed pieces of summed layers
``whole``                 global features; the text's is the mean of its words
``scales``                temperatures, all multipliers
========================  =====================================================

Deviations. The default is the left column; the flag's other value is the released code.

=========================  ============================  =========================
flag                       default                       released code
=========================  ============================  =========================
``sentences``              all of two words or more      none after exactly five
                                                         words; empty ones too
``count_unknown``          unknown words count           as many are cut off at
                                                         the end
``negatives``              ``global``: all processes     ``local``: one process
``sync_bn``                statistics of all processes   of one process
``crop_size``              the encoder's side, 224       224, enlarged to 299
``schedule``               base's warm-up and cosine,    Adam at a ``constant``
                           vectors do not decay          rate, as its schedule
                                                         (``plateau``) never fires
=========================  ============================  =========================

Kept unless asked for otherwise: equal sentences of a batch are told apart
(``multi_positive``); the softmax over words takes raw products, which are large
(``text_scale: unit``); scores grow with the length of a text (``pool: mean``).

Without a flag: draws of sentences differ between workers and epochs, and are the same in
every validation; a report without impression, or without a sentence of two words, is
read as a whole instead of left out; prompts are as long as their words, not their
letters; evaluation is in evaluation mode; pieces that are not merged leave padding out
of the mean; any encoder with two levels serves, also a ViT. The full text of the paper
was not at hand: values are those of the released code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vlp_zoo.errors import ConfigError
from vlp_zoo.gather import sync_batchnorm
from vlp_zoo.losses import info_nce, multi_positive_targets
from vlp_zoo.methods.base import VLPModule
from vlp_zoo.methods.gloria.losses import Words, local_loss, prompt_scores
from vlp_zoo.methods.gloria.networks import summed_states
from vlp_zoo.methods.gloria.options import GLoRIAOptions
from vlp_zoo.methods.gloria.pictures import draw_looks
from vlp_zoo.methods.gloria.schedule import released_optimizer
from vlp_zoo.methods.gloria.transform import GLoRIATransform, caption_sentences
from vlp_zoo.methods.paired.heads import unit_length
from vlp_zoo.methods.paired.square import enlarged
from vlp_zoo.methods.paired.word_fields import WordBatch
from vlp_zoo.methods.paired.word_towers import first_layers, local_features, local_shape
from vlp_zoo.methods.paired.words import Pieces, merge_words, word_slots
from vlp_zoo.methods.reading import without_padding

__all__ = ["GLoRIA", "GLoRIABatch"]


class GLoRIABatch(WordBatch):
    """What `GLoRIATransform` returns, collated."""

    word_count: Tensor  # (B,) int64, [CLS] and the words
    report_key: Tensor  # (B,) int64, equal for equal captions


class Pass(NamedTuple):
    """One forward pass, up to the losses; nothing has unit length."""

    pooled: Tensor  # (B, D) image features before projection
    image: Tensor  # (B, E)
    places: Tensor | None  # (B, P, E)
    words: Tensor  # (B, T, E), zero where there is no word
    text: Tensor  # (B, E)


class GLoRIA(VLPModule[GLoRIABatch]):
    """Global and attention-weighted local alignment (Huang et al., 2021).

    Options are those of `GLoRIAOptions`.
    """

    options: GLoRIAOptions
    batch_keys: ClassVar[frozenset[str]] = GLoRIABatch.__required_keys__
    pair_gains: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("local", "global"), "image_gain"
    )
    has_text_head: ClassVar[bool] = True
    least_batch: ClassVar[int] = 2

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(GLoRIAOptions(**kwargs))

    def build(self) -> None:
        """Create the networks."""
        options = self.options
        self.image_encoder = self.make_image_encoder(mean=[0.5] * 3, std=[0.5] * 3)
        self.grid, place_width = local_shape(self.image_encoder)
        self.text_encoder = first_layers(self, options)
        joint = self.text_encoder.width
        self.image_head = nn.Linear(self.image_encoder.width, joint)
        if options.local_weight:
            self.place_head = nn.Linear(place_width, joint, bias=False)
        if options.sync_bn:
            sync_batchnorm(self)

    def make_transform(self, train: bool) -> GLoRIATransform:
        """Crop, draw a sentence, tokenise."""
        return GLoRIATransform(self.known_tokenizer(), self.options, train)

    # One pass -------------------------------------------------------------------

    def encode_images(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Normalised images (B, 1 or 3, H, W): pooled, global features, and places."""
        images = enlarged(images, self.image_encoder.image_size)
        encoded = self.image_encoder(images.expand(-1, 3, -1, -1))
        places = None
        if self.options.local_weight:
            places = self.place_head(local_features(self.image_encoder, encoded))
        return encoded.pooled, self.image_head(encoded.pooled), places

    def encode_pieces(
        self, input_ids: Tensor, attention_mask: Tensor, length: int | None = None
    ) -> Tensor:
        """States (B, L, E) of word pieces, L the longest text: none of padding."""
        ids, mask = without_padding(input_ids, attention_mask, length)
        total, summed = summed_states(self.text_encoder, ids, mask)
        return total / summed if self.options.text_scale == "mean" else total

    def encode_words(self, pieces: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Words (B, T, E) of pieces (B, L, E) by their slots (B, T), and their mean."""
        words = merge_words(pieces, slots)
        whole = words.mean(1)
        if self.options.text_scale == "unit":
            return unit_length(words), unit_length(whole)
        return words, whole

    def read(self, said: Pieces) -> tuple[Tensor, Tensor]:
        """Words (B, T, E), [CLS] first and [SEP] last, and the text's feature (B, E)."""
        pieces = self.encode_pieces(said.ids, said.present, said.length)
        return self.encode_words(pieces, word_slots(said.continues, said.present))

    def run(self, batch: GLoRIABatch) -> Pass:
        """Encode images and texts; words are cut behind the longest text."""
        said = Pieces.of(batch)
        words, text = self.read(said)
        images = self.image_encoder.normalise(batch["image"])
        return Pass(*self.encode_images(images), words[:, : said.length], text)

    def terms(
        self, run: Pass, counts: Tensor, keys: Tensor
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Both directions of each loss, unweighted; ``local`` only with a weight.

        Args:
            run: What the networks made of the batch.
            counts: (B,) slots of words that count.
            keys: (B,) int64, equal for equal captions.
        """
        options, targets, terms = self.options, None, {}
        scales, pool, gather = options.scales, options.pool, options.gather
        if options.multi_positive:
            targets = multi_positive_targets(keys, gather)
        if run.places is not None:
            wide = torch.promote_types(run.places.dtype, torch.float32)
            words = Words(run.words.to(wide), counts)
            places = run.places.to(wide)
            terms["local"] = local_loss(places, words, scales, pool, targets, gather)
        terms["global"] = info_nce(
            run.image, run.text, 1 / scales.loss, targets=targets, gather=gather
        )
        return terms

    def losses(self, batch: GLoRIABatch) -> dict[str, Tensor]:
        """``local`` and ``global``, weighted."""
        run = self.run(batch)
        self.watch(run.pooled)
        if self.options.global_weight:
            self.pairs_seen.hand(run.image, run.text, batch["report_key"])
        with torch.autocast(run.image.device.type, enabled=False):
            terms = self.terms(run, batch["word_count"], batch["report_key"])
        weights = self.options.weights
        return {name: weights[name] * (a + b) for name, (a, b) in terms.items()}

    # Joint space and the rest ---------------------------------------------------

    def read_texts(self, texts: Sequence[str]) -> tuple[Words, Tensor]:
        """Words and global features (N, E) of reports or prompts, whole ones."""
        transform = self.make_transform(train=False)
        rows = [transform.tokens(caption_sentences(text)) for text in texts]
        names = "input_ids", "attention_mask", "continuation_mask", "word_count"
        ids, mask, continues, counts = (
            torch.from_numpy(np.stack([row[name] for row in rows])).to(self.device)
            for name in names
        )
        words, whole = self.read(Pieces(ids, mask, continues))
        return Words(words.float(), counts), whole.float()

    def similarities(
        self, images: Tensor, texts: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Zero-shot scores of images with prompts, global and local: see `prompt_scores`.

        The released code classifies by their mean, by the best prompt of a class.

        Args:
            images: (B, 1 or 3, H, W) uint8.
            texts: N prompts.

        Returns:
            (B, N) each.
        """
        self._need("local")
        self._need("global")
        _, whole, places = self.encode_images(self.image_encoder.prepare(images))
        assert places is not None
        words, text = self.read_texts(texts)
        if int(words.counts.min()) < 2:
            raise ConfigError(
                "prompts with words",
                f"{texts[int(words.counts.argmin())]!r}, of which none counts",
                "leave it out",
            )
        scales = self.options.scales
        return prompt_scores(whole.float(), places.float(), text, words, scales)

    def embed_images(self, images: Tensor) -> Tensor:
        """Images (B, 1 or 3, H, W), uint8, in the joint space: (B, E), unit length."""
        self._need("global")
        return unit_length(self.encode_images(self.image_encoder.prepare(images))[1])

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Reports or prompts in the joint space: (B, E), unit length."""
        self._need("global")
        return unit_length(self.read_texts(texts)[1])

    def _need(self, loss: str) -> None:
        if not self.options.weights[loss]:
            raise ConfigError(
                f"{loss} scores of images and texts",
                f"a model trained without the {loss} loss",
                f"train with --model.{loss}_weight above 0",
            )

    def embed_patches(self, images: Tensor) -> Tensor | None:
        """Places in the space of words: (B, E, h, w), unit length along E.

        None without the local loss, which aligns them.
        """
        places = self.encode_images(self.image_encoder.prepare(images))[2]
        if places is None:
            return None
        return torch.unflatten(unit_length(places).transpose(1, 2), 2, self.grid)

    def embed_phrases(self, texts: Sequence[str]) -> Tensor:
        """Phrases beside places, the mean of their words: (B, E), unit length."""
        words, counts = self.read_texts(texts)[0]
        number = torch.arange(words.shape[1], device=words.device)
        said = (number > 0) & (number < counts[:, None])
        return unit_length((words * said[..., None]).sum(1))

    def pictures(self, batch: GLoRIABatch) -> dict[str, Tensor | str]:
        """Where the words of each caption look in its image."""
        run = self.run(batch)
        shown: dict[str, Tensor | str] = {"captions": "\n\n".join(batch["report_text"])}
        if run.places is not None:
            tokens = [] if self.tokenizer is None else self.tokenizer.tokens
            words = Words(run.words, batch["word_count"])
            scale, places, grid = self.options.attention_scale, run.places, self.grid
            shown["attention"] = draw_looks(tokens, batch, words, places, scale, grid)
        return shown

    def configure_optimizers(self) -> Any:
        """The base's, or the released code's Adam, with the schedule it meant."""
        if self.options.schedule == "cosine":
            return super().configure_optimizers()
        return released_optimizer(self, self.options)

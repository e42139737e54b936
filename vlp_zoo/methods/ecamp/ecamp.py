r"""ECAMP: entity-centred context-aware medical vision-language pre-training.

Wang, Yao, Jiang, et al., "ECAMP: Entity-centered context-aware medical
vision-language pre-training", Medical Image Analysis 105 (2025) 103690, arXiv
2312.13316. Official code: ToniChopp/ECAMP @ d02d16d (MIT).

A masked autoencoder sees a quarter of an X-ray. It predicts the rest (``mim``) and
the image at twice the resolution around the entities of the report (``res``), and a
text encoder that is handed its visible patches fills in the hidden words of the
report (``mlm``). Before that, a distilled context ("There is effusion. There is no
edema.") is written into the report, and the words around entities count more.

========================  =====================================================
here                      in the paper's terms
========================  =====================================================
``low``, ``images``       image at S px (encoder's input), and at 2S px (target)
``latent``                visible patches after the image encoder, class token first
``pixels``                decoder's prediction, one row of p*p*3 values per patch
``fused``                 multi-scale context fusion of words and visible patches
``window``                first row and column of the super-resolution window
``weights``               entity-aware re-balancing factors of the tokens
========================  =====================================================

Deviations. ``variant`` sets them all; each has a flag whose None follows the variant.

=========================  ============================  =========================
flag                       ``official`` (released code)  ``corrected`` (default)
=========================  ============================  =========================
``masked_mean``            image losses divided by all   by hidden pixels, and by
                           pixels                        the window's
``padding_in_text_loss``   padding is predicted too      left out, as are weights
``force_descriptors``      words before an entity are    always hidden (paper's
                           hidden at the common rate     figure)
``entities``               44 single tokens, 41 of       whole words with plurals
                           which can match               and inflections
``antialias``              none when halving the image   antialiased
``sr_final_relu``          head cannot go below 0 while  no final ReLU
                           dark pixels are at -1.55
``position_table``         frequencies 1 to 0.1          MAE's, 1 to 1e-4
``horizontal_flip``        0.5                           0: reports name sides
``window_follows_crop``    given windows stay            move with crop and flip
``swap_window_axes``       "column" counts downwards     counts to the right
=========================  ============================  =========================

In both variants: the text loss covers visible and hidden tokens, as in the code; the
MLM matrix is not tied to the word embedding; targets are plain pixels (the official
``norm_pix_loss`` is read and ignored); ``mask_ratio`` takes effect (the official flag
does not); no pooler. **Window labels were never released**: ``window_source`` is
``"attention"`` (online, from the model's own cross-attention of entity tokens over
visible patches; the centre during ``window_warmup_steps``), ``"boxes"`` (around the
lesions, else regions, of the study), ``"centre"``, or ``"batch"`` (a field
``window_origin`` that the data brings).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypedDict

import torch
from torch import Tensor, nn

from vlp_zoo.errors import BatchFieldError
from vlp_zoo.losses import masked_mse, rank_mean, weighted_token_ce
from vlp_zoo.methods.ecamp.networks import (
    ContextFusion,
    Pass,
    SuperResolution,
)
from vlp_zoo.methods.ecamp.options import ECAMPOptions
from vlp_zoo.methods.ecamp.pictures import show_reports
from vlp_zoo.methods.ecamp.text import (
    ReportTransform,
    select_masked,
    token_weights,
)
from vlp_zoo.methods.ecamp.window import (
    ECAMPTransform,
    attention_window,
    cut,
    window_cells,
)
from vlp_zoo.methods.mae import MaskedImages, patch_targets
from vlp_zoo.methods.reading import longest
from vlp_zoo.modules import MLMHead, bert_layers
from vlp_zoo.noise import sample_noise

__all__ = ["ECAMP", "ECAMPBatch"]


class ECAMPFields(TypedDict):
    """What ``ECAMP.make_transform`` returns, collated. S is the encoder's image side."""

    uid: list[str]
    image: Tensor  # (B, 1 or 3, 2S, 2S) uint8
    noise_key: Tensor  # (B,) int64, all masking is drawn from it
    input_ids: Tensor  # (B, T) int64, unmasked
    attention_mask: Tensor  # (B, T) bool
    entity_mask: Tensor  # (B, T) bool
    descriptor_mask: Tensor  # (B, T) bool, words before an entity
    template_mask: Tensor  # (B, T) bool, stock phrases ("there is no")
    continuation_mask: Tensor  # (B, T) bool, ## pieces
    report_text: list[str]


class ECAMPBatch(ECAMPFields, total=False):
    """The same with what only some window sources bring."""

    window_origin: Tensor  # (B, 2) int64, column and row in patches


class ECAMP(MaskedImages[ECAMPBatch]):
    """Masked image and report modelling around entities (Wang et al., 2025).

    Options are those of `ECAMPOptions`.
    """

    options: ECAMPOptions
    batch_keys: ClassVar[frozenset[str]] = ECAMPFields.__required_keys__
    pair_gains: ClassVar[Mapping[str, str]] = {"mlm": "image_gain", "res": "text_gain"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(ECAMPOptions(**kwargs))

    def build(self) -> None:
        """Create the networks, initialised as the official code does."""
        options, flags = self.options, self.options.flags
        text_width = options.text_width
        self.build_autoencoder(flags.position_table)
        self.super_resolution = SuperResolution(flags.sr_final_relu)
        self.image_to_text = nn.Linear(self.image_encoder.width, text_width)
        self.text_encoder = self.make_text_encoder(options)
        self.fusion = ContextFusion(
            text_width,
            options.text_heads,
            options.text_ffn,
            options.text_dropout,
            options.fusion,
        )
        self.mlm_head = MLMHead(text_width, self.vocab_size)
        self.initialise()

    def make_transform(self, train: bool) -> ECAMPTransform:
        """Crop, insert the context, tokenise, mark entities."""
        self.configure_model()
        options = self.options
        return ECAMPTransform(
            report=ReportTransform(
                self.known_tokenizer(), options.max_tokens, options.text_rules
            ),
            image_px=2 * options.image_size,
            grid=self.image_encoder.grid,
            train=train,
            crop_scale=options.crop_scale,
            flip=options.flags.horizontal_flip,
            window=options.window_source,
            follow_crop=options.flags.window_follows_crop,
        )

    def run(
        self,
        images: Tensor,
        masked_ids: Tensor,
        attention_mask: Tensor,
        patch_noise: Tensor,
        length: int | None = None,
    ) -> Pass:
        """Encode a quarter of the image, decode all of it, read the report with it.

        Args:
            images: (B, 1 or 3, 2S, 2S) normalised.
            masked_ids: (B, T) int64.
            attention_mask: (B, T) bool.
            patch_noise: (B, P) uniform; small means visible.
            length: Tokens of the longest report; None counts them on the device.
        """
        low = self.shrunk(images, self.options.flags.antialias)
        mask, latent, pixels = self.reconstruct(low, patch_noise)
        words = self.text_encoder.embeddings(masked_ids)
        patches = self.image_to_text(latent[:, 1:])
        length = length or longest({"attention_mask": attention_mask})
        fused, attention = self.fusion(words, attention_mask, patches, length)
        layers = self.text_encoder.bert.encoder.layer
        text = bert_layers(layers, fused, attention_mask, length)
        return Pass(low, mask, latent, pixels, attention, text)

    def image_loss(self, run: Pass) -> Tensor:
        """Pixels of the hidden patches."""
        target, _, _ = patch_targets(run.low, self.decoder.patch_size, norm_pix=False)
        over = "masked" if self.options.flags.masked_mean else "all"
        pixels = run.pixels.view(*run.pixels.shape[:2], -1, 3)
        return masked_mse(pixels, target, run.mask.hidden, over)

    def super_resolution_loss(
        self, run: Pass, images: Tensor, window: Tensor, cells: int | None = None
    ) -> Tensor:
        """The 2S image inside the window, cut at the border.

        Args:
            run: The forward pass.
            images: (B, C, 2S, 2S).
            window: (B, 2) first row and column in patches.
            cells: Side of the window in patches; None = in proportion to the grid.
        """
        step, side = 2 * self.image_encoder.patch_size, images.shape[-1]
        cells = cells or window_cells(self.image_encoder.grid)
        pixels = torch.arange(cells * step, device=images.device)
        rows, columns = (window[:, :, None] * step + pixels).unbind(1)
        with torch.autocast(images.device.type, enabled=False):
            sharp = self.super_resolution(
                self.decoder.image(run.pixels).to(images.dtype), rows, columns
            )
        target, inside = cut(images, rows, columns)
        error = ((sharp - target).square() * inside).sum()
        # Windows are cut at the border, so processes count differently.
        masked = self.options.flags.masked_mean
        count = rank_mean(inside.sum(), error) if masked else len(images) * side**2
        loss: Tensor = error / (3 * count)
        return loss

    def text_loss(
        self, run: Pass, input_ids: Tensor, attention_mask: Tensor, weights: Tensor
    ) -> Tensor:
        """Weighted cross-entropy of every token, hidden or not."""
        output = self.mlm_head.output
        return weighted_token_ce(
            self.mlm_head(run.text),
            output.weight,
            output.bias,
            input_ids,
            weights,
            None if self.options.flags.padding_in_text_loss else attention_mask,
        )

    def losses(self, batch: ECAMPBatch) -> dict[str, Tensor]:
        """``mim``, ``res`` and ``mlm``, weighted (by 1 in the paper)."""
        images = self.image_encoder.normalise(batch["image"])
        ids, present = batch["input_ids"], batch["attention_mask"]
        masked_ids = self.mask_words(batch)
        weights = token_weights(
            present,
            batch["descriptor_mask"],
            batch["template_mask"],
            rules=self.options.text_rules,
        )
        entity, length = batch["entity_mask"], longest(batch)
        if self.options.trim_padding:
            ids, present, masked_ids, weights, entity = (
                field[:, :length]
                for field in (ids, present, masked_ids, weights, entity)
            )
        run = self.run(images, masked_ids, present, self.patch_noise(batch), length)
        self.watch(run.latent[:, 1:].mean(1))
        window = self.window(run, entity, batch.get("window_origin"))
        terms = {
            "mim": self.image_loss(run),
            "res": self.super_resolution_loss(run, images, window),
            "mlm": self.text_loss(run, ids, present, weights),
        }
        return {name: self.options.weights[name] * term for name, term in terms.items()}

    def mask_words(self, batch: ECAMPBatch) -> Tensor:
        """Ids with the words hidden that the batch's noise keys choose."""
        keys, length = batch["noise_key"], batch["input_ids"].shape[1]
        hidden = select_masked(
            batch["attention_mask"],
            batch["entity_mask"],
            batch["descriptor_mask"],
            batch["continuation_mask"],
            token_noise=sample_noise(keys, length, stream=1),
            entity_noise=sample_noise(keys, length, stream=2),
            rules=self.options.text_rules,
        )
        return batch["input_ids"].masked_fill(hidden, self.mask_id)

    def window(self, run: Pass, entity_mask: Tensor, origin: Tensor | None) -> Tensor:
        """(B, 2) int64, first row and column of the window in patches."""
        grid, source = self.image_encoder.grid, self.options.window_source
        if source in ("boxes", "batch"):
            if origin is None:
                raise BatchFieldError(
                    f"the field 'window_origin' (window_source={source!r})",
                    "a batch without it",
                    "use --model.window_source attention",
                )
            # Given as (column, row); the official code mixes the axes up.
            swapped = source == "batch" and self.options.flags.swap_window_axes
            return origin if swapped else origin.flip(1)
        if source == "centre" or self.trained_steps < self.options.window_warmup_steps:
            entity_mask = torch.zeros_like(entity_mask)
        visible = run.mask.keep_ids
        return attention_window(run.attention, entity_mask, visible, grid)

    def pictures(self, batch: ECAMPBatch) -> dict[str, Tensor | str]:
        """Input, what the encoder sees, reconstruction, doubled image, and report."""
        images = self.image_encoder.normalise(batch["image"])
        masked_ids = self.mask_words(batch)
        run = self.run(
            images, masked_ids, batch["attention_mask"], self.patch_noise(batch)
        )
        predicted = self.decoder.image(run.pixels.float())
        places = torch.arange(2 * self.image_encoder.image_size, device=self.device)
        places = places.expand(len(predicted), -1)
        drawn = self.filled_in(run.low.float(), run.mask, predicted)
        drawn["super_resolution"] = self.super_resolution(predicted, places, places)
        shown: dict[str, Tensor | str] = {
            name: self.side_by_side(rows) for name, rows in drawn.items()
        }
        ids, entity = batch["input_ids"], batch["entity_mask"]
        return {**shown, **show_reports(self.tokenizer, ids, masked_ids != ids, entity)}

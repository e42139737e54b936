r"""MRM: masked record modelling, images and reports masked and restored together.

Zhou, Lian, Wang, Yu, "Advancing radiograph representation learning with masked record
modeling", ICLR 2023, arXiv 2301.13155. Official code: RL4M/MRM-pytorch @ 3730ba4 (MIT).

A masked autoencoder sees a quarter of a shrunken X-ray and restores the hidden patches
at twice the resolution (``mim``). The mean of what it sees is added to every word of the
report, half of whose words are hidden, and a text encoder restores those (``mlm``):

.. math:: L = L_{mim} + L_{mlm}

Both weights are 1 in the paper. The method has no negatives and no joint space.

Deviations. ``variant`` sets them all; each has a flag whose None follows the variant.

=========================  ============================  =========================
flag                       ``official`` (released code)  ``corrected`` (default)
=========================  ============================  =========================
``report_loss``            all positions, padding and    hidden words, as the
                           visible words too             abstract has it
``report_text``            the whole text; headings      findings and impression
                           may push the findings out
``position_table``         frequencies 1 to 0.1          MAE's, 1 to 1e-4
``antialias``              none when shrinking the       antialiased
                           image
``horizontal_flip``        0.5                           0: reports name sides
``last_position_visible``  position 99 never hidden      hidden like others
=========================  ============================  =========================

In both variants: no pooler, which never had a gradient; the output matrix of the report
loss is not tied to the word embeddings; Xavier over the text model too; every word is
hidden by [MASK], none is replaced or kept for show. The full text of the paper was not at
hand: what the released code leaves open follows the abstract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.losses import weighted_token_ce
from vlp_zoo.methods.ecamp.pictures import show_reports
from vlp_zoo.methods.mae import ImageTransform, MaskedImages, Reconstruction
from vlp_zoo.methods.mrm.options import MRMOptions
from vlp_zoo.methods.reading import longest
from vlp_zoo.modules import MLMHead, bert_layers, word_starts
from vlp_zoo.noise import sample_noise
from vlp_zoo.types import Example, Study

__all__ = ["MRM", "MRMBatch", "hide_words"]

MEAN, DEVIATION = [0.4978] * 3, [0.2449] * 3
"""Mean and deviation of MIMIC-CXR's pixels, as the released code has them."""


class MRMBatch(TypedDict):
    """What `MRMTransform` returns, collated. H is ``target_scale`` S."""

    uid: list[str]
    image: Tensor  # (B, 1 or 3, H, H) uint8
    noise_key: Tensor  # (B,) int64, all masking is drawn from it
    input_ids: Tensor  # (B, T) int64, unmasked
    attention_mask: Tensor  # (B, T) bool
    continuation_mask: Tensor  # (B, T) bool, ## pieces
    report_text: list[str]


@dataclass(frozen=True)
class MRMTransform:
    """Study to example: what the workers run.

    Args:
        image: Image part.
        tokenizer: Vocabulary of the text encoder.
        max_tokens: T; longer texts are cut, shorter ones padded.
        raw: The whole text; else findings and impression.
    """

    image: ImageTransform
    tokenizer: ReportTokenizer
    max_tokens: int
    raw: bool = False

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Fields of one example."""
        text = study.report.text if self.raw else study.report.body
        ids, mask = self.tokenizer.encode_padded(text, self.max_tokens)
        return {
            **self.image(study, rng),
            "input_ids": ids,
            "attention_mask": mask,
            "continuation_mask": self.tokenizer.continuation[ids],
            "report_text": text,
        }


class Pass(NamedTuple):
    """One forward pass, up to the losses."""

    image: Reconstruction
    text: Tensor  # (B, T, text_width)


def hide_words(
    attention_mask: Tensor,
    continuation_mask: Tensor,
    noise: Tensor,
    ratio: float,
    last_position_visible: bool = False,
) -> Tensor:
    """Choose the words to hide; [CLS] and padding never are.

    One draw decides a word: a piece takes the state of the word's first token.

    Args:
        attention_mask: (B, T) bool, True = token; tokens come first in each row.
        continuation_mask: (B, T) bool, True for ``##`` pieces.
        noise: (B, T) uniform in [0, 1).
        ratio: Chance of a word.
        last_position_visible: Never hide position T - 1.

    Returns:
        (B, T) bool, True = hide.
    """
    hidden = (noise < ratio).gather(1, word_starts(continuation_mask)) & attention_mask
    hidden[:, 0].fill_(False)
    if last_position_visible:
        hidden[:, -1].fill_(False)
    return hidden


class MRM(MaskedImages[MRMBatch]):
    """Masked record modelling (Zhou et al., 2023).

    Options are those of `MRMOptions`.
    """

    options: MRMOptions
    batch_keys: ClassVar[frozenset[str]] = MRMBatch.__required_keys__
    pair_gains: ClassVar[Mapping[str, str]] = {"mlm": "image_gain"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(MRMOptions(**kwargs))

    def build(self) -> None:
        """Create the networks, initialised as the official code does."""
        options = self.options
        self.build_autoencoder(
            options.flags.position_table,
            options.target_scale,
            mean=MEAN,
            std=DEVIATION,
        )
        self.image_to_text = nn.Linear(self.image_encoder.width, options.text_width)
        self.text_encoder = self.make_text_encoder(options)
        self.mlm_head = MLMHead(options.text_width, self.vocab_size)
        self.initialise()

    def make_transform(self, train: bool) -> MRMTransform:
        """Crop, tokenise."""
        options, flags = self.options, self.options.flags
        side = options.target_scale * options.image_size
        return MRMTransform(
            ImageTransform(side, train, options.crop_scale, flags.horizontal_flip),
            self.known_tokenizer(),
            options.max_tokens,
            flags.report_text == "raw",
        )

    def run(
        self,
        images: Tensor,
        masked_ids: Tensor,
        attention_mask: Tensor,
        patch_noise: Tensor,
        length: int | None = None,
    ) -> Pass:
        """Encode a quarter of the shrunken image, restore all of it, read the report.

        Args:
            images: (B, 1 or 3, H, H) normalised.
            masked_ids: (B, T) int64.
            attention_mask: (B, T) bool.
            patch_noise: (B, P) uniform; small means visible.
            length: Tokens of the longest report; None counts them on the device.
        """
        options = self.options
        low = self.shrunk(images, options.flags.antialias)
        image = self.reconstruct(low, patch_noise)
        seen = self.image_to_text(image.latent[:, 1:].mean(1, keepdim=True))
        if not options.words_see_image:
            seen = 0 * seen
        words = self.text_encoder.embeddings(masked_ids) + seen
        length = length or longest({"attention_mask": attention_mask})
        layers = self.text_encoder.bert.encoder.layer
        return Pass(image, bert_layers(layers, words, attention_mask, length))

    def image_loss(self, run: Pass, images: Tensor) -> Tensor:
        """Squared error on the hidden patches; images (B, 1 or 3, H, H) normalised."""
        # A patch's deviation is that of its values in three channels, copies or not.
        colour = images.expand(-1, 3, -1, -1)
        return self.reconstruction_loss(run.image, colour, self.options.norm_pix)

    def text_loss(
        self, run: Pass, input_ids: Tensor, attention_mask: Tensor, hidden: Tensor
    ) -> Tensor:
        """Cross-entropy of the words that count; `hidden` says which were masked."""
        output = self.mlm_head.output
        kinds = {"hidden": hidden, "words": attention_mask, "all": None}
        return weighted_token_ce(
            self.mlm_head(run.text),
            output.weight,
            output.bias,
            input_ids,
            torch.ones_like(input_ids, dtype=torch.float32),
            kinds[self.options.flags.report_loss],
        )

    def losses(self, batch: MRMBatch) -> dict[str, Tensor]:
        """``mim`` and ``mlm``, weighted (by 1 in the paper)."""
        options = self.options
        images = self.image_encoder.normalise(batch["image"])
        ids, present = batch["input_ids"], batch["attention_mask"]
        hidden, length = self.hidden_words(batch), longest(batch)
        if options.flags.report_loss != "all":
            # Nothing beyond the longest report of the batch counts.
            ids, present, hidden = (x[:, :length] for x in (ids, present, hidden))
        run = self.run(
            images,
            ids.masked_fill(hidden, self.mask_id),
            present,
            self.patch_noise(batch),
            length,
        )
        self.watch(run.image.latent[:, 1:].mean(1))
        mim = self.image_loss(run, images)
        mlm = self.text_loss(run, ids, present, hidden)
        return {"mim": options.mim_weight * mim, "mlm": options.mlm_weight * mlm}

    def hidden_words(self, batch: MRMBatch) -> Tensor:
        """(B, T) bool, the words that the batch's noise keys choose."""
        present = batch["attention_mask"]
        return hide_words(
            present,
            batch["continuation_mask"],
            sample_noise(batch["noise_key"], present.shape[1], stream=1),
            self.options.word_mask_ratio,
            self.options.flags.last_position_visible,
        )

    def pictures(self, batch: MRMBatch) -> dict[str, Tensor | str]:
        """Input, what the encoder sees, the hidden patches filled in, and the report."""
        images = self.image_encoder.normalise(batch["image"])
        ids, hidden = batch["input_ids"], self.hidden_words(batch)
        run = self.run(
            images,
            ids.masked_fill(hidden, self.mask_id),
            batch["attention_mask"],
            self.patch_noise(batch),
        )
        shown = self.reconstructed(run.image, images, self.options.norm_pix)
        return {**shown, **show_reports(self.tokenizer, ids, hidden)}

r"""MGCA: multi-granularity cross-modal alignment of images and reports.

Wang, Zhou, Wang, et al., "Multi-granularity cross-modal alignment for generalized medical
visual representation learning", NeurIPS 2022, arXiv 2210.06044. Official code:
HKU-MedAI/MGCA @ 680fe4a (no licence found; nothing of it is copied here).

Images and reports meet at three scales. ``ita`` aligns each image with its report, ``cta``
each word with what it means among the patches and each patch with its words, ``cpa``
image and report with the same prototypes of diseases, which are learnt:

.. math:: L = \lambda_1 L_{ita} + \lambda_2 L_{cta} + \lambda_3 L_{cpa}

========================  =====================================================
here                      in the paper's terms
========================  =====================================================
``image``, ``report``     global features in the joint space, unit length
``patches``, ``words``    local features, unit length; words are sums of pieces
``patch_weights``         importance of patches, from the attention of [CLS] to
                          them in the encoder's last block
``word_weights``          the same of words
``prototypes``            cluster centres; codes come from Sinkhorn-Knopp
========================  =====================================================

Deviations. The default is the left column; the flag's other value is the released code.

=========================  ============================  =========================
flag                       default                       released code
=========================  ============================  =========================
``token_weights``          a word weighs what [CLS]      attention to the token
                           attends to it                 behind it; full reports
                                                         lose their last word
``official_positions``     tokens know their place       all at position 0
``unit_attended``          counterparts have unit        not those of a ViT's
                           length                        patches
``mask_padding``           padding counts nowhere        a negative of words, and
                                                         in batch norm
``negatives``              ``global``: all processes,    ``local``: one process
                           codes of prototypes too
``sync_bn``                statistics of all processes   of one process
``official_captions``      sentences by our rules        cut at every dot, in
                                                         decimals too
``official_schedule``      base's warm-up and cosine;    restarts; everything
                           vectors do not decay          decays
``image_size``             a ResNet reads its crops as   224 enlarged to 299
(``crop_size``)            they are
=========================  ============================  =========================

Without a flag: weights of the losses are 1, as the released command has them (the
constructor's own are 1, 0.7, 0.5); the test split is not validated on; a share of the data
is a share; reports of fewer than three words stay; no dead cross-attention in the report
encoder, no segment embedding; local image features are the last stage but one of any CNN
(the released code takes ResNet-50 only). The full text of the paper was not at hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.gather import sync_batchnorm
from vlp_zoo.losses import info_nce
from vlp_zoo.methods.mgca.losses import clipped_weights, prototype_loss, token_losses
from vlp_zoo.methods.mgca.networks import (
    attended,
    attentive_bert,
    attentive_vit,
    official_slots,
)
from vlp_zoo.methods.mgca.options import MGCAOptions
from vlp_zoo.methods.mgca.pictures import draw_words
from vlp_zoo.methods.paired.heads import unit_length
from vlp_zoo.methods.paired.square import enlarged
from vlp_zoo.methods.paired.word_fields import WordBatch, WordTransform
from vlp_zoo.methods.paired.word_towers import WordTowers, local_features
from vlp_zoo.methods.paired.words import Pieces, merge_words, word_slots
from vlp_zoo.methods.reading import without_padding
from vlp_zoo.modules import in_full_precision

__all__ = ["MGCA", "Pass"]


class Pass(NamedTuple):
    """One forward pass, up to the losses. Embeddings have unit length."""

    pooled: Tensor  # (B, D) image features before projection
    image: Tensor  # (B, E)
    report: Tensor  # (B, E)
    patches: Tensor | None  # (B, P, E)
    words: Tensor | None  # (B, W, E), without [CLS], with [SEP]
    present: Tensor  # (B, W) bool, True = word
    patch_weights: Tensor  # (B, P), rows of sum 1
    word_weights: Tensor  # (B, W), rows of sum 1


class MGCA(WordTowers[WordBatch]):
    """Alignment of instances, tokens and prototypes (Wang et al., 2022).

    Options are those of `MGCAOptions`.
    """

    options: MGCAOptions
    batch_keys: ClassVar[frozenset[str]] = WordBatch.__required_keys__
    pair_gains: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("ita", "cta", "cpa"), "image_gain"
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(MGCAOptions(**kwargs))

    @property
    def aligns_parts(self) -> bool:
        """Whether words and patches are aligned."""
        return bool(self.options.weights["cta"])

    def build(self) -> None:
        """Create the networks."""
        options, joint = self.options, self.options.joint_width
        self.build_towers(mean=[0.5] * 3, std=[0.5] * 3)
        if options.weights["cpa"]:
            self.prototypes = nn.Linear(joint, options.prototypes, bias=False)
        if self.aligns_parts and options.learnt_attention:
            self.word_attention = nn.MultiheadAttention(joint, 1, batch_first=True)
            if options.bidirectional:
                self.patch_attention = nn.MultiheadAttention(joint, 1, batch_first=True)
        if options.sync_bn:
            sync_batchnorm(self)

    def make_transform(self, train: bool) -> WordTransform:
        """Crop, tokenise."""
        options = self.options
        return WordTransform(
            tokenizer=self.known_tokenizer(),
            max_tokens=options.max_tokens,
            resize=options.square,
            image_px=options.crop_side,
            crop_scale=options.crop_scale,
            train=train,
            official=options.official_captions,
        )

    def run(self, images: Tensor, report: Pieces) -> Pass:
        """Encode images (B, 3, S, S), normalised, and reports."""
        images = enlarged(images, self.options.image_size)
        if self.image_encoder.is_vit:
            encoded, looked = attentive_vit(self.image_encoder, images)
        else:
            encoded = self.image_encoder(images)
            looked = encoded.pooled.new_ones(len(images), math.prod(self.grid))
        states, present, heard = self.hear(report)
        patches = words = None
        if self.aligns_parts:
            features = local_features(self.image_encoder, encoded)
            patches = unit_length(self.patch_head(features))
            words = self.embed_words(states[:, 1:], present)
        return Pass(
            encoded.pooled,
            unit_length(in_full_precision(self.image_head, encoded.pooled)),
            unit_length(in_full_precision(self.report_head, states[:, 0])),
            patches,
            words,
            present,
            clipped_weights(looked.float(), torch.ones_like(looked).bool()),
            clipped_weights(heard, heard > 0),
        )

    def hear(self, report: Pieces) -> tuple[Tensor, Tensor, Tensor]:
        """Words of reports (B, T), and how [CLS] weighs them.

        Returns:
            States (B, N, D), [CLS] first, zero where there is no word; which words
            there are, (B, N - 1), without [CLS]; attention to them, (B, N - 1). N is
            ``length`` where padding is masked, else T.
        """
        ids, mask = without_padding(report.ids, report.present, report.length)
        length = ids.shape[1]
        slots = word_slots(report.continues, report.present)
        layers = self.text_encoder.bert.encoder.layer
        pieces, heard = attentive_bert(layers, self.embed_pieces(ids), mask)
        none = slots.shape[1]
        if self.options.token_weights == "official":
            heard = functional.pad(heard[:, 1:], (0, 1))
            slots = official_slots(slots, report.present)
        words = merge_words(pieces, slots)
        weights = merge_words(heard[..., None], slots)[:, 1:, 0]
        count = (slots + 1).masked_fill(slots == none, 0).amax(1, keepdim=True)
        present = torch.arange(1, none, device=slots.device) < count
        if self.options.mask_padding:
            words = words[:, :length]
            present, weights = present[:, : length - 1], weights[:, : length - 1]
        return words, present, weights

    def embed_words(self, states: Tensor, present: Tensor) -> Tensor:
        """Word states (B, W, D) in the joint space: (B, W, E)."""
        if not self.options.mask_padding:
            return unit_length(self.word_head(states))
        # Places, not the mask: a mask would be counted anew by each look-up.
        places = present.flatten().nonzero()[:, 0]
        picked = states.flatten(0, 1).index_select(0, places)
        words = unit_length(self.word_head(picked))
        rows = words.new_zeros(present.numel(), words.shape[1])
        return rows.index_copy(0, places, words).view(*present.shape, -1)

    def counterparts(self, run: Pass) -> list[Tensor]:
        """What each word means among the patches, and what is said of each patch.

        Returns:
            (B, W, E) of unit length, and, where both directions are aligned, (B, P, E).
        """
        options = self.options
        assert run.words is not None
        assert run.patches is not None
        tau, learnt = options.token_temperature, options.learnt_attention
        layer = self.word_attention if learnt else None
        found = [unit_length(attended(run.words, run.patches, tau, layer)[0])]
        if options.bidirectional:
            layer = self.patch_attention if learnt else None
            said, _ = attended(run.patches, run.words, tau, layer, run.present)
            plain = self.image_encoder.is_vit and not options.unit_attended
            found.append(said if plain else unit_length(said))
        return found

    def terms(self, run: Pass) -> dict[str, Tensor]:
        """The unweighted losses of a pass, those with weight 0 left out."""
        return {name: torch.stack(both).sum() for name, both in self.parts(run).items()}

    def parts(self, run: Pass) -> dict[str, list[Tensor]]:
        """What the losses are sums of: both directions, words before patches."""
        options, parts = self.options, {}
        if options.weights["ita"]:
            tau, gather = options.temperature, options.gather
            parts["ita"] = list(
                info_nce(run.image, run.report, tau, gather=gather, normalise=False)
            )
        if run.words is not None and run.patches is not None:
            parts["cta"] = [half / 2 for half in self.token_parts(run)]
        if options.weights["cpa"]:
            codes = prototype_loss(
                run.image,
                run.report,
                self.prototypes.weight.to(run.image.dtype),
                options.prototype_temperature,
                options.sinkhorn_epsilon,
                options.sinkhorn_iterations,
                options.gather,
            )
            parts["cpa"] = [half / 2 for half in codes]
        return parts

    def token_parts(self, run: Pass) -> list[Tensor]:
        """Words among counterparts and the reverse, then the same for patches."""
        assert run.words is not None
        assert run.patches is not None
        tau, found = self.options.token_temperature, self.counterparts(run)
        among = run.present if self.options.mask_padding else None
        parts = [*token_losses(run.words, found[0], run.word_weights, tau, among)]
        if self.options.bidirectional:
            weights = run.patch_weights
            parts += token_losses(run.patches, found[1], weights, tau)
        return parts

    @torch.no_grad()
    def normalise_prototypes(self) -> None:
        """Scale the prototypes to unit length, in place, as every pass does first."""
        if self.options.weights["cpa"]:
            weight = self.prototypes.weight
            weight.copy_(functional.normalize(weight, dim=1))

    def losses(self, batch: WordBatch) -> dict[str, Tensor]:
        """``ita``, ``cta`` and ``cpa``, weighted (by 1 in the released command)."""
        self.normalise_prototypes()
        run: Pass = self.pass_of(batch)
        self.watch(run.pooled)
        if self.options.weights["ita"]:
            self.pairs_seen.hand(run.image, run.report, batch["report_text"])
        with torch.autocast(run.image.device.type, enabled=False):
            terms = self.terms(run)
        weights = self.options.weights
        return {name: weights[name] * value for name, value in terms.items()}

    def on_after_backward(self) -> None:
        """Leave the prototypes as they are in the first epochs (Lightning's hook)."""
        frozen = self.current_epoch < self.options.freeze_prototypes_epochs
        if frozen and self.options.weights["cpa"]:
            self.prototypes.weight.grad = None

    def pictures(self, batch: WordBatch) -> dict[str, Tensor | str]:
        """Where the words that weigh most look for their counterparts."""
        run: Pass = self.pass_of(batch)
        if run.words is None or run.patches is None:
            return {}
        layer = self.word_attention if self.options.learnt_attention else None
        tau = self.options.token_temperature
        looks = attended(run.words, run.patches, tau, layer)[1]
        tokens = [] if self.tokenizer is None else self.tokenizer.tokens
        return {"words": draw_words(tokens, batch, looks, run.word_weights, self.grid)}

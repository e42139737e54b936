r"""PLACE-style pathology-level alignment: our implementation from the abstract.

Wang, Zhu, Yu, Bhalerao, He, PLACE, arXiv 2506.10573 (2025). **Neither the full text nor
code of this paper was public to us.** What the abstract and public summaries say is:
a *visual pathology observation extractor* with pathology query tokens makes visual
observations (V-PORs) from localised tokens; they are paired with textual ones (T-PORs)
and made consistent (*PCMA*), without any annotation; and a proxy task, *correlation
exploration*, predicts how image patches vary together, conditioned on the report.
Everything more precise below, every objective and every number, is ours: do not quote
it as the paper's setting. Each choice is a constructor flag.

.. math:: L = w_1 L_{itc} + w_2 L_{pcma} + w_3 L_{cce} + w_4 L_{div}

* ``itc``: whole images against whole reports, `vlp_zoo.losses.info_nce`.
* ``pcma``: T-PORs are the sentences of a report (mean of their tokens, projected);
  V-PORs are the outputs of learnt queries that attend to the patches. ``match`` pairs
  them, ``pcma_loss`` contrasts them (`vlp_zoo.methods.place.matching.Alignment`).
* ``cce``: :math:`\mathrm{SmoothL1}(a a^T / \sqrt{d},\, C / \sigma_C)` over pairs of
  patches, with C the covariance of their pixels and a made of patch tokens that have
  attended to the report.
* ``div``: keeps the queries' observations apart. A falling loss does not show their
  collapse, so ``vpor_offdiag_cos`` and ``query_usage_entropy`` are always logged.

Deviations. There is no setting of the paper to deviate from that we could read. Where
the abstract leaves a choice, ours is the first named:

=========================  ==========================================================
flag                       choices
=========================  ==========================================================
``text_model``             BERT from scratch; pretrained; fixed TF-IDF features
``match``                  hungarian, soft, sinkhorn, maxsim
``pcma_loss``              set_infonce, sentence_infonce, obs_infonce, cosine
``false_negatives``        mask, soft, none (the same sentence in other reports)
``sentence_weight``        uniform, idf
``cce_target``             pixel, frozen_init, ema (whose patches vary together)
``cce_condition``          report, vpor, none
=========================  ==========================================================

With ``obs_infonce`` an observation is chosen by its own sentence, and queries that
ignore the image can give every sentence an observation of its own. They do: with
``match: soft`` after 20 epochs on 1,500 real pairs, the loss on other patients was
0.631 with their own images, 0.635 with shuffled ones, 0.634 with one image for all. It
is kept for comparison and is not the default. With ``set_infonce`` and
``sentence_infonce`` one sentence chooses in every image, so images that are all alike
leave nothing to gain. ``image_gain/pcma``, logged in validation, is what the images of
other studies add to the loss: about 0 means that the images are not used.

Not built: query tokens inside the image encoder, T-PORs from text queries, masking for
``cce``, retrieval by sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.encoders.image import EncoderOutput
from vlp_zoo.losses import info_nce, multi_positive_targets
from vlp_zoo.methods.paired.fields import (
    PairedTransform,
    ReportTokens,
    SentenceBatch,
)
from vlp_zoo.methods.paired.sentences import inverse_frequencies, sentence_means
from vlp_zoo.methods.paired.towers import FrozenTower, PairedTowers, TextOutput
from vlp_zoo.methods.place.matching import (
    Sentences,
    diversity,
    off_diagonal_cosine,
    usage_entropy,
)
from vlp_zoo.methods.place.networks import (
    CorrelationHead,
    ObservationExtractor,
    Observations,
    SteadyEncoder,
    joint_head,
    pixel_patches,
)
from vlp_zoo.methods.place.options import PLACEOptions
from vlp_zoo.methods.place.pictures import STUDIES, draw_correlation, draw_queries
from vlp_zoo.methods.reading import longest
from vlp_zoo.reports.sections import clean

__all__ = ["PLACE"]


class PLACE(PairedTowers[SentenceBatch]):
    """Pathology-level alignment and correlation exploration (after Wang et al., 2025).

    Options are those of `PLACEOptions`.
    """

    options: PLACEOptions
    batch_keys: ClassVar[frozenset[str]] = SentenceBatch.__required_keys__
    pair_gains: ClassVar[Mapping[str, str]] = {
        "itc": "image_gain",
        "pcma": "image_gain",
        "cce": "text_gain",
    }
    sentence_idf: dict[int, float] | None = None
    """Weight of each sentence by its key, with ``sentence_weight: idf``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(PLACEOptions(**kwargs))
        self.measures: dict[str, Tensor] = {}

    def build(self) -> None:
        """Only what a term of positive weight needs, so that all of it is trained."""
        options = self.options
        weights, explored = options.weights, options.exploration
        by_report = weights.cce > 0 and explored.condition == "report"
        by_query = weights.cce > 0 and explored.condition == "vpor"
        self.reads = weights.itc > 0 or weights.pcma > 0 or by_report
        self.looks = weights.pcma > 0 or weights.div > 0 or by_query
        self.build_towers(read=self.reads)
        grid, width = self.patch_layout()
        joint, inner = options.joint_width, options.query_width
        if weights.itc:
            self.image_head = joint_head(self.image_encoder.width, joint)
            self.text_head = joint_head(self.text_tower.width, joint)
        if self.looks:
            self.extractor = ObservationExtractor(
                width,
                grid,
                options.queries,
                inner,
                options.query_layers,
                options.query_heads,
                options.query_attention,
                options.query_std,
            )
        if weights.pcma or weights.div:
            self.visual_head = joint_head(inner, joint)
        if weights.pcma:
            self.sentence_head = joint_head(self.text_tower.width, joint)
        if weights.cce:
            context = None
            if by_report or by_query:
                context = self.text_tower.width if by_report else inner
            self.correlation_head = CorrelationHead(
                width,
                grid,
                context,
                inner,
                options.cce_layers,
                options.query_heads,
                options.cce_rank,
                unit=explored.statistic == "corr",
            )
            if explored.target != "pixel":
                self.reference = SteadyEncoder(self.image_encoder)

    def patch_layout(self) -> tuple[tuple[int, int], int]:
        """Rows and columns of the patches, and their width."""
        encoder = self.image_encoder
        if encoder.is_vit:
            return encoder.grid, encoder.width
        shapes, level = encoder.shapes, self.options.feature_level
        return shapes.sides[level], shapes.channels[level]

    def patches(self, found: EncoderOutput) -> Tensor:
        """Patch tokens (B, P, D) of the feature level."""
        if self.image_encoder.is_vit:
            return found.tokens
        return found.levels[self.options.feature_level].flatten(2).transpose(1, 2)

    def make_transform(self, train: bool) -> PairedTransform:
        """Crop, vary, tokenise, mark sentences."""
        return self.make_look(train)

    def report_tokens(self) -> ReportTokens:
        """Text to fields, sentences marked; needs the tokenizer."""
        options = self.options
        return ReportTokens(
            self.known_tokenizer(),
            options.max_tokens,
            options.max_sentences,
            options.min_words,
            self.sentence_idf,
        )

    def setup(self, stage: str) -> None:
        """Tokenizer and text features; and the sentences' weights."""
        super().setup(stage)
        weigh = self.options.sentence_weight == "idf" and self.data is not None
        if weigh and self.sentence_idf is None:
            self.sentence_idf = inverse_frequencies(
                self.data.corpus(), self.options.min_words
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the sentences' weights, which no state dict holds."""
        super().on_save_checkpoint(checkpoint)
        if self.sentence_idf is not None:
            checkpoint["sentence_idf"] = self.sentence_idf

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore them."""
        self.sentence_idf = checkpoint.get("sentence_idf")
        super().on_load_checkpoint(checkpoint)

    def read(self, batch: SentenceBatch) -> tuple[TextOutput, Tensor]:
        """Reports through the text tower.

        Returns:
            Its output, and one state per sentence (B, S, D). Fixed features know no
            tokens; there the report and its sentences stand for them.
        """
        tower, texts = self.text_tower, batch["report_text"]
        sentences = self.options.max_sentences
        ids, mask = batch["input_ids"], batch["attention_mask"]
        found: TextOutput = tower(ids, mask, texts, longest(batch))
        if not isinstance(tower, FrozenTower):
            spans = batch["span_ids"][:, : found.tokens.shape[1]]
            return found, sentence_means(found.tokens, spans, sentences)
        flat = [sentence for report in batch["sentences"] for sentence in report]
        states = tower.features(flat).view(len(texts), sentences, -1)
        tokens = torch.cat([found.tokens, states], dim=1)
        mask = torch.cat([found.mask, batch["sentence_mask"]], dim=1)
        return TextOutput(found.pooled, tokens, mask), states

    def losses(self, batch: SentenceBatch) -> dict[str, Tensor]:
        """``itc``, ``pcma``, ``cce`` and ``div``, those of positive weight."""
        options, terms = self.options, {}
        weights, exploration = options.weights, options.exploration
        image = self.image_encoder.encode(batch["image"])
        self.watch(image.pooled)
        patches = self.patches(image)
        text, sentences = self.read(batch) if self.reads else (None, None)
        seen = self.extractor(patches) if self.looks else None
        self.measures = {}
        if weights.itc and text is not None:
            one, two = self.image_head(image.pooled), self.text_head(text.pooled)
            self.pairs_seen.hand(one, two, batch["report_key"])
            targets = None
            if options.multi_positive:
                targets = multi_positive_targets(batch["report_key"])
            forth, back = info_nce(one, two, options.temperature, targets=targets)
            terms["itc"] = weights.itc * (forth + back) / 2
        if seen is not None and (weights.pcma or weights.div):
            visual = self.visual_observations(seen)
            self.measures["vpor_offdiag_cos"] = off_diagonal_cosine(visual.detach())
            if weights.pcma and sentences is not None:
                terms["pcma"] = self.pcma(batch, visual, sentences)
            if weights.div:
                terms["div"] = weights.div * diversity(visual)
        if weights.cce:
            predicted = self.predict_correlation(patches, text, seen)
            wanted = self.explored(batch["image"])
            terms["cce"] = weights.cce * exploration.loss(predicted, wanted)
        return terms

    def _step(
        self, batch: SentenceBatch, batch_idx: int, stage: str
    ) -> dict[str, Tensor]:
        """Log what ``losses`` measured, beside the losses."""
        terms = super()._step(batch, batch_idx, stage)
        self.log_dict(
            {f"{stage}/{name}": value for name, value in self.measures.items()},
            on_epoch=stage != "train",
            sync_dist=stage != "train",
            batch_size=len(batch["uid"]),
        )
        return terms

    def visual_observations(self, seen: Observations) -> Tensor:
        """V-PORs (B, Q, E), unit length, float32."""
        return functional.normalize(self.visual_head(seen.states).float(), dim=2)

    def textual_observations(self, batch: SentenceBatch, states: Tensor) -> Sentences:
        """T-PORs of the reports, from the states of their sentences."""
        vectors = functional.normalize(self.sentence_head(states).float(), dim=2)
        return Sentences(
            vectors,
            batch["sentence_mask"],
            batch["sentence_key"],
            batch["sentence_weight"],
            batch["report_key"],
        )

    def pcma(self, batch: SentenceBatch, visual: Tensor, states: Tensor) -> Tensor:
        """Pathology-level alignment; in half precision it would be too coarse."""
        text = self.textual_observations(batch, states)
        with torch.autocast(visual.device.type, enabled=False):
            loss, pairing = self.options.alignment(visual, text)
        entropy = usage_entropy(pairing.detach(), text.mask)
        self.measures["query_usage_entropy"] = entropy
        counts = self.current_epoch >= self.options.pcma_start
        return loss * (self.options.weights.pcma if counts else 0.0)

    # Whose patches vary together ------------------------------------------------

    def predict_correlation(
        self, patches: Tensor, text: TextOutput | None, seen: Observations | None
    ) -> Tensor:
        """(B, P, P) from patches that have attended to what ``cce_condition`` names."""
        context, mask = None, None
        condition = self.options.exploration.condition
        if condition == "report" and text is not None:
            context, mask = text.tokens, text.mask
        elif condition == "vpor" and seen is not None:
            context = seen.states
        found: Tensor = self.correlation_head(patches, context, mask)
        return found

    def explored(self, images: Tensor) -> Tensor:
        """(B, P, q) vectors whose covariance is predicted; no gradient."""
        if self.options.exploration.target == "pixel":
            return pixel_patches(images, self.patch_layout()[0])
        found = self.reference(self.image_encoder.prepare(images))
        tokens = self.patches(found).float()
        return functional.layer_norm(tokens, tokens.shape[-1:])

    def on_fit_start(self) -> None:
        """Warm start; the reference encoder starts from the same weights."""
        super().on_fit_start()
        if hasattr(self, "reference") and self.trainer.ckpt_path is None:
            self.reference.follow(self.image_encoder, 0.0)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the averaged encoder, for ``cce_target: ema``."""
        if hasattr(self, "reference") and self.options.exploration.target == "ema":
            self.reference.follow(self.image_encoder, self.options.ema_decay)

    # Places in the joint space ---------------------------------------------------

    def embed_patches(self, images: Tensor) -> Tensor | None:
        """Places as the observations that look at them: (B, E, h, w), unit length.

        A place is the mean of the V-PORs, weighted by how much each query's last
        attention goes there. Attention says where a query looked, not why: a map of
        this is as good as that. None without ``pcma``, which gives V-PORs a meaning.
        """
        if not self.options.weights.pcma:
            return None
        found = self.image_encoder.encode(images)
        seen = self.extractor(self.patches(found))
        visual = self.visual_observations(seen)
        share = seen.attention / seen.attention.sum(1, keepdim=True).clamp(min=1e-12)
        places = functional.normalize(visual.transpose(1, 2) @ share, dim=1)
        return torch.unflatten(places, 2, self.patch_layout()[0])

    def embed_phrases(self, texts: Sequence[str]) -> Tensor:
        """Phrases as T-PORs, the mean of their sentences: (B, E), unit length."""
        if not self.options.weights.pcma:
            return self.embed_texts(texts)
        # A single word is no sentence in a report, but may be a phrase.
        tokens = replace(self.report_tokens(), min_words=1)
        said = [clean(text) for text in texts]
        rows = [tokens(text) for text in said]
        fields: Any = {
            name: torch.from_numpy(np.stack([row[name] for row in rows])).to(
                self.device
            )
            for name in ("input_ids", "attention_mask", "span_ids", "sentence_mask")
        }
        fields["report_text"] = said
        fields["sentences"] = [row["sentences"] for row in rows]
        _, states = self.read(fields)
        vectors = functional.normalize(self.sentence_head(states).float(), dim=2)
        known = fields["sentence_mask"][:, :, None]
        return functional.normalize((vectors * known).sum(1), dim=1)

    def pictures(self, batch: SentenceBatch) -> dict[str, Tensor | str]:
        """Where each query looks, with the sentence that it is paired with."""
        shown: dict[str, Tensor | str] = {}
        tokens = self.patches(self.image_encoder.encode(batch["image"]))
        text, states = self.read(batch) if self.reads else (None, None)
        seen = self.extractor(tokens) if self.looks else None
        if seen is not None and states is not None and self.options.weights.pcma:
            said = self.textual_observations(batch, states)
            cosines = self.visual_observations(seen) @ said.vectors.transpose(1, 2)
            pairing = self.options.alignment.pairing(cosines, said.weight)
            grid, _ = self.patch_layout()
            shown["queries"] = draw_queries(batch, grid, seen.attention, pairing)
        if self.options.weights.cce:
            predicted = self.predict_correlation(tokens, text, seen)[:STUDIES]
            explored = self.explored(batch["image"])[:STUDIES]
            wanted = self.options.exploration.square(explored)
            shown["correlation"] = draw_correlation(wanted, predicted)
        return shown

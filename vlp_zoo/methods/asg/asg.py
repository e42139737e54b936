r"""ASG: anatomical structure-guided medical vision-language pre-training.

Li, Yang, Yang, et al., "Anatomical structure-guided medical vision-language
pre-training", MICCAI 2024, arXiv 2403.09294. Official code: the authors' repository as
of 5 June 2024 (pre-training only; neither report parser nor labels were released).

Images and reports meet as wholes and in parts. ``ira`` aligns each image with its
report, ``arsa`` each boxed anatomical region with the sentences about it, inside one
image. The findings of a report are the image's tags: ``irl`` (internal) recognises them
from the patches, ``erl`` (external) pulls pairs together that share tags.

========================  =====================================================
here                      in the paper's terms
========================  =====================================================
``image``, ``report``     global features in the joint space, unit length
``patch_embeddings``      local image features; RoI align makes regions of them
``word_embeddings``       word pieces summed to words; means make sentences
``groups``                which regions of an image share their sentences
``tags``                  finding and existence of the report's triplets
========================  =====================================================

Deviations. The default is the left column; the flag's other value is the released code.

=========================  ============================  =========================
flag                       default                       released code
=========================  ============================  =========================
``official_roi_index``     a region's features come      from another image of the
                           from its own image            batch (stale sort index)
``official_positions``     tokens know their place       all at position 0
``roi_aligned``            patch i covers i to i + 1     half a patch off
``shared_positives``       regions of one sentence are   told apart, which cannot
                           positives of each other       be learnt
``negatives``              ``global``: all processes     ``local``: one process
``sync_bn``                statistics of all processes   of one process
``antialias``              shrink images with area       plain bilinear
                           averaging
``official_schedule``      base's warm-up and cosine;    restarts; everything
                           vectors do not decay          decays
``max_regions``            29: all there are             23
=========================  ============================  =========================

Without a flag: a batch without any region has ``arsa`` 0 (officially NaN); the report
encoder has no dropout (its switch is off in the released set-up as well) and no segment
embedding; tag features are computed once; where patches and tags differ in width the
patches are projected (the released CNN path cannot run); a CNN's local features are its
third stage at native resolution. **Regions, sentences and tags** come from our rules
(`vlp_zoo.reports.triplets`) or RadGraph's annotations (``radgraph``), boxes from the study, from scene graphs, or from a
statistical atlas that is named (`vlp_zoo.reports.regions`): the authors' own were never released.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.errors import ConfigError
from vlp_zoo.gather import sync_batchnorm
from vlp_zoo.methods.asg.losses import (
    external_loss,
    global_loss,
    global_scores,
    region_loss,
    soft_labels,
)
from vlp_zoo.methods.asg.networks import (
    Pass,
    TagDecoder,
    check_queries,
    tag_queries,
)
from vlp_zoo.methods.asg.options import ASGOptions
from vlp_zoo.methods.asg.pictures import (
    draw_regions,
    draw_scores,
    group_texts,
    write_tags,
)
from vlp_zoo.methods.asg.regions import roi_weights, sentence_means
from vlp_zoo.methods.asg.transform import ASGBatch, ASGTransform
from vlp_zoo.methods.paired.heads import unit_length
from vlp_zoo.methods.paired.word_towers import WordTowers, local_features
from vlp_zoo.methods.paired.words import Pieces
from vlp_zoo.modules import in_full_precision
from vlp_zoo.reports.radgraph import read_radgraph
from vlp_zoo.reports.regions import RegionAtlas, RegionBoxes
from vlp_zoo.reports.triplets import Reader, statements

__all__ = ["ASG", "ASGBatch"]

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


class ASG(WordTowers[ASGBatch]):
    """Image, region and tag alignment with reports (Li et al., 2024).

    Options are those of `ASGOptions`.
    """

    options: ASGOptions
    batch_keys: ClassVar[frozenset[str]] = ASGBatch.__required_keys__
    pair_gains: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("ira", "arsa", "irl", "erl"), "image_gain"
    )
    tag_features: Tensor  # (K, F), frozen

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(ASGOptions(**kwargs))
        options = self.options
        self.region_boxes = RegionBoxes.open(
            options.region_source, options.region_atlas, options.scene_graphs
        )
        self.region_shares: dict[str, float] = {}
        self.known_tags: Tensor | None = None
        """Tag features (40, F): from `setup`, a checkpoint, or set by hand."""

    def setup(self, stage: str) -> None:
        """Find the regions, fix the tokenizer, compute the tag features once."""
        if self.options.weights["arsa"] and stage != "predict":
            self._find_regions()
        super().setup(stage)
        if self.options.weights["irl"] and self.known_tags is None:
            self.known_tags = tag_queries(
                self.options.tag_text, self.data, self.options.tag_width
            )

    def _find_regions(self) -> None:
        """Settle where boxes come from, before anything is trained.

        Raises:
            ConfigError: If no study would have a region.
        """
        source = getattr(self.data, "sources", {}).get("train")
        if source is None:
            return
        names = list(getattr(self.data, "pretraining_sources", []))
        drawn = bool(names) and all(name.startswith("phantom") for name in names)
        if self.options.packaged_atlas:
            atlas = RegionAtlas.phantom() if drawn else None
            self.region_boxes = replace(self.region_boxes, atlas=atlas)
        self.region_shares = self.region_boxes.shares(source)
        # Eyes are drawn too; nothing is said of a chest there.
        if self.region_shares["none"] == 1 and not drawn:
            raise ConfigError(
                "boxes of anatomical regions to align with sentences",
                f"none in the {self.region_shares['looked_at']:,} training studies of "
                f"{', '.join(names) or source.name} that were looked at, and no atlas",
                "give boxes (a 'boxes' column, or Chest ImaGenome's with "
                "--model.scene_graphs DIR); or an atlas that RegionAtlas.fit made of real "
                "boxes (--model.region_atlas FILE); or take the atlas of synthetic chests "
                "knowingly (--model.region_atlas phantom); or train without regions "
                "(--model.arsa_weight 0)",
            )

    def card_facts(self) -> dict[str, Any]:
        """Where the boxes of the regions came from, and for which share of studies."""
        if not self.region_shares:
            return {}
        atlas = self.region_boxes.atlas
        origin = None if atlas is None else atlas.origin
        return {"regions": {**self.region_shares, "atlas_origin": origin}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the tag features from the file: their source is not needed again."""
        self.known_tags = checkpoint["state_dict"].get("tag_features", self.known_tags)
        super().on_load_checkpoint(checkpoint)

    def build(self) -> None:
        """Create the networks."""
        options = self.options
        patch_width = self.build_towers(mean=IMAGENET[0], std=IMAGENET[1])
        if options.weights["irl"]:
            self.register_buffer("tag_features", torch.zeros(40, options.tag_width))
            if self.known_tags is not None:
                self.tag_features = check_queries(self.known_tags, options.tag_width)
            self.tag_decoder = TagDecoder(
                options.tag_width,
                patch_width,
                options.tag_depth,
                options.tag_heads,
                options.tag_ffn,
                options.tag_dropout,
            )
        if options.sync_bn:
            sync_batchnorm(self)

    @cached_property
    def read(self) -> Reader:
        """What finds a sentence's statements; a large file is read once."""
        path = self.options.radgraph
        return read_radgraph(Path(path)) if path else statements

    @property
    def aligns_parts(self) -> bool:
        """Whether regions and sentences are aligned."""
        return bool(self.options.weights["arsa"])

    def make_transform(self, train: bool) -> ASGTransform:
        """Crop, tokenise, align regions with sentences, read tags."""
        options = self.options
        return ASGTransform(
            tokenizer=self.known_tokenizer(),
            boxes=self.region_boxes,
            max_tokens=options.max_tokens,
            max_regions=options.max_regions,
            resize=options.square,
            crop_scale=options.crop_scale,
            image_px=options.image_size,
            train=train,
            antialias=options.antialias,
            shared_positives=options.shared_positives,
            read=self.read,
        )

    def run(self, images: Tensor, report: Pieces) -> Pass:
        """Encode images (B, 3, S, S), normalised, and reports."""
        encoded = self.image_encoder(images)
        patches = local_features(self.image_encoder, encoded)
        words = self.encode_words(report)
        local = self.aligns_parts
        return Pass(
            encoded.pooled,
            patches,
            unit_length(in_full_precision(self.image_head, encoded.pooled)),
            unit_length(in_full_precision(self.report_head, words[:, 0])),
            unit_length(self.patch_head(patches)) if local else None,
            unit_length(self.word_head(words[:, 1:])) if local else None,
            self.tag_decoder(self.tag_features, patches)
            if self.options.weights["irl"]
            else None,
        )

    def region_features(
        self, run: Pass, boxes: Tensor, source: Tensor | None
    ) -> Tensor:
        """RoI align: boxes (B, R, 4) in pixels to (B, R, E), not of unit length.

        Args:
            run: With patch embeddings.
            boxes: In pixels of the images.
            source: (B,) image that each row's boxes are read in; None = its own.
        """
        assert run.patch_embeddings is not None
        patches = run.patch_embeddings
        rows, columns = self.grid
        sides = [boxes.new_full((), side) for side in (columns, rows)]
        scale = torch.stack(sides * 2) / self.options.image_size
        weights = roi_weights(
            (boxes * scale).to(patches.dtype), self.grid, self.options.roi_aligned
        )
        return weights @ (patches if source is None else patches[source])

    def terms(
        self, run: Pass, batch: ASGBatch, source: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The unweighted losses of a pass, those with weight 0 left out."""
        dtype, terms = run.image.dtype, {}
        tags = (batch["tags"] == 1).to(dtype)
        scores = global_scores(
            run.image, run.report, self.options.temperature, self.options.gather
        )
        if self.options.weights["ira"]:
            terms["ira"] = global_loss(scores, self.options.gather)
        if run.word_embeddings is not None:
            terms["arsa"] = region_loss(
                self.region_features(run, batch["region_boxes"], source),
                sentence_means(batch["sentence_words"], run.word_embeddings),
                batch["region_groups"],
                self.options.temperature,
                self.options.gather,
            )
        if run.tag_logits is not None:
            terms["irl"] = functional.binary_cross_entropy_with_logits(
                run.tag_logits.to(dtype), tags
            )
        if self.options.weights["erl"]:
            terms["erl"] = external_loss(scores, soft_labels(tags, self.options.gather))
        return terms

    def losses(self, batch: ASGBatch) -> dict[str, Tensor]:
        """``ira``, ``arsa``, ``irl`` and ``erl``, weighted."""
        if self.options.weights["irl"] and self.known_tags is None:
            check_queries(None, self.options.tag_width)
        run: Pass = self.pass_of(batch)
        self.watch(run.pooled)
        if self.options.weights["ira"] or self.options.weights["erl"]:
            self.pairs_seen.hand(run.image, run.report, batch["report_text"])
        source = None
        if self.options.official_roi_index:
            # Boxes keep the place they had before a sort by length, descending.
            lengths = batch["attention_mask"].sum(1)
            source = lengths.argsort(descending=True, stable=True)
        with torch.autocast(run.image.device.type, enabled=False):
            terms = self.terms(run, batch, source)
        weights = self.options.weights
        return {name: weights[name] * value for name, value in terms.items()}

    def pictures(self, batch: ASGBatch) -> dict[str, Tensor | str]:
        """Regions with their sentences, region-sentence scores, recognised tags."""
        run: Pass = self.pass_of(batch)
        tokens = [] if self.tokenizer is None else self.tokenizer.tokens
        shown: dict[str, Tensor | str] = {
            "regions": draw_regions(batch, group_texts(tokens, batch))
        }
        if run.word_embeddings is not None:
            regions = self.region_features(run, batch["region_boxes"], None)
            sentences = sentence_means(batch["sentence_words"], run.word_embeddings)
            cosines = unit_length(regions) @ unit_length(sentences).transpose(1, 2)
            shown["region_sentence_scores"] = draw_scores(
                cosines, batch["region_groups"]
            )
        if run.tag_logits is not None:
            shown["tags"] = write_tags(run.tag_logits.float().sigmoid(), batch["tags"])
        return shown

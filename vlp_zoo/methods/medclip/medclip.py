r"""MedCLIP: contrastive learning from unpaired medical images and text.

Wang, Wu, Agarwal, Sun, EMNLP 2022, arXiv 2210.10163. Official code: RyanWangZf/MedCLIP @
9c3396f (MIT; nothing of it is copied here).

Two studies with the same findings are no negatives. An image and a sentence belong together
as far as the findings of both agree, whether or not they come from one study:

.. math:: L = \frac{1}{2} \left( H(\mathrm{softmax}_j s_{ij}, \mathrm{softmax}_j z_{ij})
    + H(\mathrm{softmax}_i s_{ij}, \mathrm{softmax}_i z_{ij}) \right)

with z the scaled cosines of embeddings, s the similarity of the labels of image i and
sentence j over the 14 CheXpert classes, and H the mean cross-entropy of rows. A varied copy
of each sentence is compared in the same way.

========================  =====================================================
here                      in the paper's and the code's terms
========================  =====================================================
``image_head``            ``projection_head`` of the vision model, without bias
``text_head``             ``projection_head`` of the text model, without bias
``log_scale``             ``logit_scale``
``second_*``              the augmented sentence
========================  =====================================================

Deviations from the released code:

==========================  ==================================  =======================
here                        there                               why
==========================  ==================================  =======================
``similarity: cosine``      raw product of labels ("dot")       the paper's; a product
                                                                grows with the labels
``pool_padding: false``     padding counts in the mean of       a sentence has one
                            tokens                              embedding
``splitter: sentences``     eats letters behind numbers         a reader's sentences
                            ("released")
labels by our rules         a table that is not released;       a sentence that is not
                            what is not in it is No Finding     in a table says things
labels of the image are     of CheXpert or MIMIC's files, by    one rule for both sides
those of its report         a conversion that is not released
a report without long       a sentence of a study with like     reports here have text
sentences is read whole     labels, sometimes one letter
``negatives: global``       those of one process ("local")      independent of processes
words exchanged or left     or one replaced by a synonym        needs a word net
out
never mirrored, crops of    mirrored half; turned, moved and    reports name sides; one
``crop_scale``              scaled by a tenth                   rule of crops for all
norms and the scale do      they do                             no reason to
not decay
warm-up of an epoch         of a tenth of the steps             one schedule for all
no [SEP] behind sentences   [SEP]                               as all texts here
==========================  ==================================  =======================

Kept as they are: the mean of the first two layers and the last; heads without bias; a
learnt scale that is held between 1 and 100 where it is used; targets by a softmax without
temperature; classes that both deny count as agreement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.gather import gather_rows
from vlp_zoo.losses import info_nce
from vlp_zoo.methods.medclip.options import MedCLIPOptions
from vlp_zoo.methods.medclip.sentences import (
    label_row,
    released_sentences,
    sentences_of,
    varied,
)
from vlp_zoo.methods.paired.fields import PairedBatch, PairedTransform, ReportTokens
from vlp_zoo.methods.paired.layers import LayersTower
from vlp_zoo.methods.paired.pictures import heat_map, pair_pictures
from vlp_zoo.methods.paired.towers import PairedTowers
from vlp_zoo.methods.reading import longest
from vlp_zoo.reports.sections import clean
from vlp_zoo.types import Example, Report, Study

__all__ = ["MedCLIP", "MedCLIPBatch", "MedCLIPTransform", "label_targets"]

MEAN, DEVIATION = 0.5862785803043838, 0.27950088968644304
"""Statistics of pixels in 0..1, in the released code."""
MOST = 4.6052
"""Largest logarithm of the scale: that of 100."""


class MedCLIPBatch(PairedBatch):
    """A batch of images with one sentence each, in ``report_text`` and its tokens."""

    second_text: list[str]
    second_ids: Tensor  # (B, T) int64
    second_mask: Tensor  # (B, T) bool
    labels_of_image: Tensor  # (B, 14) float32 in -1..1
    labels_of_text: Tensor  # (B, 14)


def label_targets(
    images: Tensor, texts: Tensor, similarity: str = "cosine", gather: bool = False
) -> tuple[Tensor, Tensor]:
    """Targets of each image over sentences, and of each sentence over images.

    Args:
        images: (B, K) labels in -1..1.
        texts: (M, K).
        similarity: ``"cosine"``, where labels of nothing but zeros are like none, or
            ``"dot"``.
        gather: Over the rows of all processes.

    Returns:
        (B, W*M) and (M, W*B), rows summing to 1.

    Example:
        >>> label_targets(torch.eye(2), torch.zeros(1, 2))
        (tensor([[1.],
                [1.]]), tensor([[0.5000, 0.5000]]))
    """
    if similarity == "cosine":
        images, texts = (functional.normalize(rows, dim=1) for rows in (images, texts))
    all_images, all_texts = (
        gather_rows(rows) if gather else rows for rows in (images, texts)
    )
    return (images @ all_texts.T).softmax(1), (texts @ all_images.T).softmax(1)


@dataclass(frozen=True)
class MedCLIPTransform:
    """Study to example: a crop of the image, a sentence, its varied copy, labels.

    Args:
        look: Makes image and tokens.
        released: Split reports as the released code does.
    """

    look: PairedTransform
    released: bool = False

    @property
    def tokens(self) -> ReportTokens:
        """Text to token fields."""
        return self.look.report

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Fields of one example; without training it is the first sentence."""
        whole = clean(study.report.body)
        found = (released_sentences if self.released else sentences_of)(whole)
        chosen = int(rng.integers(len(found))) if found and self.look.train else 0
        sentence = found[chosen] if found else whole
        fields = self.look(replace(study, report=Report(sentence)), rng)
        second = varied(sentence, rng) if self.look.train else sentence
        read = self.tokens(second)
        return {
            **fields,
            "report_text": sentence,
            "second_text": second,
            "second_ids": read["input_ids"],
            "second_mask": read["attention_mask"],
            "labels_of_image": label_row(whole),
            "labels_of_text": label_row(sentence),
        }


class MedCLIP(PairedTowers[MedCLIPBatch]):
    """Images and sentences of like findings (Wang et al., 2022).

    Options are those of `MedCLIPOptions`.
    """

    options: MedCLIPOptions
    least_batch: ClassVar[int] = 2
    batch_keys: ClassVar[frozenset[str]] = MedCLIPBatch.__required_keys__
    pair_gains: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("image_to_text", "text_to_image"), "image_gain"
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(MedCLIPOptions(**kwargs))

    def build(self) -> None:
        """Two encoders, two linear heads and the scale."""
        tower = partial(LayersTower, padding=self.options.pool_padding)
        self.build_towers(tower=tower, mean=[MEAN] * 3, std=[DEVIATION] * 3)
        joint = self.options.joint_width
        self.image_head = nn.Linear(self.image_encoder.width, joint, bias=False)
        self.text_head = nn.Linear(self.text_tower.width, joint, bias=False)
        self.log_scale = nn.Parameter(-torch.tensor(self.options.temperature).log())

    def make_transform(self, train: bool) -> MedCLIPTransform:
        """Crop, draw a sentence, vary it, tokenise."""
        return MedCLIPTransform(
            self.make_look(train), self.options.splitter == "released"
        )

    def scale(self) -> Tensor:
        """What cosines are multiplied by, 1 to 100; training keeps the parameter there."""
        if self.training:
            # At the border the gradient still reaches the parameter.
            self.log_scale.data.clamp_(0, MOST)
        held = self.log_scale.detach().clamp(0, MOST)
        return (self.log_scale - self.log_scale.detach() + held).exp()

    def objective(
        self,
        images: Tensor,
        texts: Sequence[Tensor],
        labels: tuple[Tensor, Tensor] | None,
    ) -> dict[str, Tensor]:
        """``image_to_text`` and ``text_to_image``, half of each.

        Args:
            images: (B, E) before they are scaled to unit length.
            texts: Sentences (M, E), and varied ones.
            labels: Those of images (B, 14) and of sentences (M, 14); None compares pairs, and
                leaves varied sentences out.
        """
        options, scale = self.options, self.scale()
        targets = (
            label_targets(*labels, options.similarity, self.options.gather)
            if labels
            else None
        )
        forth, back = targets or (None, None)
        ways = [
            torch.stack(
                info_nce(
                    images,
                    read,
                    1 / scale,
                    targets=forth,
                    reverse_targets=back,
                    gather=self.options.gather,
                )
            )
            for read in (texts if targets else texts[:1])
        ]
        found = ways[0]
        if len(ways) > 1:
            weight = options.second_weight
            found = (found + weight * ways[1]) / (1 + weight)
        return {"image_to_text": found[0] / 2, "text_to_image": found[1] / 2}

    def losses(self, batch: MedCLIPBatch) -> dict[str, Tensor]:
        """``image_to_text`` and ``text_to_image``."""
        options = self.options
        images = self._see(batch)
        kinds = ("report", "second") if options.second_weight else ("report",)
        pairs = options.similarity == "pairs"
        texts = [self._read(batch, kind) for kind in (kinds[:1] if pairs else kinds)]
        self.pairs_seen.hand(images, texts[0], batch["report_text"])
        labels = batch["labels_of_image"], batch["labels_of_text"]
        return self.objective(images, texts, None if pairs else labels)

    def _see(self, batch: MedCLIPBatch) -> Tensor:
        pooled = self.image_encoder.encode(batch["image"]).pooled
        self.watch(pooled)
        projected: Tensor = self.image_head(pooled)
        return projected

    def _read(self, batch: MedCLIPBatch, kind: str) -> Tensor:
        names = {"report": ("input_ids", "attention_mask")}
        ids, mask = names.get(kind, ("second_ids", "second_mask"))
        fields: Mapping[str, Any] = batch
        read = self.text_tower(
            fields[ids], fields[mask], fields[f"{kind}_text"], longest(batch)
        )
        projected: Tensor = self.text_head(read.pooled)
        return projected

    def embed_patches(self, images: Tensor) -> Tensor | None:
        """Places in the joint space; see `PairedTowers.linear_places`."""
        return self.linear_places(images)

    def pictures(self, batch: MedCLIPBatch) -> dict[str, Tensor | str]:
        """Images, how alike labels and embeddings are (rows: images), sentences."""
        image, text = self._see(batch), self._read(batch, "report")
        shown = pair_pictures(batch["image"], image, text, batch["report_text"])
        labels = batch["labels_of_image"], batch["labels_of_text"]
        a, b = (functional.normalize(x, dim=1) for x in labels)
        said = {"sentences": shown.pop("reports")}
        return {**shown, **said, "agreement": heat_map(a @ b.T)}

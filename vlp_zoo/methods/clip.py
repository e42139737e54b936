r"""CLIP: whole images against whole reports, the control of every comparison.

Zhang, Jiang, Miura, Manning, Langlotz, "Contrastive learning of medical visual
representations from paired images and text" (ConVIRT), MLHC 2022, arXiv 2010.00747;
Radford et al., "Learning transferable visual models from natural language
supervision" (CLIP), ICML 2021, arXiv 2103.00020.

An image and a report are each encoded to one vector, projected into a joint space, and
each image has to find its own report among those of the batch, and each report its
image:

.. math:: L = \lambda L_{v \to t} + (1 - \lambda) L_{t \to v}, \qquad
    L_{v \to t} = -\frac{1}{N} \sum_i \sum_j y_{ij}
    \log \frac{\exp(v_i \cdot t_j / \tau)}{\sum_k \exp(v_i \cdot t_k / \tau)}

``loss: sigmoid`` is SigLIP's (Zhai et al., ICCV 2023, arXiv 2303.15343): each pair is
judged by itself, with a learnt bias; its authors start from a temperature of 0.1 and learn it.
``label_prompts`` writes reports for images that have labels only, as CXR-CLIP does, though
in plain sentences where that draws from templates. ``image_image_weight`` and ``text_text_weight`` add the study-level contrasts of CXR-CLIP
(You et al., MICCAI 2023, arXiv 2310.13292): two looks at an image, two texts of a report; with
them the image-text terms are means over all pairs of looks, as in that paper.

Deviations. Defaults are ConVIRT's (:math:`\lambda` 0.75, :math:`\tau` 0.1, 512 joint
dimensions, ResNet-50, crops of 60 to 100 %) but for:

======================  ==================================  ===========================
here                    in the papers                       why
======================  ==================================  ===========================
``multi_positive``      only the own report is right        reports repeat word by word
negatives               ConVIRT: of one device              of all devices
no mirroring            ConVIRT mirrors half                reports name sides
no blur, no rotation    ConVIRT has both                    kept thin
whole report            ConVIRT: one sentence at random     ``sentence_dropout`` comes
                                                            close to it
text from scratch       ConVIRT: ClinicalBERT, half frozen  no download; ``text_model``
                                                            names a pretrained one
mean pooling of tokens  ConVIRT: maximum                    learns faster from scratch
AdamW, cosine           ConVIRT: Adam, step on plateau      one schedule for all
two texts               CXR-CLIP: the other is translated   no translator: sentences are
                        forth and back                      left out (``sentence_dropout``)
======================  ==================================  ===========================

``text_model: corpus`` puts fixed features of the reports (TF-IDF, truncated SVD, learnt
on the training reports) in place of the text encoder: with few reports there is less to
learn and the image encoder learns faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, product
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from vlp_zoo.errors import ConfigError
from vlp_zoo.loading import Draw
from vlp_zoo.losses import info_nce, multi_positive_targets, sigmoid_contrast
from vlp_zoo.methods.options import check_choice
from vlp_zoo.methods.paired.fields import PairedBatch
from vlp_zoo.methods.paired.options import CORPUS, PairedOptions
from vlp_zoo.methods.paired.pictures import pair_pictures
from vlp_zoo.methods.paired.prompts import LabelPrompts, label_sentences
from vlp_zoo.methods.paired.second import SecondLook, TwiceSeen
from vlp_zoo.methods.paired.towers import PairedTowers, projection
from vlp_zoo.methods.reading import longest
from vlp_zoo.types import StudySource, Transform

__all__ = ["CLIP", "CLIPOptions"]


@dataclass(frozen=True, kw_only=True)
class CLIPOptions(PairedOptions):
    """What can be chosen.

    Args:
        warm_start: Encoder to start from, such as ``timm:resnet50``.
        joint_width: Dimensions E of the joint space.
        head_width: Inner width of the two projection heads; 0 makes them linear.
        temperature: What similarities are divided by; where it starts, if learnt.
        learn_temperature: Learn the temperature, as CLIP does (never below 0.01).
        image_weight: Weight of the direction image to text.
        multi_positive: Count all images of the same report as right.
        sentence_dropout: Chance to leave out each sentence in training.
        label_prompts: Train on studies without a report too, by sentences made of their
            labels.
        loss: ``"softmax"``, each row among all others, or ``"sigmoid"``, each pair by
            itself.
        image_image_weight: Weight of the contrast of two views of each image; at 0 there
            is one view.
        text_text_weight: Weight of the contrast of two texts of each report, findings
            and impression where it has both; at 0 the report is one text.
    """

    image_encoder: str = "resnet50"
    joint_width: int = 512
    head_width: int = 512
    temperature: float = 0.1
    learn_temperature: bool = False
    image_weight: float = 0.75
    jitter: float = 0.4
    sentence_dropout: float = 0.0
    label_prompts: bool = False
    loss: str = "softmax"
    image_image_weight: float = 0.0
    text_text_weight: float = 0.0
    learning_rate: float = 1e-4
    weight_decay: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0 or not 0 <= self.image_weight <= 1:
            raise ConfigError(
                "temperature above 0 and image_weight in 0..1",
                f"{self.temperature} and {self.image_weight}",
                "correct --model.temperature or --model.image_weight",
            )
        check_choice("loss", self.loss, ("softmax", "sigmoid"))
        if self.label_prompts and self.text_model == CORPUS:
            raise ConfigError(
                "a text encoder that is trained (--model.label_prompts)",
                "--model.text_model corpus, features learnt on reports",
                "add --model.text_model null, or name a pretrained one",
            )
        if min(self.image_image_weight, self.text_text_weight) < 0:
            raise ConfigError(
                "weights of 0 or more",
                f"{self.image_image_weight} and {self.text_text_weight}",
                "correct --model.image_image_weight or --model.text_text_weight",
            )


class CLIP(PairedTowers[TwiceSeen]):
    """Image-report contrast (ConVIRT, CLIP).

    Options are those of `CLIPOptions`.
    """

    options: CLIPOptions
    least_batch: ClassVar[int] = 2
    batch_keys: ClassVar[frozenset[str]] = PairedBatch.__required_keys__
    image_fields: ClassVar[tuple[str, ...]] = ("image", "second_image")
    pair_gains: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("image_to_text", "text_to_image", "sigmoid"), "image_gain"
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(CLIPOptions(**kwargs))
        self.reads_reports = not self.options.label_prompts

    def corpus_of(self, data: Any) -> tuple[Callable[[], Iterable[str]], str]:
        """Reports, and the sentences that labels may become."""
        if not self.options.label_prompts:
            return super().corpus_of(data)
        names = self.label_names
        said = [
            text for x in (0, 1) for text in label_sentences(names, [x] * len(names))
        ]
        reports = data.corpus if data.has_reports else tuple
        return lambda: chain(reports(), said), f"{data.corpus_fingerprint} {said}"

    def training_draw(self, source: StudySource) -> Draw | None:
        """With ``label_prompts``: studies of which a report or a label says something.

        Raises:
            ConfigError: If there is none.
        """
        if not self.options.label_prompts:
            return None
        written = [bool(report.body.strip()) for report in source.reports()]
        kept = np.flatnonzero(np.isfinite(source.labels).any(1) | np.array(written))
        if not len(kept):
            raise ConfigError(
                "reports, or labels that are known (--model.label_prompts)",
                f"{len(source)} studies without either",
                "choose a data set with labels or reports",
            )
        return Draw(kept)

    def build(self) -> None:
        """Two encoders and two projection heads."""
        self.build_towers()
        joint, inner = self.options.joint_width, self.options.head_width
        self.image_head = projection(self.image_encoder.width, inner, joint)
        self.text_head = projection(self.text_tower.width, inner, joint)
        if self.options.learn_temperature:
            scale = math.log(1 / self.options.temperature)
            self.log_scale = nn.Parameter(torch.tensor(scale))
        if self.options.loss == "sigmoid":
            # As in SigLIP: a pair is wrong until it is shown to be right.
            self.bias = nn.Parameter(torch.tensor(-10.0))

    def make_transform(self, train: bool) -> Transform:
        """Crop, vary, tokenise; twice where two looks are compared."""
        options = self.options
        look = self.make_look(train, options.sentence_dropout)
        image, text = options.image_image_weight > 0, options.text_text_weight > 0
        seen = SecondLook(look, image, text) if image or text else look
        if not options.label_prompts:
            return seen
        return LabelPrompts(seen, self.label_names)

    @property
    def temperature(self) -> float | Tensor:
        """What similarities are divided by."""
        if not self.options.learn_temperature:
            return self.options.temperature
        return (-self.log_scale.clamp(max=math.log(100))).exp()

    def embed(self, batch: TwiceSeen) -> tuple[Tensor, Tensor]:
        """Images and reports in the joint space, not normalised, (B, E) each."""
        pooled = self.image_encoder.encode(batch["image"]).pooled
        self.watch(pooled)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        texts = self.text_tower(ids, mask, batch["report_text"], longest(batch))
        return self.image_head(pooled), self.text_head(texts.pooled)

    def looks(self, batch: TwiceSeen) -> tuple[list[Tensor], list[Tensor]]:
        """The same of every view of the images and every text of the reports."""
        image, text = self.embed(batch)
        images, texts = [image], [text]
        if "second_image" in batch:
            pooled = self.image_encoder.encode(batch["second_image"]).pooled
            images.append(self.image_head(pooled))
        if "second_ids" in batch:
            read = self.text_tower(
                batch["second_ids"],
                batch["second_mask"],
                batch["second_text"],
                longest(batch),
            )
            texts.append(self.text_head(read.pooled))
        return images, texts

    def losses(self, batch: TwiceSeen) -> dict[str, Tensor]:
        """``image_to_text`` and ``text_to_image`` or ``sigmoid``; those of two looks."""
        options, targets = self.options, None
        if options.multi_positive:
            targets = multi_positive_targets(batch["report_key"])
        images, texts = self.looks(batch)
        self.pairs_seen.hand(images[0], texts[0], batch["report_key"])
        pairs = list(product(images, texts))
        if options.loss == "sigmoid":
            terms = {
                "sigmoid": torch.stack(
                    [
                        sigmoid_contrast(
                            image,
                            text,
                            1 / self.temperature,
                            self.bias,
                            targets=targets,
                        )
                        for image, text in pairs
                    ]
                ).mean()
            }
        else:
            forth, back = self._contrast(pairs, targets)
            terms = {
                "image_to_text": options.image_weight * forth,
                "text_to_image": (1 - options.image_weight) * back,
            }
        for name, seen, weight in (
            ("image_image", images, options.image_image_weight),
            ("text_text", texts, options.text_text_weight),
        ):
            if weight:
                both = self._contrast([(seen[0], seen[1])], targets)
                terms[name] = weight * both.mean()
        return terms

    def _contrast(
        self, pairs: list[tuple[Tensor, Tensor]], targets: Tensor | None
    ) -> Tensor:
        """`info_nce` in both directions (2), the mean over pairs of looks."""
        found = [info_nce(a, b, self.temperature, targets=targets) for a, b in pairs]
        return torch.stack([torch.stack(both) for both in found]).mean(0)

    def embed_patches(self, images: Tensor) -> Tensor | None:
        """Places in the joint space: (B, E, h, w), unit length along E.

        None where the image head is not linear (``head_width: 0``), or the encoder does
        not pool by the plain mean.
        """
        return None if self.options.head_width else self.linear_places(images)

    def pictures(self, batch: TwiceSeen) -> dict[str, Tensor | str]:
        """Images, their similarities to the reports (rows: images), and the reports."""
        return pair_pictures(batch["image"], *self.embed(batch), batch["report_text"])

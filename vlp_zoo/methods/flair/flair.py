r"""FLAIR: photographs of the retina against the words of their classes.

Silva-Rodríguez, Chakor, Kobbi, Dolz, Ben Ayed, "A foundation language-image model of
the retina (FLAIR): encoding expert knowledge in text supervision", Medical Image
Analysis 99:103357, 2025, arXiv 2308.07898. Official code: jusiro/FLAIR @ d6652d5
(Apache-2.0).

Data sets of fundus photographs have labels, not reports. One of an image's words is
drawn, written into a caption, and replaced at random by what an expert would say of it
("yellow deposits under the retina" for drusen). Image and caption meet in a joint space,
where all images of a category are right for a caption of it, in equal shares:

.. math:: L = \tfrac12 [ CE(s \, t v^T, T) + CE(s \, v t^T, T) ], \qquad
    T_{ij} = [c_i = c_j] / |\{k : c_k = c_i\}|

with v and t of unit length and s learnt in 1..100. Captions are averaged over tokens and
over the hidden states after the first, the second and the last layer.

Deviations. ``variant`` sets them all; each has a flag whose None follows the variant.

=====================  ==============================  ==============================
flag                   ``official`` (released code)    ``corrected`` (default)
=====================  ==============================  ==============================
``official_schedule``  cosine of 100 epochs, of which  base's warm-up and cosine;
                       15 are run; everything decays   vectors do not decay
``pool_padding``       a caption's embedding hangs on  words only
                       the longest of the batch
``ban_parts``          "no cataract" and               whole words, affirmed
                       "chorioretinitis" are left out
``free_text``          names a set that was renamed    the set's name of today
``aliases``            "healthy" and "normal",         one word, one class
                       "hemorrhage" and
                       "haemorrhages" are negatives
``wordless``           images without a category are   of one caption; left out
                       of one class                    without any word
``positives``          images with the same drawn      images that have the drawn
                       category                        category among theirs
=====================  ==============================  ==============================

In both variants: ``negatives: global``, of all processes (released: of one); no pooler,
which never had a gradient; shrinking with antialiasing (there by the version of
torchvision); a study that is drawn again in an epoch is varied anew; dictionaries and
images of the caller are left as they are; no row or image is mirrored in validation;
``balance`` goes by the names of tables, not of folders. Sides are lost by mirroring:
for reports that name them set ``horizontal_flip: 0``. The authors' dictionary is not
here: ``descriptions`` has our own words. The full paper was not at hand.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vlp_zoo.errors import ConfigError
from vlp_zoo.gather import gather_rows
from vlp_zoo.loading import Draw
from vlp_zoo.losses import info_nce, multi_positive_targets
from vlp_zoo.methods.flair.networks import UnitLinear, official_optimizer
from vlp_zoo.methods.flair.options import FLAIROptions
from vlp_zoo.methods.flair.transform import FLAIRBatch, FLAIRTransform
from vlp_zoo.methods.optimisation import steps_per_epoch
from vlp_zoo.methods.paired.layers import LayersTower
from vlp_zoo.methods.paired.pictures import pair_pictures
from vlp_zoo.methods.paired.towers import PairedTowers
from vlp_zoo.methods.reading import longest
from vlp_zoo.modules import in_full_precision
from vlp_zoo.reports.captions import Lexicon, fill, read_descriptions
from vlp_zoo.types import StudySource
from vlp_zoo.variation import Variation

__all__ = ["FLAIR", "FLAIRBatch"]

LARGEST_SCALE = 4.6052
"""The logarithm of what s may grow to, as released."""


class FLAIR(PairedTowers[FLAIRBatch]):
    """Category-aware contrast of photographs and captions (Silva-Rodríguez et al., 2025).

    Options are those of `FLAIROptions`.
    """

    options: FLAIROptions
    reads_reports: bool = False
    ends_texts: ClassVar[bool] = True
    least_batch: ClassVar[int] = 2
    batch_keys: ClassVar[frozenset[str]] = FLAIRBatch.__required_keys__
    pair_gains: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("text_to_image", "image_to_text"), "image_gain"
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(FLAIROptions(**kwargs))

    @property
    def lexicon(self) -> Lexicon:
        """What becomes of the words of the data."""
        flags = self.options.flags
        descriptions, aliases = read_descriptions(self.options.descriptions)
        return Lexicon(
            self.options.template,
            self.label_names,
            descriptions,
            aliases if flags.aliases else None,
            flags.banned,
            flags.ban_parts,
            flags.free_text,
        )

    def corpus_of(self, data: Any) -> tuple[Callable[[], Iterable[str]], str]:
        """Reports, if there are any, and everything that a label may be written as."""
        lexicon = self.lexicon
        named = [*lexicon.spelt(self.label_names), *lexicon.descriptions]
        texts = [*named, *chain.from_iterable(lexicon.descriptions.values())]
        captions = [fill(self.options.template, "", text) for text in texts]
        known = hashlib.sha256("\n".join(captions).encode()).hexdigest()
        reports = data.corpus if data.has_reports else tuple
        return lambda: chain(reports(), captions), f"{data.corpus_fingerprint} {known}"

    def build(self) -> None:
        """Two encoders, two heads, the scale; pixels are read as they are."""
        options = self.options
        tower = partial(LayersTower, padding=options.flags.pool_padding)
        self.build_towers(tower=tower)
        self.image_encoder.use_normalisation([0.0] * 3, [1.0] * 3)
        self.image_head = UnitLinear(self.image_encoder.width, options.joint_width)
        self.text_head = UnitLinear(self.text_tower.width, options.joint_width)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(options.temperature)))

    def make_transform(self, train: bool) -> FLAIRTransform:
        """Draw words, write and tokenise the caption."""
        return FLAIRTransform(self.lexicon, self.options, self.known_tokenizer(), train)

    def training_draw(self, source: StudySource) -> Draw:
        """Images with words that may be seen, each source the same share.

        Raises:
            ConfigError: If none is left.
        """
        lexicon, say_nothing = self.lexicon, self.options.flags.wordless == "class"
        found = lexicon.all_words(source)
        kept = [
            i
            for i, words in enumerate(found)
            if not lexicon.is_banned(words)
            and (say_nothing or words.categories or words.attributes)
        ]
        if not kept:
            raise ConfigError(
                "images with words: categories, labels, keywords or reports",
                f"{len(found)} images, and none with a word that may be seen",
                "choose a data set with labels or reports, or change --model.banned",
            )
        return Draw.of(
            kept, [found[i].source for i in kept] if self.options.balance else []
        )

    def embed(
        self, images: Tensor, ids: Tensor, mask: Tensor, length: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Images and captions in the joint space, of any length, (B, E) each.

        Args:
            images: (B, 3, S, S), normalised.
            ids: (B, T) int64.
            mask: (B, T) bool.
            length: Tokens of the longest caption; None counts them on the device.
        """
        pooled = self.image_encoder(images).pooled
        self.watch(pooled)
        texts = self.text_tower(ids, mask, (), length)
        heads = ((self.image_head, pooled), (self.text_head, texts.pooled))
        # Similarities of images differ in digits that half precision does not have.
        images, captions = (in_full_precision(*each) for each in heads)
        return images, captions

    def targets(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """Shares of the images for each caption, and of the captions for each image."""
        gather, keys = self.options.gather, batch["report_key"]
        if not self.options.multi_positive:
            return None
        if self.options.flags.positives == "drawn":
            same = multi_positive_targets(keys, gather)
            return same, same
        words = batch["word_keys"]
        others = (gather_rows(x) if gather else x for x in (keys, words))
        all_keys, all_words = others
        images = (keys[:, None, None] == all_words).any(2).float()
        texts = (words[:, None] == all_keys[:, None]).any(2).float()
        return images / images.sum(1, keepdim=True), texts / texts.sum(1, keepdim=True)

    @property
    def scale(self) -> Tensor:
        """What similarities are multiplied by, s."""
        return self.log_scale.detach().clamp(0, LARGEST_SCALE).exp()

    def contrast(
        self, images: Tensor, texts: Tensor, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Loss from captions to images, and back.

        Args:
            images: (B, E), of any length.
            texts: (B, E), of any length.
            batch: Keys, as for `targets`.
        """
        with torch.no_grad():
            self.log_scale.clamp_(0, LARGEST_SCALE)
        forth, back = self.targets(batch) or (None, None)
        return info_nce(
            texts,
            images,
            (-self.log_scale).exp(),
            targets=forth,
            reverse_targets=back,
            gather=self.options.gather,
        )

    def losses(self, batch: FLAIRBatch) -> dict[str, Tensor]:
        """``text_to_image`` and ``image_to_text``."""
        pixels = batch["image"].to(self.log_scale.dtype) / 255
        if self.training:
            options = self.options
            varied = Variation(
                options.horizontal_flip,
                options.vary_chance,
                options.rotation,
                options.zoom,
                options.jitter,
            )
            pixels = varied(pixels, batch["noise_key"])
        images, texts = self._embedded(batch, pixels)
        self.pairs_seen.hand(images, texts, batch["report_key"])
        keys = {name: batch[name] for name in ("report_key", "word_keys")}
        forth, back = self.contrast(images, texts, keys)
        return {"text_to_image": forth / 2, "image_to_text": back / 2}

    def _embedded(self, batch: FLAIRBatch, pixels: Tensor) -> tuple[Tensor, Tensor]:
        ids, mask = batch["input_ids"], batch["attention_mask"]
        images = self.image_encoder.prepare(pixels)
        return self.embed(images, ids, mask, longest(batch))

    def prototypes(self, prompts: Iterable[Sequence[str]]) -> Tensor:
        """A vector for each class: the mean of its prompts' embeddings, (C, E).

        Args:
            prompts: Captions of each class; they are padded together.
        """
        return torch.stack([self.embed_texts(list(own)).mean(0) for own in prompts])

    def embed_patches(self, images: Tensor) -> Tensor | None:
        """Places in the joint space: (B, E, h, w), unit length along E."""
        return self.linear_places(images)

    def pictures(self, batch: FLAIRBatch) -> dict[str, Tensor | str]:
        """Images, their similarities to the captions (rows: images), and the captions."""
        embedded = self._embedded(batch, batch["image"].float() / 255)
        return pair_pictures(batch["image"], *embedded, batch["report_text"])

    def configure_optimizers(self) -> Any:
        """The base's, or AdamW and the schedule of the released code."""
        if not self.options.flags.official_schedule:
            return super().configure_optimizers()
        epoch = steps_per_epoch(self.trainer)
        return official_optimizer(self.parameters(), self.options, epoch)

"""What is trained to classify: an encoder, tuned or frozen, and a linear layer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vlp_zoo.augment import Augment
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.classification.kinds import Kind, MultiLabel
from vlp_zoo.evaluation.features.encoder_input import EachOnce, encoder_input
from vlp_zoo.evaluation.training.groups import layer_decay_groups
from vlp_zoo.evaluation.training.learner import Learner
from vlp_zoo.evaluation.training.low_rank import add_low_rank
from vlp_zoo.transforms import planes
from vlp_zoo.types import Example, Study, Transform

__all__ = ["Classifier", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """What a classifier is made of and what it is shown.

    Attributes:
        frozen: Train the head only; the encoder stays in evaluation mode.
        kind: The kind of the labels.
        head: ``"norm-linear"`` (LayerNorm first, weights close to 0) or ``"linear"``.
        weight_decay: Weight decay of matrices and kernels.
        layer_decay: Factor by which the learning rate falls from block to block,
            towards the image.
        encoder_rate: Learning rate of the encoder, relative to the head's.
        augment: A name of `vlp_zoo.augment.PIPELINES`, in training.
        flip: Chance of mirroring.
        resize: ``"pad"``, ``"squash"`` or ``"short"``; "" is the encoder's own.
        oversize: Images are fitted into a square so much larger than the encoder's,
            of which a crop is seen: a random one with ``augment="crop"``, else the
            middle.
        norm: Mean and deviation for all channels; () is the encoder's own.
        grey: Take the colour out of photographs.
        low_rank: Rank of weights that are trained in place of the encoder's own; 0 is
            none.
    """

    frozen: bool = False
    kind: Kind = field(default_factory=MultiLabel)
    head: str = "norm-linear"
    weight_decay: float = 0.05
    layer_decay: float = 0.75
    encoder_rate: float = 1.0
    augment: str = "finetune"
    flip: float = 0.0
    resize: str = ""
    oversize: float = 1.0
    norm: tuple[float, ...] = ()
    grey: bool = False
    low_rank: int = 0

    def __post_init__(self) -> None:
        if self.head not in ("norm-linear", "linear") or len(self.norm) not in (0, 2):
            raise ConfigError(
                "head norm-linear or linear, norm of a mean and a deviation",
                f"{self.head!r}, {self.norm}",
                "correct the preset",
            )


class Classifier(Learner):
    """Encoder, LayerNorm if asked for, one linear layer.

    Args:
        encoder: Copied; the caller's weights stay as they are.
        labels: Number K of outputs.
        recipe: Settings.
    """

    def __init__(self, encoder: nn.Module, labels: int, recipe: Recipe) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        self.encoder.requires_grad_(not recipe.frozen)
        if recipe.low_rank:
            add_low_rank(self.encoder, recipe.low_rank)
        self.preprocessing = dict(cast(Any, encoder).preprocessing)
        if recipe.norm:
            mean, std = recipe.norm
            self.preprocessing |= {"mean": [mean], "std": [std]}
        self.recipe = recipe
        same = recipe.frozen and recipe.augment == "none"
        self.each_once = EachOnce() if same else None
        with torch.no_grad():
            side = int(self.preprocessing["image_size"])
            self.encoder.eval()
            width = int(self._pooled(torch.zeros(1, 1, side, side))[0].shape[1])
        self.norm = nn.LayerNorm(width) if recipe.head == "norm-linear" else None
        self.head = nn.Linear(width, labels)
        if self.norm is not None:
            # Small, so that the first steps do not shake the encoder (as in MRM).
            nn.init.trunc_normal_(self.head.weight, std=2e-5)
            nn.init.zeros_(self.head.bias)

    def train(self, mode: bool = True) -> Classifier:
        """A frozen or adapted encoder stays as it is, its batch statistics too."""
        super().train(mode)
        if self.recipe.frozen or self.recipe.low_rank:
            self.encoder.eval()
        return self

    def make_transform(self, train: bool) -> Transform:
        """Fit into the square, and augment in training."""
        recipe, side = self.recipe, int(self.preprocessing["image_size"])
        return _Views(
            Augment(
                recipe.augment if train else "none",
                side,
                resize=recipe.resize or str(self.preprocessing.get("resize", "pad")),
                flip=recipe.flip if train else 0.0,
                fit=round(side * recipe.oversize),
            )
        )

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Head at the full rate, encoder with layer decay, no decay of vectors."""
        recipe = self.recipe
        vectors = [self.head.bias]
        if self.norm is not None:
            vectors += self.norm.parameters()
        groups: list[dict[str, Any]] = [
            {"params": vectors, "weight_decay": 0.0},
            {"params": [self.head.weight]},
        ]
        if not recipe.frozen:
            groups += layer_decay_groups(
                self.encoder,
                learning_rate * recipe.encoder_rate,
                recipe.weight_decay,
                recipe.layer_decay,
            )
        return groups

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 1 or 3, S, S) to logits (B, K)."""
        if self.each_once is None:
            (pooled,) = self._pooled(images)
        else:
            (pooled,) = self.each_once(images, self._pooled)
        if self.norm is not None:
            pooled = self.norm(pooled)
        logits: Tensor = self.head(pooled)
        return logits

    def _pooled(self, images: Tensor) -> list[Tensor]:
        if self.recipe.grey:
            images = images.float().mean(1, keepdim=True)
        return [self.encoder(encoder_input(images, self.preprocessing)).pooled]

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """Cross-entropy over the known labels of the batch."""
        return self.recipe.kind.loss(self(batch["image"]).float(), batch["labels"])

    def predict(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """Logits (B, K)."""
        return {"logits": self(batch["image"])}


@dataclass(frozen=True)
class _Views:
    augment: Augment

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        image = self.augment(replace(study, masks={}, boxes=()), rng).image
        return {
            "image": torch.from_numpy(planes(image)),
            "labels": torch.from_numpy(np.array(study.labels, np.float32)),
        }

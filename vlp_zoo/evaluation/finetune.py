"""``vlp-finetune`` and its relatives: a linear head on a tuned or frozen encoder.

The pooled feature goes through LayerNorm and one linear layer; all labels share a
masked binary cross-entropy, unknown labels count for nothing. The learning rate is
chosen once per task, on the validation split, from the same grid for every encoder, and
the step is chosen there too. The number of trained parameters is stored: "linear" and
"fine-tuned" have been mixed up too often.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.augment import Augment
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.features import Extraction
from vlp_zoo.evaluation.learner import Fitted, Learner, Plan, Predictions, predict
from vlp_zoo.evaluation.linear_probe import scored
from vlp_zoo.evaluation.metrics import label_values, macro
from vlp_zoo.evaluation.protocol import (
    Candidate,
    Outcome,
    Protocol,
    training_cases,
)
from vlp_zoo.evaluation.tasks import Selected, Task
from vlp_zoo.evaluation.training import fit
from vlp_zoo.types import Example, Study, Transform

__all__ = ["Classifier", "FineTune", "layer_decay_groups"]


@dataclass(frozen=True)
class FineTune(Protocol):
    """Settings of the preset.

    Attributes:
        frozen: Train the head only; the encoder stays in evaluation mode.
        steps: Optimiser steps at label fractions up to 1 %, up to 10 % and above.
        batch_size: Cases per step.
        learning_rates: Grid of peaks; with more than one the best is chosen on the
            validation split.
        weight_decay: Of matrices and kernels.
        optimiser: As of `Plan`.
        schedule: As of `Plan`.
        warmup: As of `Plan`.
        layer_decay: Each block of a ViT learns by this factor slower than the one
            above it; CNNs learn at one rate.
        evaluations: Looks at the validation split.
        augment: A name of `vlp_zoo.augment.PIPELINES`.
        flip: Chance of mirroring; it swaps left and right.
        clip: Largest norm of the gradient; 0 does not clip.
    """

    frozen: bool = False
    steps: tuple[int, int, int] = (1500, 5000, 20000)
    batch_size: int = 64
    learning_rates: tuple[float, ...] = (1e-5, 3e-5, 1e-4)
    weight_decay: float = 0.05
    optimiser: str = "adamw"
    schedule: str = "cosine"
    warmup: float = 0.05
    layer_decay: float = 0.75
    evaluations: int = 20
    augment: str = "finetune"
    flip: float = 0.0
    clip: float = 1.0
    name: str = "vlp-finetune"

    reads_pixels: ClassVar[bool] = True
    draws_weights: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.steps) != 3 or not self.learning_rates:
            raise ConfigError(
                "three numbers of steps and at least one learning rate",
                f"{self.steps}, {self.learning_rates}",
                "correct the preset",
            )

    def plan(self, learning_rate: float) -> Plan:
        """Length and speed at the protocol's label fraction."""
        few, some, all_ = self.steps
        steps = few if self.fraction <= 0.01 else some if self.fraction <= 0.1 else all_
        return Plan(
            steps=steps,
            batch_size=self.batch_size,
            learning_rate=learning_rate,
            weight_decay=self.weight_decay,
            optimiser=self.optimiser,
            schedule=self.schedule,
            warmup=self.warmup,
            evaluations=self.evaluations,
            clip=self.clip,
        )

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Train at every learning rate, keep the best, then score the test split."""
        chosen = training_cases(task, self.fraction, seed)
        train = Selected(task.splits["train"], [int(i) for i in chosen])
        val = task.splits["val"]
        labels = train.labels
        learnable = (labels == 1).any(0) & (labels == 0).any(0)
        if not learnable.any():
            raise ConfigError(
                "a label with both classes in the training cases",
                f"{len(chosen)} training cases without one",
                "raise --fractions, or give more labelled studies",
            )
        best: tuple[Fitted, Classifier, float] | None = None
        tried: dict[str, float] = {}
        for rate in self.learning_rates:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                learner = Classifier(candidate.module, labels.shape[1], self)
            score = partial(_validation_auroc, val.labels, learnable)
            fitted = fit(learner, train, val, self.plan(rate), score, seed, extraction)
            tried[f"{rate:g}"] = fitted.best_score
            if best is None or fitted.best_score > best[0].best_score:
                best = fitted, learner, rate
        assert best is not None
        fitted, learner, rate = best
        probabilities = _sigmoid(
            _logits(predict(learner, task.splits["test"], extraction))
        )
        probabilities[:, ~learnable] = np.nan
        untrained = {
            label: f"one class only in {len(chosen)} training cases"
            for label, usable in zip(task.label_names, learnable, strict=True)
            if not usable
        }
        return scored(
            probabilities,
            task,
            self,
            seed,
            n_train=len(chosen),
            undefined=untrained,
            details={
                "learning_rate": rate,
                "validation_by_learning_rate": tried,
                **fitted.details(),
            },
        )


class Classifier(Learner):
    """Encoder, LayerNorm, one linear layer.

    Args:
        encoder: Copied; the caller's weights stay as they are.
        labels: Number K of outputs.
        protocol: Settings.
    """

    def __init__(self, encoder: nn.Module, labels: int, protocol: FineTune) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        self.encoder.requires_grad_(not protocol.frozen)
        self.preprocessing = dict(cast(Any, encoder).preprocessing)
        self.protocol = protocol
        with torch.no_grad():
            side = int(self.preprocessing["image_size"])
            blank = torch.zeros(1, self._channels, side, side)
            width = int(self.encoder.eval()(blank).pooled.shape[1])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, labels)
        # Small, so that the first steps do not shake the encoder (as in MRM).
        nn.init.trunc_normal_(self.head.weight, std=2e-5)
        nn.init.zeros_(self.head.bias)

    @property
    def _channels(self) -> int:
        return int(self.preprocessing.get("channels", 3))

    def train(self, mode: bool = True) -> Classifier:
        """A frozen encoder stays as it is, its batch statistics too."""
        super().train(mode)
        if self.protocol.frozen:
            self.encoder.eval()
        return self

    def make_transform(self, train: bool) -> Transform:
        """Fit into the square, and augment in training."""
        return _Views(
            Augment(
                self.protocol.augment if train else "none",
                int(self.preprocessing["image_size"]),
                resize=str(self.preprocessing.get("resize", "pad")),
                flip=self.protocol.flip if train else 0.0,
            )
        )

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Head at the full rate, encoder with layer decay, no decay of vectors."""
        decay = self.protocol.weight_decay
        vectors = [*self.norm.parameters(), self.head.bias]
        groups: list[dict[str, Any]] = [
            {"params": vectors, "weight_decay": 0.0},
            {"params": [self.head.weight]},
        ]
        if not self.protocol.frozen:
            groups += layer_decay_groups(
                self.encoder, learning_rate, decay, self.protocol.layer_decay
            )
        return groups

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 1 or 3, S, S) to logits (B, K)."""
        pixels = images.float() / 255
        if pixels.shape[1] != self._channels:
            pixels = pixels.mean(1, keepdim=True).expand(-1, self._channels, -1, -1)
        mean = pixels.new_tensor(list(self.preprocessing["mean"])).view(-1, 1, 1)
        std = pixels.new_tensor(list(self.preprocessing["std"])).view(-1, 1, 1)
        output = self.encoder((pixels - mean) / std)
        logits: Tensor = self.head(self.norm(output.pooled))
        return logits

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """Binary cross-entropy over the known labels of the batch."""
        labels = batch["labels"]
        known = ~torch.isnan(labels)
        each = functional.binary_cross_entropy_with_logits(
            self(batch["image"]).float(), torch.nan_to_num(labels), reduction="none"
        )
        return (each * known).sum() / known.sum().clamp(min=1)

    def predict(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """Logits (B, K)."""
        return {"logits": self(batch["image"])}


@dataclass(frozen=True)
class _Views:
    augment: Augment

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        image = self.augment(replace(study, masks={}, boxes=()), rng).image
        planes = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(planes)),
            "labels": torch.from_numpy(np.array(study.labels, np.float32)),
        }


def layer_decay_groups(
    encoder: nn.Module, learning_rate: float, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Trainable weights of an encoder in groups of their own rates.

    Args:
        encoder: Its blocks are known where it is an `ImageEncoder` around a ViT.
        learning_rate: Of the layer nearest to the head.
        weight_decay: Of matrices and kernels; vectors have none.
        layer_decay: Factor from block to block, towards the image.

    Returns:
        Groups with ``lr``, each parameter in exactly one.
    """
    blocks = getattr(getattr(encoder, "timm", None), "blocks", None)
    depth = (
        len(blocks) if isinstance(encoder, ImageEncoder) and blocks is not None else 0
    )
    found: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in encoder.named_parameters():
        if parameter.requires_grad:
            layer = _layer(name, depth)
            found.setdefault((layer, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * layer_decay ** (depth - layer if depth else 0),
            "weight_decay": weight_decay if decayed else 0.0,
        }
        for (layer, decayed), parameters in sorted(found.items(), key=lambda i: i[0])
    ]


def _layer(name: str, depth: int) -> int:
    """0 for the embedding, 1 to ``depth`` for blocks and what follows them."""
    if "blocks." in name:
        return int(name.split("blocks.")[1].split(".")[0]) + 1
    early = ("patch_embed", "pos_embed", "cls_token", "reg_token")
    return 0 if any(word in name for word in early) else depth


def _logits(predictions: Predictions) -> npt.NDArray[np.float64]:
    return np.stack([p["logits"] for p in predictions]).astype(np.float64)


def _sigmoid(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)))


def _validation_auroc(
    labels: npt.NDArray[np.float32],
    learnable: Sequence[bool] | npt.NDArray[np.bool_],
    predictions: Predictions,
) -> float:
    used = np.asarray(learnable)
    logits = _logits(predictions)
    return float(
        macro(label_values("macro_auroc", labels[:, used], logits[:, used]))[0]
    )

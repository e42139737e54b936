"""What can be chosen where masks are learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from vlp_zoo.encoders.references import ReferenceNetwork
from vlp_zoo.evaluation.baselines import Prevalence
from vlp_zoo.evaluation.protocol import Candidate
from vlp_zoo.evaluation.segmentation.losses import LOSSES
from vlp_zoo.evaluation.segmentation.mask_truth import MaskRule, structures_of
from vlp_zoo.evaluation.subject import Subject
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.evaluation.training.learner import Plan
from vlp_zoo.evaluation.training.settings import Trained, require

__all__ = ["HEADLINES", "SegmentationSettings"]

CROPS = ("crop", "moco")
"""Pipelines that take a part of an image at the scale at which it is scored."""

HEADLINES = ("dice_positive", "dice_all", "dice_micro", "dice_with_background")


@dataclass(frozen=True)
class SegmentationSettings(Trained):
    """Settings of ``vlp-seg`` and its relatives, beside those of `Trained`.

    Attributes:
        decoder: A name of `vlp_zoo.evaluation.training.decoders.DECODERS`, or ``by-network``.
        decoder_width: Channels inside it.
        size: Side of the input; 0 = the encoder's own. A ViT takes the nearest multiple
            of its patch, and what cannot be resized its own; the details say so.
        fit: Side that images are fitted to where the network sees crops of ``size``: it
            is trained on random crops (``augment: crop`` or ``moco``), and scored window
            by window. For what is lost in small images; 0 = ``size``, whole images.
        structures: What is marked; empty = all names of masks in the training split.
        absent: What a missing mask means where nothing else says: see
            `vlp_zoo.evaluation.segmentation.mask_truth`.
        loss: A name of `vlp_zoo.evaluation.segmentation.losses.LOSSES`.
        steps: Optimiser steps at label fractions up to 1 %, up to 10 % and above.
        learning_rate: Peak of the decoder's.
        encoder_learning_rate: Peak of the encoder's, where it is tuned.
        optimiser: ``"adamw"``, ``"adam"`` or ``"sgd"``; see `Plan`.
        layer_decay: Each block of a ViT learns by this factor slower than the one
            above it.
        select: Metric that chooses the step.
        reported: Metric that is the headline.
        flip: Chance of mirroring; it swaps left and right.
        crop_content: Cut away a dark surround first; nothing is marked there.
    """

    decoder: str = "upernet"
    decoder_width: int = 256
    frozen: bool = True
    size: int = 512
    fit: int = 0
    structures: tuple[str, ...] = ()
    absent: str = "unknown"
    loss: str = "bce+dice"
    steps: tuple[int, int, int] = (1500, 5000, 20000)
    learning_rate: float = 1e-3
    encoder_learning_rate: float = 1e-4
    optimiser: str = "adamw"
    schedule: str = "poly"
    layer_decay: float = 1.0
    select: str = "dice_positive"
    reported: str = "dice_positive"
    augment: str = "dense"
    flip: float = 0.0
    crop_content: bool = False
    name: str = "vlp-seg"

    needs: ClassVar[frozenset[str]] = frozenset({"masks"})
    headline: ClassVar[str] = "dice_positive"
    reads_maps: ClassVar[bool] = True
    trains_references: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.steps) == 3, "three numbers of steps", self.steps)
        require(self.size >= 0, "a size of 0 or more", self.size)
        require(
            self.fit == 0 or (self.fit >= self.size and self.augment in CROPS),
            f"fit: 0, or {self.size} or more with augment among {', '.join(CROPS)}",
            f"{self.fit}, {self.augment}",
        )
        require(self.loss in LOSSES, f"a loss among {', '.join(LOSSES)}", self.loss)
        for name in ("select", "reported"):
            value = getattr(self, name)
            require(value in HEADLINES, f"{name} among {', '.join(HEADLINES)}", value)

    def plan(self) -> Plan:
        """How long and how fast is trained at the protocol's label fraction."""
        steps = self.of_fraction(self.steps)
        return self.plan_of(steps, self.learning_rate, optimiser=self.optimiser)

    def refusal(self, candidate: Candidate, task: Task) -> str | None:
        """Why it cannot be measured; a constant baseline is the always-empty one."""
        if isinstance(candidate.module, Prevalence | ReferenceNetwork):
            return self.missing(task)
        return super().refusal(candidate, task)

    def settings(self, subject: Subject, task: Task) -> dict[str, Any]:
        """`Protocol.settings`; without ``fit`` as they were before there was one."""
        found = super().settings(subject, task)
        if not self.fit:
            del found["fit"]
        return found

    def rule(self, task: Task) -> MaskRule:
        """Structures of a task, and which of them a study was annotated for.

        Raises:
            ConfigError: If no training study has a mask.
        """
        names = self.structures or structures_of(task.splits["train"])
        return MaskRule(names, task.label_names, self.absent)

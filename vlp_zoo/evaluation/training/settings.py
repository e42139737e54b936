"""What all protocols share that train a network on images: settings, said once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from vlp_zoo.augment import PIPELINES
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.protocol import ByLabel, Candidate
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.evaluation.training.decoders import has_maps
from vlp_zoo.evaluation.training.learner import Plan

__all__ = ["Trained", "require"]

T = TypeVar("T")


def require(holds: bool, wanted: str, found: object) -> None:
    """Refuse a setting of a preset that cannot be.

    Args:
        holds: Whether the setting is as wanted.
        wanted: What was looked for.
        found: The setting.

    Raises:
        ConfigError: If it does not hold.
    """
    if not holds:
        raise ConfigError(wanted, str(found), "correct the preset")


@dataclass(frozen=True)
class Trained(ByLabel):
    """Settings of a protocol that trains; subclasses add theirs and `measure`.

    Attributes:
        frozen: Train what is new only; the encoder stays in evaluation mode.
        batch_size: Cases per step.
        weight_decay: Weight decay of matrices and kernels.
        schedule: Schedule of the learning rate; see
            `vlp_zoo.evaluation.training.learner.Plan`.
        warmup: Share of the steps with a rising learning rate.
        evaluations: Looks at the validation split.
        augment: A name of `vlp_zoo.augment.PIPELINES`; boxes and masks move with the
            image.
        clip: Largest norm of the gradient; 0 does not clip.
    """

    frozen: bool = False
    batch_size: int = 16
    weight_decay: float = 0.05
    schedule: str = "cosine"
    warmup: float = 0.05
    evaluations: int = 20
    augment: str = "none"
    clip: float = 1.0

    reads_pixels: ClassVar[bool] = True
    draws_weights: ClassVar[bool] = True
    reads_maps: ClassVar[bool] = False
    """Whether the encoder must have feature maps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.augment in PIPELINES,
            f"augment among {', '.join(PIPELINES)}",
            self.augment,
        )

    def refusal(self, candidate: Candidate, task: Task) -> str | None:
        """Why it cannot be measured; see `reads_maps`."""
        reason = super().refusal(candidate, task)
        if reason is None and self.reads_maps and not has_maps(candidate.module):
            return f"{candidate.subject.name} gives no feature maps"
        return reason

    def of_fraction(self, values: Sequence[T]) -> T:
        """The value for the protocol's label fraction.

        Args:
            values: For fractions up to 10 % and above; of three, the first is for
                fractions up to 1 %.
        """
        limits = (0.01, 0.1)[1 - len(values) :]
        return values[sum(self.fraction > limit for limit in limits)]

    def plan_of(self, steps: int, learning_rate: float, **others: Any) -> Plan:
        """How long and how fast is trained.

        Args:
            steps: Optimiser steps.
            learning_rate: At the peak.
            **others: Fields of `Plan` that are other than the settings say.
        """
        settings: dict[str, Any] = {
            "batch_size": self.batch_size,
            "weight_decay": self.weight_decay,
            "schedule": self.schedule,
            "warmup": self.warmup,
            "evaluations": self.evaluations,
            "clip": self.clip,
        }
        return Plan(steps=steps, learning_rate=learning_rate, **{**settings, **others})

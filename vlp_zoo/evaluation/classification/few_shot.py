"""``vlp-fewshot``: what a handful of labelled patients per class or label is enough for.

The probe of `vlp_zoo.evaluation.classification.linear_probe` is fitted on each draw of
`vlp_zoo.evaluation.classification.shots`. Nothing is chosen on validation labels, which
would be more labels than the shots: C is fixed. Features are standardised by all training
images, whose labels are not needed for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.classification.classes import HEADLINE
from vlp_zoo.evaluation.classification.kinds import Exclusive, kind_of
from vlp_zoo.evaluation.classification.linear_probe import standardisation
from vlp_zoo.evaluation.classification.shots import (
    Labels,
    Learnt,
    Shots,
    draw_shots,
)
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate
from vlp_zoo.evaluation.tasks import SPLITS, Task

__all__ = ["FewShot", "draw_shots"]


@dataclass(frozen=True)
class FewShot(Shots):
    """Settings of the preset, beside those of `Shots`.

    Attributes:
        c: Inverse strength of regularisation, scikit-learn's convention.
        class_weight: ``"none"`` or ``"balanced"``; shots are balanced, unless a class
            has fewer patients or labels occur together.
        standardise: Scale features by the training images.
    """

    c: float = 0.316
    class_weight: str = "none"
    standardise: bool = True
    name: str = "vlp-fewshot"

    headline: ClassVar[str] = HEADLINE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.c <= 0 or self.class_weight not in ("none", "balanced"):
            raise ConfigError(
                "C above 0, class_weight none or balanced",
                f"{self.c}, {self.class_weight!r}",
                "correct the preset",
            )

    def untaught(self, task: Task, drawn: Sequence[Sequence[int]]) -> dict[str, str]:
        """Labels of one class only in some draw; a class that is missing counts."""
        kind, labels = kind_of(task), task.splits["train"].labels
        if isinstance(kind, Exclusive):
            return {}
        fitted = np.all([_learnable(labels[rows]) for rows in drawn], axis=0)
        return {
            name: "one class only among the shots of a draw"
            for name, each in zip(task.label_names, fitted, strict=True)
            if not each
        }

    def learner(
        self, candidate: Candidate, task: Task, extraction: Extraction
    ) -> Callable[[Sequence[int], int], Learnt]:
        """Fits a probe on features that are standardised once."""
        train, val, test = (
            extraction.get(candidate.module, task.splits[s]).astype(np.float64)
            for s in SPLITS
        )
        mean, scale = standardisation(train, self.standardise)
        train, val, test = ((each - mean) * scale for each in (train, val, test))
        labels, kind = task.splits["train"].labels, kind_of(task)
        balanced = self.class_weight == "balanced"

        def learn(rows: Sequence[int], _: int) -> Learnt:
            shown = labels[list(rows)]
            learnable = _learnable(shown)
            if not learnable.any():
                raise ConfigError(
                    f"patients of two classes, or with and without a label, to learn "
                    f"{task.name} from",
                    f"{len(rows)} training cases of one kind",
                    "give the training split more labelled studies",
                )
            (fit,) = kind.fit(
                train[list(rows)], shown[:, learnable], [self.c], balanced=balanced
            )
            scores, judged = (
                kind.probabilities(fit.logits(each), learnable) for each in (test, val)
            )
            return Learnt(scores, judged, {})

        return learn


def _learnable(labels: Labels) -> npt.NDArray[np.bool_]:
    """(K,) which labels have both classes among cases (N, K)."""
    return np.asarray((labels == 1).any(0) & (labels == 0).any(0))

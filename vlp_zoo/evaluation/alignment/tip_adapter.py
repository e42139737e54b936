r"""``vlp-tip``: sentences and a few labelled patients together, without training.

Tip-Adapter (Zhang et al., ECCV 2022, arXiv 2111.03930; the training-free one). An image f
is compared with the sentences of `vlp_zoo.evaluation.alignment.zero_shot` and with the
images that were drawn as shots, all of unit length:

.. math:: 100 \, f W^T + \alpha \, \exp(-\beta (1 - f F^T)) \, L

with the sentences W, the shots F (n, E) and what they are L (n, K).

=====================  ==================================  =================================
point                  paper and released code             here
=====================  ==================================  =================================
classes                L one-hot                           the same
labels that may meet   not considered                      W: affirming less denying sentence;
                                                           L: k times the mean over positives
                                                           less the mean over negatives of a
                                                           label among the shots
alpha, beta            alpha 1, beta 5.5, or a grid        the grids below, for each draw, on
                       searched on validation (on test     the validation split alone;
                       for ImageNet)                       alpha 0 is zero-shot
keys                   mean over 10 random crops           the whole image, once
fine-tuned keys (F)    20 epochs                           not here
=====================  ==================================  =================================

The validation split has more labels than the shots: read the numbers as what shots add
to a space when its two settings can be tuned. Grids of one value each choose nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.alignment.prompts import read_prompts
from vlp_zoo.evaluation.alignment.space import image_vectors, joint_of
from vlp_zoo.evaluation.alignment.zero_shot import compared, prompt_sides
from vlp_zoo.evaluation.classification.kinds import Exclusive, kind_of
from vlp_zoo.evaluation.classification.repeated import stored_statistics
from vlp_zoo.evaluation.classification.shots import (
    Learnt,
    Shots,
    difference_of_draws,
)
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.guard import learning
from vlp_zoo.evaluation.protocol import Candidate, Measure, Outcome, by_label
from vlp_zoo.evaluation.statistics.intervals import interval
from vlp_zoo.evaluation.subject import Subject
from vlp_zoo.evaluation.tasks import SPLITS, Task

__all__ = ["TipAdapter"]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]
SCALE = 100.0
"""CLIP's factor of cosines."""


@dataclass(frozen=True)
class TipAdapter(Shots):
    """Settings of the preset, beside those of `Shots`.

    Attributes:
        prompts: A name or path as of `vlp_zoo.evaluation.alignment.prompts.read_prompts`.
        alphas: Weights of the shots to choose from, ascending.
        betas: Sharpness of the comparison with shots to choose from, ascending.
    """

    prompts: str = "chest"
    alphas: tuple[float, ...] = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    betas: tuple[float, ...] = (0.5, 1.0, 2.0, 5.5, 10.0, 20.0, 50.0)
    name: str = "vlp-tip"

    needs_text: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            not self.alphas
            or not self.betas
            or list(self.alphas) != sorted(set(self.alphas))
            or list(self.betas) != sorted(set(self.betas))
            or self.alphas[0] < 0
            or self.betas[0] <= 0
        ):
            raise ConfigError(
                "ascending alphas of 0 or more and ascending betas above 0",
                f"{self.alphas}, {self.betas}",
                "correct the preset",
            )
        read_prompts(self.prompts)

    def settings(self, subject: Subject, task: Task) -> dict[str, Any]:
        """Also what the prompt file says, not only what it is called."""
        sha256 = read_prompts(self.prompts).sha256
        return {**super().settings(subject, task), "prompts_sha256": sha256}

    def learner(
        self, candidate: Candidate, task: Task, extraction: Extraction
    ) -> Callable[[Sequence[int], int], Learnt]:
        """Compares with sentences once, and with each draw of shots."""
        kind = kind_of(task)
        train, val, test = (
            image_vectors(joint_of(candidate), task, extraction, split)
            for split in SPLITS
        )
        spoken = {
            split: self._spoken(candidate, task, extraction, split)
            for split in ("val", "test")
        }
        labels, truth = (task.splits[s].labels for s in ("train", "val"))
        judged = (truth == 1).any(0) & (truth == 0).any(0)
        classes = isinstance(kind, Exclusive)
        used = np.ones_like(judged) if classes else judged
        grid = [(a, b) for a in self.alphas for b in (self.betas if a else (1.0,))]

        def learn(rows: Sequence[int], shots: int) -> Learnt:
            keys, shown = train[list(rows)], labels[list(rows)]
            votes = one_hot(shown) if classes else contrasts(shown, shots)

            def remembered(images: Array, beta: float) -> Array:
                return np.asarray(np.exp(-beta * (1 - images @ keys.T)) @ votes)

            with learning(self.name):
                cached = {beta: remembered(val, beta) for _, beta in grid}
                tried = [
                    kind.value(truth[:, used], (spoken["val"] + a * cached[b])[:, used])
                    for a, b in grid
                ]
            if np.isnan(tried).all():
                raise ConfigError(
                    "a label with both classes in the validation cases",
                    f"none among {len(truth)}",
                    "give more labelled studies",
                )
            # Of equal values the first: the least weight of the shots.
            alpha, beta = grid[int(np.nanargmax(tried))]
            return Learnt(
                kind.relative(spoken["test"] + alpha * remembered(test, beta)),
                kind.relative(spoken["val"] + alpha * cached[beta]),
                {"alpha": alpha, "beta": beta},
            )

        return learn

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Also the sentences alone, and what the shots add to them."""
        outcome = super().measure(candidate, task, seed, extraction)
        kind, names, cases = kind_of(task), task.label_names, outcome.cases
        used, most = kind.counted(names, outcome.undefined), max(self.shots)
        scores = self._spoken(candidate, task, extraction, "test")
        alone = kind.statistic(kind.headline, cases.labels[:, used], scores[:, used])
        found = interval(
            alone, cases.patient_ids, replicates=self.replicates, seed=seed
        )
        each = by_label(names, used, alone.values)
        zero = Measure.of(f"{kind.headline}@0", found, each, shots=0)
        drawn = stored_statistics(f"{kind.headline}@{most}", cases, outcome.undefined)
        gain, each = difference_of_draws(
            drawn, [alone] * len(drawn), cases, used, self, seed
        )
        added = Measure.of(f"{kind.headline}_gain@{most}", gain, each, shots=most)
        prompts = read_prompts(self.prompts)
        head, *rest = outcome.measures
        return replace(
            outcome,
            measures=[head, zero, added, *rest],
            details={
                **outcome.details,
                "prompts": f"{prompts.name} {prompts.version}",
            },
        )

    def _spoken(
        self, candidate: Candidate, task: Task, extraction: Extraction, split: str
    ) -> Array:
        """What the sentences say of the images of a split: (N, K)."""
        joint = joint_of(candidate)
        sides = prompt_sides(read_prompts(self.prompts), task, joint, extraction)
        images = image_vectors(joint, task, extraction, split)
        return SCALE * compared(images, *sides)


def one_hot(labels: Labels) -> Array:
    """Each shot for its class."""
    return np.asarray(labels == 1, np.float64)


def contrasts(labels: Labels, shots: int) -> Array:
    """Each shot for the labels that it has and against those that it is known to lack.

    Args:
        labels: (n, K) with 1, 0 and NaN = unknown, which has no vote.
        shots: k, as much as either side weighs.

    Returns:
        (n, K); 0 for a label of which only one side is there.

    Example:
        >>> contrasts(np.array([[1, 1], [0, 1], [0, np.nan]], np.float32), 4)
        array([[ 4.,  0.],
               [-2.,  0.],
               [-2.,  0.]])
    """
    sides = [np.asarray(labels == value, np.float64) for value in (1, 0)]
    counts = [side.sum(0) for side in sides]
    both = (counts[0] > 0) & (counts[1] > 0)
    positive, negative = (
        shots * side / np.maximum(count, 1)
        for side, count in zip(sides, counts, strict=True)
    )
    return np.where(both, positive - negative, 0.0)

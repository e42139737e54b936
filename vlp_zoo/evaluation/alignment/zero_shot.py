"""``vlp-zeroshot``: which findings a space shared by images and texts knows.

Nothing is fitted. Scores are differences of cosines to sentences that affirm and deny a
finding; several sets of sentences are averaged as unit vectors, and each alone is
reported too, because one lucky wording is no ability. Classes that exclude each other
are only affirmed, and the nearest one is the answer. Thresholds come from the validation
split. No score is standardised over the images it is compared with: a method must be
able to look at a single image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.alignment.prompts import Prompts, plain, read_prompts
from vlp_zoo.evaluation.alignment.space import image_vectors, joint_of, unit_rows
from vlp_zoo.evaluation.classification.kinds import MultiLabel, kind_of
from vlp_zoo.evaluation.classification.metrics.operating_points import (
    choose_thresholds,
    point_statistic,
)
from vlp_zoo.evaluation.classification.protocol import Classification
from vlp_zoo.evaluation.classification.scoring import scored
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.features.joint import JointEncoder
from vlp_zoo.evaluation.protocol import Candidate, Measure, Outcome, by_label
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.subject import Subject
from vlp_zoo.evaluation.tasks import Task

__all__ = ["ZeroShot", "compared", "prompt_sides"]

Array = npt.NDArray[np.float64]
ASKED = ("val", "test")
LEGACY = ("", "zero", "test-f1", "test-mcc")


@dataclass(frozen=True)
class ZeroShot(Classification):
    """Settings of the preset.

    Attributes:
        prompts: A name or path as of `vlp_zoo.evaluation.alignment.prompts.read_prompts`.
        templates: Pairs of sentences with ``{}`` for the finding, instead of the
            file's.
        words: Label to the words that stand for it, instead of the file's.
        legacy_threshold: Also report F1 and accuracy at a threshold as published code
            takes it: ``"zero"`` (the nearer sentence), ``"test-f1"`` or ``"test-mcc"``
            (the best one on the test split, which flatters).
    """

    prompts: str = "chest"
    templates: tuple[tuple[str, str], ...] = ()
    words: tuple[tuple[str, str], ...] = ()
    legacy_threshold: str = ""
    name: str = "vlp-zeroshot"

    needs_text: ClassVar[bool] = True
    learns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.legacy_threshold not in LEGACY or any(
            "{}" not in sentence for pair in self.templates for sentence in pair
        ):
            raise ConfigError(
                "pairs of sentences with {} for the finding, and legacy_threshold "
                "zero, test-f1 or test-mcc",
                f"{str(self.templates)[:80]}, {self.legacy_threshold!r}",
                "correct the preset",
            )
        self.spoken()

    def spoken(self) -> Prompts:
        """The prompts with the preset's own templates and words on top."""
        found = read_prompts(self.prompts)
        own = {plain(label): words for label, words in self.words}
        return replace(
            found,
            templates=self.templates or found.templates,
            words={**found.words, **own},
            # Sentences of the file would replace the preset's templates.
            whole={} if self.templates else found.whole,
        )

    def settings(self, subject: Subject, task: Task) -> dict[str, Any]:
        """Also what the prompt file says, not only what it is called."""
        sha256 = read_prompts(self.prompts).sha256
        return {**super().settings(subject, task), "prompts_sha256": sha256}

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Score the test split by the mean of all prompt sets, and by each."""
        joint = joint_of(candidate)
        prompts, kind = self.spoken(), kind_of(task)
        yes, no = prompt_sides(prompts, task, joint, extraction)
        sets = len(prompts.templates)
        images = {
            split: image_vectors(joint, task, extraction, split) for split in ASKED
        }

        def scores(split: str, which: slice) -> Array:
            each = compared(images[split], yes[which], no[which])
            return kind.relative(each)

        labels = task.splits["test"].labels
        used = kind.counted(task.label_names, task.excluded)
        alone = [
            kind.value(labels[:, used], scores("test", slice(i, i + 1))[:, used])
            for i in range(sets)
        ]
        head = kind.headline
        outcome = scored(
            scores("test", slice(None)),
            task,
            self,
            seed,
            n_train=0,
            undefined={},
            details={
                "prompts": f"{prompts.name} {prompts.version}",
                "prompts_sha256": prompts.sha256,
                "prompt_sets": sets,
                f"{head}_of_each": alone,
                f"{head}_mean": float(np.mean(alone)),
                f"{head}_sd": float(np.std(alone, ddof=1)) if sets > 1 else 0.0,
            },
            validation=scores("val", slice(None)),
            # Cosines are no probabilities: nothing to calibrate.
            probabilities=False,
        )
        if not self.legacy_threshold or not isinstance(kind, MultiLabel):
            return outcome
        return replace(
            outcome,
            measures=[*outcome.measures, *self._legacy(outcome.cases, task)],
        )

    def _legacy(self, cases: Cases, task: Task) -> list[Measure]:
        """F1 and accuracy at zero or at the best threshold of the test split."""
        used = [k for k, n in enumerate(task.label_names) if n not in task.excluded]
        labels, scores = cases.labels[:, used], cases.scores[:, used]
        cut = np.zeros(len(used))
        if self.legacy_threshold != "zero":
            rule = "best_" + self.legacy_threshold.removeprefix("test-")
            cut = choose_thresholds(rule, labels, scores)
        where = "at_zero" if self.legacy_threshold == "zero" else "tuned_on_test"
        measures = []
        for metric in ("f1", "accuracy"):
            made = point_statistic(metric, labels, scores, cut)
            measures.append(
                Measure(
                    f"legacy_{metric}_{where}",
                    made.value,
                    per_label=by_label(task.label_names, used, made.values),
                    details={"thresholds": [float(c) for c in cut]},
                )
            )
        return measures


def prompt_sides(
    prompts: Prompts, task: Task, joint: JointEncoder, extraction: Extraction
) -> tuple[Array, Array]:
    """Sentences that affirm and those that deny each label, embedded.

    Args:
        prompts: What is said.
        task: Its labels.
        joint: Embeds texts.
        extraction: How, and the cache.

    Returns:
        (sets, K, E) twice; of classes that exclude each other the second is 0.
    """
    pairs = [prompts.pairs(label) for label in task.label_names]
    yes, no = (
        np.stack(
            [
                extraction.texts(joint, [each[i][side] for each in pairs])
                for i in range(len(prompts.templates))
            ]
        ).astype(np.float64)
        for side in (0, 1)
    )
    return kind_of(task).sides(yes, no)


def compared(images: Array, yes: Array, no: Array) -> Array:
    """Cosines to the mean of what affirms less those to the mean of what denies.

    Args:
        images: (N, E), unit length.
        yes: (sets, K, E).
        no: (sets, K, E); where it is 0 nothing is subtracted.

    Returns:
        (N, K).
    """
    sides = (unit_rows(unit_rows(side).mean(0)) for side in (yes, no))
    return np.asarray(images @ np.subtract(*sides).T)

"""``vlp-vqa``: what frozen image features add to the answer of a question.

Closed questions (yes, no and the like) are answered by the model of
`vlp_zoo.evaluation.vqa.answering`, over all answers of closed training questions; C is chosen
on validation questions. Many can be answered without the image, so a blind model, which
has the question alone, stands beside every number, and what the image adds has an interval
that is paired by patient. Open questions are answered by a model of their own, over the
most frequent training answers, and reported apart: exact agreement says little of them.
An answer that no training question has is wrong, and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.alignment.space import joint_of
from vlp_zoo.evaluation.classification.linear_probe import standardisation
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.guard import learning
from vlp_zoo.evaluation.protocol import (
    Candidate,
    Measure,
    Outcome,
    Protocol,
    training_cases,
)
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import (
    Interval,
    case_means,
    interval,
    paired_interval,
)
from vlp_zoo.evaluation.tasks import SPLITS, Task
from vlp_zoo.evaluation.vqa.answering import (
    Answers,
    Parts,
    answer_text,
    learn_answers,
    word_vectors,
)
from vlp_zoo.types import Question

__all__ = ["AnswerQuestions", "AnswerWithTexts"]

Array = npt.NDArray[np.float64]
HEADLINE = "accuracy_closed"


@dataclass(frozen=True)
class _Asked:
    """The questions of a split, and the number of the image each is about."""

    questions: list[Question]
    images: list[int]


@dataclass(frozen=True)
class AnswerQuestions(Protocol):
    """Settings of the preset.

    Attributes:
        rank: Principal components of images, and of questions, that are multiplied.
        c_grid: Values of C, ascending; scikit-learn's convention.
        open_answers: The most frequent training answers that open questions can get.
        least: Test questions that a kind of question needs for a number of its own.
    """

    rank: int = 32
    c_grid: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
    open_answers: int = 50
    least: int = 10
    name: str = "vlp-vqa"

    needs: ClassVar[frozenset[str]] = frozenset({"questions"})
    reads_features: ClassVar[bool] = True
    headline: ClassVar[str] = HEADLINE

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            self.rank < 1
            or not self.c_grid
            or min(self.c_grid) <= 0
            or self.open_answers < 2
            or self.least < 1
        ):
            raise ConfigError(
                "rank and least of 1 or more, values of C above 0, 2 open answers or more",
                f"{self.rank}, {self.least}, {self.c_grid}, {self.open_answers}",
                "correct the preset",
            )

    def question_vectors(
        self,
        candidate: Candidate,
        extraction: Extraction,
        texts: Mapping[str, Sequence[str]],
    ) -> dict[str, Array]:
        """Questions of each split as vectors: here words of the training questions."""
        return dict(zip(SPLITS, word_vectors(*(texts[s] for s in SPLITS)), strict=True))

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Answer closed and open questions, with the image and blind."""
        asked = {split: _asked(task, split) for split in SPLITS}
        few = training_cases(task, self.fraction, seed).tolist()
        asked["train"] = _about(asked["train"], few)
        images = self._images(candidate, task, extraction, few)
        texts = {s: [q.text for q in asked[s].questions] for s in SPLITS}
        vectors = self.question_vectors(candidate, extraction, texts)
        parts = {
            split: Parts(
                vectors[split],
                images[split][asked[split].images],
                [answer_text(q.answer) for q in asked[split].questions],
            )
            for split in SPLITS
        }
        test = asked["test"]
        columns: dict[str, npt.NDArray[Any]] = {
            "question": np.array([q.text for q in test.questions], object),
            "answer": np.array(parts["test"].answers, object),
            "kind": np.array([q.kind for q in test.questions], object),
            "said": np.full(len(test.questions), "", object),
            "said_blind": np.full(len(test.questions), "", object),
        }
        details: dict[str, Any] = {}
        closed = self._answered(parts, asked, True, columns, details)
        if closed is None:
            raise ConfigError(
                f"closed questions with two answers to train on, and some to validate "
                f"and to test on, in {task.name}",
                f"{details['closed_questions']} in {', '.join(SPLITS)}",
                "name closed questions in the column answer_type, or give more",
            )
        opened = self._answered(parts, asked, False, columns, details)
        source = task.splits["test"]
        patients = [source.patient_ids[i] for i in test.images]
        measures = self._measures("closed", columns, patients, seed)
        for kind in sorted({q.kind for q in test.questions if q.closed and q.kind}):
            mine = (columns["kind"] == kind) & ~np.isnan(columns[HEADLINE])
            if mine.sum() >= self.least:
                for metric in (HEADLINE, f"{HEADLINE}_blind"):
                    name = f"{metric}@{kind.replace(' ', '_')}"
                    columns[name] = np.where(mine, columns[metric], np.nan)
                    measures.append(self._of(name, columns, patients, seed))
        if opened is not None:
            measures += self._measures("open", columns, patients, seed)
        right = _agreement(closed.validation, _parts(parts, asked, "val", True).answers)
        measures.append(Measure.validation(HEADLINE, float(right.mean())))
        empty = np.empty((len(test.questions), 0))
        uids = [q.uid for q in test.questions]
        cases = Cases(uids, patients, (), empty.astype(np.float32), empty, columns)
        return Outcome(measures, cases, len(few), details=details)

    def _images(
        self,
        candidate: Candidate,
        task: Task,
        extraction: Extraction,
        few: Sequence[int],
    ) -> dict[str, Array]:
        """Features of each split, standardised by the training images that are used."""
        found = {
            s: extraction.get(candidate.module, task.splits[s]).astype(np.float64)
            for s in SPLITS
        }
        mean, scale = standardisation(found["train"][list(few)])
        return {split: (values - mean) * scale for split, values in found.items()}

    def _answered(
        self,
        parts: Mapping[str, Parts],
        asked: Mapping[str, _Asked],
        closed: bool,
        columns: dict[str, npt.NDArray[Any]],
        details: dict[str, Any],
    ) -> Answers | None:
        """Learn and answer one sort of question; None where there are too few."""
        word = "closed" if closed else "open"
        mine = {split: _parts(parts, asked, split, closed) for split in SPLITS}
        details[f"{word}_questions"] = [len(mine[s].answers) for s in SPLITS]
        if not min(details[f"{word}_questions"]) or len({*mine["train"].answers}) < 2:
            return None
        rows = [i for i, q in enumerate(asked["test"].questions) if q.closed == closed]
        both = []
        for blind in (False, True):
            with learning(self.name):
                found = learn_answers(
                    *(mine[split] for split in SPLITS),
                    rank=self.rank,
                    strengths=self.c_grid,
                    most=0 if closed else self.open_answers,
                    blind=blind,
                )
            both.append(found)
            tail = "_blind" if blind else ""
            columns[f"said{tail}"][rows] = found.test
            right = np.full(len(asked["test"].questions), np.nan)
            right[rows] = _agreement(found.test, mine["test"].answers)
            columns[f"accuracy_{word}{tail}"] = right
            details[f"c_{word}{tail}"] = found.c
        known = {*mine["train"].answers}
        details[f"{word}_answers"] = both[0].known
        details[f"{word}_answers_never_trained"] = sum(
            answer not in known for answer in mine["test"].answers
        )
        return both[0]

    def _measures(
        self,
        word: str,
        columns: Mapping[str, npt.NDArray[Any]],
        patients: Sequence[str],
        seed: int,
    ) -> list[Measure]:
        """With the image, without, and what it adds."""
        metric = f"accuracy_{word}"
        seen, blind = (case_means(columns[n]) for n in (metric, f"{metric}_blind"))
        gain = paired_interval(
            seen, blind, patients, replicates=self.replicates, seed=seed
        )
        return [
            self._of(metric, columns, patients, seed),
            self._of(f"{metric}_blind", columns, patients, seed),
            Measure.of(f"{metric}_gain", gain),
        ]

    def _of(
        self,
        metric: str,
        columns: Mapping[str, npt.NDArray[Any]],
        patients: Sequence[str],
        seed: int,
    ) -> Measure:
        values = columns[metric]
        found = interval(
            case_means(values), patients, replicates=self.replicates, seed=seed
        )
        return Measure.of(metric, found, questions=int((~np.isnan(values)).sum()))

    def difference(
        self, one: Cases, two: Cases, undefined: Mapping[str, str], seed: int
    ) -> tuple[Interval, dict[str, float | None]]:
        """Accuracy of closed questions, paired by question and patient."""
        mine, other = (
            case_means(c.columns[HEADLINE].astype(np.float64)) for c in (one, two)
        )
        found = paired_interval(
            mine, other, one.patient_ids, replicates=self.replicates, seed=seed
        )
        return found, {}


@dataclass(frozen=True)
class AnswerWithTexts(AnswerQuestions):
    """Questions are embedded by the text side of the space that images share."""

    name: str = "vlp-vqa-text"

    needs_text: ClassVar[bool] = True

    def question_vectors(
        self,
        candidate: Candidate,
        extraction: Extraction,
        texts: Mapping[str, Sequence[str]],
    ) -> dict[str, Array]:
        """Embeddings of unit length."""
        joint = joint_of(candidate)
        return {
            split: extraction.texts(joint, texts[split]).astype(np.float64)
            for split in SPLITS
        }


def _asked(task: Task, split: str) -> _Asked:
    """All questions of a split, image by image."""
    facts = cast(Any, task.splits[split]).facts
    each = [(q, i) for i, fact in enumerate(facts) for q in fact["questions"]]
    return _Asked([q for q, _ in each], [i for _, i in each])


def _about(asked: _Asked, images: Sequence[int]) -> _Asked:
    """The questions about some of the images."""
    kept = {*images}
    each = zip(asked.questions, asked.images, strict=True)
    pairs = [(q, i) for q, i in each if i in kept]
    return _Asked([q for q, _ in pairs], [i for _, i in pairs])


def _parts(
    parts: Mapping[str, Parts], asked: Mapping[str, _Asked], split: str, closed: bool
) -> Parts:
    """The closed or the open questions of a split."""
    questions = asked[split].questions
    return parts[split].of([i for i, q in enumerate(questions) if q.closed == closed])


def _agreement(said: Sequence[str], answers: Sequence[str]) -> Array:
    return np.array([a == b for a, b in zip(said, answers, strict=True)], np.float64)
